"""Operations of training: what PyTorch's own counter finds in the same passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from personatune.costs.flops import TransformerWork
from personatune.model.likelihood import dialogue_losses
from personatune.model.lora import LoRAWrapper
from personatune.model.prompts import EncodedDialogue
from personatune.model.work import transformer_work
from personatune.settings import LoraConfig

if TYPE_CHECKING:
    from tests.conftest import TinyModels


def a_dialogue(length: int, asked: int) -> EncodedDialogue:
    return EncodedDialogue(list(range(3, 3 + length)), [0.0] * (length - asked) + [1.0] * asked)


def counted(model: torch.nn.Module, batch: list[EncodedDialogue], *, backward: bool) -> int:
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        sums = dialogue_losses(model, batch, 0)
        if backward:
            torch.stack([row.weighted for row in sums]).sum().backward()
    return counter.get_total_flops()


def without_attention(work: TransformerWork) -> TransformerWork:
    """Return the work without attention: PyTorch's counter knows neither the causal half nor the CPU's kernel."""
    return TransformerWork(work.layers, work.matrices, work.adapters, work.head, attention_width=0)


def test_a_forward_pass_is_what_pytorch_counts(tiny: TinyModels, family: str) -> None:
    model = tiny.model(family, hidden=64).requires_grad_(False)
    work = without_attention(transformer_work(model))
    assert work.forward([20, 20], 13) == pytest.approx(
        counted(model, [a_dialogue(20, 6), a_dialogue(20, 7)], backward=False), rel=0.02
    )


def test_lora_training_is_what_pytorch_counts_but_for_the_first_layers_input(tiny: TinyModels) -> None:
    wrapper = LoRAWrapper(tiny.model(layers=6, hidden=64), LoraConfig(rank=4, alpha=8))
    base = wrapper.model.get_base_model()
    work = without_attention(transformer_work(base))
    assert work.adapters == sum(w.numel() for w in wrapper.model.parameters() if w.requires_grad)
    measured = counted(base, [a_dialogue(20, 6), a_dialogue(20, 7)], backward=True)
    assert work.training([20, 20], 13, weights_trained=False) == pytest.approx(measured, rel=0.05)


def test_training_every_weight_takes_half_as_much_again(tiny: TinyModels) -> None:
    model = tiny.model(layers=6, hidden=64).requires_grad_(True)
    work = without_attention(transformer_work(model))
    measured = counted(model, [a_dialogue(20, 20)], backward=True)
    full = work.training([20], 19, weights_trained=True)
    assert full == pytest.approx(measured, rel=0.05)
    assert full == pytest.approx(1.5 * work.training([20], 19, weights_trained=False))


def test_attention_grows_with_the_square_of_each_sequence() -> None:
    work = TransformerWork(layers=2, matrices=0, adapters=0, head=0, attention_width=8)
    # Two products of T x T x 8 numbers in each of 2 layers, half of them above the diagonal: 2 x 2 x 2 x 8 T² / 2.
    assert work.forward([10], 0) == 2 * 2 * 2 * 8 * 100 / 2
    assert work.forward([10, 10], 0) == 2 * work.forward([10], 0)
    assert work.training([10], 0, weights_trained=False) == 3 * work.forward([10], 0)


def test_the_top_layers_have_their_share_of_the_matrices_and_all_adapters() -> None:
    top = TransformerWork(layers=30, matrices=3000, adapters=40, head=500, attention_width=8).top(10)
    assert (top.layers, top.matrices, top.adapters, top.head) == (10, 1000, 40, 500)
