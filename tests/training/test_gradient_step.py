"""One step of fine-tuning: the same gradients however the batch is cut, and those of plain transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from personatune.model.likelihood import dialogue_losses
from personatune.model.lora import LoRAWrapper
from personatune.settings import LoraConfig, SFTConfig
from personatune.training.gradient_step import GradientStep
from personatune.training.sft_dialogues import encode_dialogues

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

    from personatune.model.prompts import EncodedDialogue


def settings(**changes: Any) -> SFTConfig:
    return SFTConfig(**{"learning_rate": 1e-2, "batch_size": 8, **changes})


def encoded(tiny: TinyModels, dialogues: type[HandMadeDialogues], count: int = 8) -> list[EncodedDialogue]:
    return encode_dialogues(tiny.prompts(), dialogues.perspectives(count, seed=4), settings())


def after_a_step(
    tiny: TinyModels, batch: list[EncodedDialogue], *, lora: bool = True, dtype: Any = None, **changes: Any
):
    """Return the loss, the trained weights and the step after one optimiser step."""
    base = tiny.model(spread=0.1).to(dtype or torch.float32)
    model: Any = LoRAWrapper(base, LoraConfig(rank=4, alpha=8)).model if lora else base.requires_grad_(True)
    step = GradientStep(base, model, settings(**changes), 0)
    loss = step(batch, 1.0)
    return loss, {n: w.detach().clone() for n, w in model.named_parameters() if w.requires_grad}, step


def gradients_of(tiny: TinyModels, parts: list[list[EncodedDialogue]]) -> dict[str, Tensor]:
    """Return the gradients of the token-weighted mean over all parts."""
    base = tiny.model(spread=0.1)
    model = LoRAWrapper(base, LoraConfig(rank=4, alpha=8)).model
    sums = [row for part in parts for row in dialogue_losses(base, part, 0)]
    (torch.stack([row.weighted for row in sums]).sum() / sum(row.weights for row in sums)).backward()
    return {name: w.grad for name, w in model.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("lora", [True, False])
@pytest.mark.parametrize("size", [1, 3, 4])
def test_eight_at_once_equal_eight_one_by_one(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], size: int, lora: bool
) -> None:
    def gradients(**changes: Any) -> tuple[float, dict[str, Tensor]]:
        base = tiny.model(spread=0.1)
        model: Any = LoRAWrapper(base, LoraConfig(rank=4, alpha=8)).model if lora else base.requires_grad_(True)
        step = GradientStep(base, model, settings(**changes), 0)
        loss = step._gradients(encoded(tiny, dialogues))
        return loss, {name: w.grad for name, w in model.named_parameters() if w.grad is not None}

    whole, expected = gradients()
    cut, found = gradients(micro_batch_size=size)
    assert cut == pytest.approx(whole, rel=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_a_batch_of_mixed_lengths_has_the_gradients_of_batches_of_like_length(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    batch = encoded(tiny, dialogues)
    by_length = sorted(batch, key=lambda dialogue: len(dialogue.input_ids))
    assert len({len(dialogue.input_ids) for dialogue in batch}) > 2
    mixed = gradients_of(tiny, [batch])
    bucketed = gradients_of(tiny, [by_length[start : start + 2] for start in range(0, 8, 2)])
    for name, gradient in mixed.items():
        torch.testing.assert_close(bucketed[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_the_loss_is_the_cross_entropy_that_transformers_computes_from_labels(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], family: str
) -> None:
    config = settings(persona_turn_weight=1.0, other_turn_weight=1.0)
    batch = encode_dialogues(tiny.prompts(), dialogues.perspectives(4, seed=4), config)
    model = tiny.model(family, spread=0.1)
    width = max(len(dialogue.input_ids) for dialogue in batch)
    ids, labels, mask = (torch.full((4, width), value) for value in (0, -100, 0))
    for row, dialogue in enumerate(batch):
        for place, (token, weight) in enumerate(zip(dialogue.input_ids, dialogue.loss_weights, strict=True)):
            ids[row, place], mask[row, place] = token, 1
            labels[row, place] = token if weight else -100
    with torch.no_grad():
        expected = float(model(input_ids=ids, attention_mask=mask, labels=labels).loss)
        sums = dialogue_losses(model, batch, 0)
    assert sum(row.nll for row in sums) / sum(row.tokens for row in sums) == pytest.approx(expected, rel=1e-4)


def test_loras_b_matrices_learn_faster_by_the_ratio(tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> None:
    batch = encoded(tiny, dialogues)
    _, plain, step = after_a_step(tiny, batch, learning_rate=1e-3)
    _, faster, _ = after_a_step(tiny, batch, learning_rate=1e-3, b_rate_ratio=4.0)
    assert {group["lr"] for group in step.optimizer.param_groups} == {1e-3}
    for name, weight in plain.items():
        if ".lora_B." in name:  # they start at zero, so they are now what the step was
            torch.testing.assert_close(faster[name], 4 * weight, rtol=1e-3, atol=1e-6, msg=name)
        else:
            torch.testing.assert_close(faster[name], weight, msg=name)


@pytest.mark.parametrize("lora", [True, False])
def test_half_precision_trains_float32_weights_under_a_loss_scale(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], lora: bool
) -> None:
    batch = encoded(tiny, dialogues)
    expected, _, _ = after_a_step(tiny, batch, lora=lora)
    loss, trained, step = after_a_step(tiny, batch, lora=lora, dtype=torch.float16)
    assert loss == pytest.approx(expected, rel=2e-2)
    assert {weight.dtype for weight in trained.values()} == {torch.float32}
    assert step.scaler.is_enabled()
    assert step.scaler.get_scale() > 1
    losses = [step(batch, 1.0) for _ in range(6)]
    assert losses[-1] < loss - 0.3


def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_falls(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    batch = encoded(tiny, dialogues)
    _, before, step = after_a_step(tiny, batch, dtype=torch.float16)
    step.scaler.load_state_dict({**step.scaler.state_dict(), "scale": 2.0**40})
    step(batch, 1.0)
    after = {name: w for name, w in step.model.named_parameters() if w.requires_grad}
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert step.scaler.get_scale() < 2.0**40


def test_float32_needs_no_loss_scale(tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> None:
    _, _, step = after_a_step(tiny, encoded(tiny, dialogues))
    assert not step.scaler.is_enabled()
