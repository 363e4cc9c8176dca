"""Fused LoRA layers: PEFT's losses and gradients, by fewer passes over memory, and PEFT's files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from personatune.model.fused_lora import fuse_lora, unfuse_lora
from personatune.model.likelihood import dialogue_losses
from personatune.model.lora import LoRAWrapper
from personatune.model.prompts import EncodedDialogue
from personatune.settings import LoraConfig

if TYPE_CHECKING:
    from tests.conftest import TinyModels

SETTINGS = LoraConfig(rank=4, alpha=12)
BATCH = [
    EncodedDialogue([5, 9, 40, 77, 120, 33, 8], [0.0, 0.0, 1.0, 1.0, 0.0, 0.25, 0.25]),
    EncodedDialogue([200, 14, 7], [0.0, 0.0, 0.5]),
]
IDS = torch.tensor([[5, 9, 40, 77, 120, 33, 8]])


def trained(tiny: TinyModels, family: str = "llama", **changes: Any) -> LoRAWrapper:
    """Return a model with an adapter that does something: B starts at zero, which would hide mistakes."""
    wrapper = LoRAWrapper(tiny.model(family), SETTINGS.model_copy(update=changes))
    generator = torch.Generator().manual_seed(1)
    for name, weight in wrapper.model.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(weight, std=0.3, generator=generator)
    return wrapper


def loss_and_gradients(wrapper: LoRAWrapper) -> tuple[float, dict[str, Tensor]]:
    base = wrapper.model.get_base_model()
    wrapper.model.zero_grad(set_to_none=True)
    loss = torch.stack([row.weighted for row in dialogue_losses(base, BATCH, 0)]).sum()
    loss.backward()
    gradients = {name: w.grad.clone() for name, w in wrapper.model.named_parameters() if w.grad is not None}
    return float(loss.detach()), gradients


def test_losses_and_gradients_are_those_of_peft(tiny: TinyModels, family: str) -> None:
    wrapper = trained(tiny, family)
    loss, gradients = loss_and_gradients(wrapper)
    assert fuse_lora(wrapper.model) == len(gradients) / 2  # every layer: an A and a B each
    fused_loss, fused = loss_and_gradients(wrapper)
    assert fused_loss == pytest.approx(loss, rel=1e-5)
    assert fused.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert float(gradient.abs().max()) > 1e-3, name
        torch.testing.assert_close(fused[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


def test_the_product_and_its_gradients_are_right_in_float64() -> None:
    from personatune.model.fused_lora import _LoRAProduct

    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, trained: bool = False) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_(trained)

    x, down, up = draw(2, 3, 5, trained=True), draw(2, 5, trained=True), draw(4, 2, trained=True)
    weight, bias = draw(4, 5), draw(4)
    assert torch.autograd.gradcheck(
        lambda *args: _LoRAProduct.apply(args[0], weight, bias, *args[1:], 0.7), (x, down, up)
    )


def test_the_saved_adapter_gives_the_same_function_in_plain_peft(tiny: TinyModels, tmp_path: Path) -> None:
    from peft import PeftModel

    wrapper = trained(tiny)
    fuse_lora(wrapper.model)
    with torch.no_grad():
        expected = wrapper.model(input_ids=IDS).logits
    wrapper.save(tmp_path / "adapter")
    plain = PeftModel.from_pretrained(tiny.model(), str(tmp_path / "adapter"))
    with torch.no_grad():
        torch.testing.assert_close(plain(input_ids=IDS).logits, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(wrapper.merge()(input_ids=IDS).logits, expected, rtol=1e-4, atol=1e-4)


def test_switched_off_adapters_leave_the_base_model(tiny: TinyModels) -> None:
    wrapper = trained(tiny)
    fuse_lora(wrapper.model)
    with torch.no_grad(), wrapper.model.disable_adapter():
        assert torch.equal(wrapper.model(input_ids=IDS).logits, tiny.model()(input_ids=IDS).logits)


def test_under_autocast_the_gradients_are_pefts(tiny: TinyModels) -> None:
    wrapper = trained(tiny)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, expected = loss_and_gradients(wrapper)
        fuse_lora(wrapper.model)
        _, found = loss_and_gradients(wrapper)
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name


def test_layers_with_dropout_keep_pefts_way(tiny: TinyModels) -> None:
    assert fuse_lora(trained(tiny, dropout=0.1).model) == 0


def test_a_base_that_is_trained_too_keeps_pefts_way(tiny: TinyModels) -> None:
    wrapper = trained(tiny)
    wrapper.model.requires_grad_(True)
    assert fuse_lora(wrapper.model) == 0


def test_unfused_layers_are_pefts_again(tiny: TinyModels) -> None:
    wrapper = trained(tiny)
    before = [type(module) for module in wrapper.model.modules()]
    fuse_lora(wrapper.model)
    assert [type(module) for module in wrapper.model.modules()] != before
    unfuse_lora(wrapper.model)
    assert [type(module) for module in wrapper.model.modules()] == before
