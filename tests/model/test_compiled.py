"""Compiled decoder layers: when it pays, and that they compute what uncompiled ones do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from personatune.errors import UserError
from personatune.model import compiled
from personatune.model.compiled import COMPILE_FLOPS, choose_compilation, compile_layers, eagerly, release_layers
from personatune.model.fused_lora import fuse_lora
from personatune.model.likelihood import dialogue_losses
from personatune.model.lora import LoRAWrapper
from personatune.model.prompts import EncodedDialogue
from personatune.settings import LoraConfig

if TYPE_CHECKING:
    from tests.conftest import TinyModels

LENGTHS = ((9, 14), (20, 17), (6, 30))


def a_batch(lengths: tuple[int, ...]) -> list[EncodedDialogue]:
    return [EncodedDialogue(list(range(5, 5 + n)), [0.0, 0.0] + [1.0] * (n - 2)) for n in lengths]


def gradients(wrapper: LoRAWrapper, lengths: tuple[int, ...]) -> dict[str, torch.Tensor]:
    wrapper.model.zero_grad(set_to_none=True)
    sums = dialogue_losses(wrapper.model.get_base_model(), a_batch(lengths), 0)
    torch.stack([row.weighted for row in sums]).sum().backward()
    return {name: w.grad.clone() for name, w in wrapper.model.named_parameters() if w.grad is not None}


@pytest.fixture
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


def test_a_long_run_compiles_and_a_short_one_doesnt(on_a_cpu: pytest.MonkeyPatch) -> None:
    on_a_cpu.setattr(compiled, "_missing_compiler", lambda: None)
    assert choose_compilation("auto", 2 * COMPILE_FLOPS).compile
    short = choose_compilation("auto", COMPILE_FLOPS / 2)
    assert not short.compile
    assert short.reason == "10 TFLOP planned, compiling pays from 20 on"
    assert choose_compilation("on", 1.0).compile
    assert not choose_compilation("off", 2 * COMPILE_FLOPS).compile


def test_without_a_compiler_auto_goes_on_and_on_is_an_error(on_a_cpu: pytest.MonkeyPatch) -> None:
    on_a_cpu.setenv("PATH", "")
    on_a_cpu.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    choice = choose_compilation("auto", 2 * COMPILE_FLOPS)
    assert not choice.compile
    assert choice.reason.startswith("no C++ compiler found")
    with pytest.raises(UserError, match=r"sft.compile = on: no C\+\+ compiler found"):
        choose_compilation("on", 1.0)


@pytest.mark.slow
def test_all_layers_and_lengths_share_one_graph_and_give_the_uncompiled_gradients(
    tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    if compiled._missing_compiler():
        pytest.skip("no compiler on this machine")
    kernels = tmp_path_factory.getbasetemp() / "kernels"  # one for all families: a process loads a kernel once
    monkeypatch.setenv("PERSONATUNE_CACHE", str(kernels))
    torch._dynamo.reset()
    base = tiny.model(family)
    wrapper = LoRAWrapper(base, LoraConfig(rank=4, alpha=8))
    fuse_lora(wrapper.model)
    expected = [gradients(wrapper, lengths) for lengths in LENGTHS]
    compile_layers(base)
    graphs = torch._dynamo.utils.counters["stats"]
    graphs.clear()
    for lengths, plain in zip(LENGTHS, expected, strict=True):
        for name, gradient in gradients(wrapper, lengths).items():
            torch.testing.assert_close(gradient, plain[name], rtol=1e-3, atol=1e-3, msg=name)
    assert graphs["unique_graphs"] == 1
    with eagerly(), torch.no_grad():
        dialogue_losses(base, a_batch((5, 8)), 0)
    assert graphs["unique_graphs"] == 1
    assert any(kernels.rglob("*.so"))  # kept in the project's own folder
    release_layers(base)
    for name, gradient in gradients(wrapper, LENGTHS[0]).items():
        torch.testing.assert_close(gradient, expected[0][name], rtol=1e-6, atol=1e-6, msg=name)
