"""Losses of dialogues: what a plain loop over single sequences gives, whatever the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personatune.model.likelihood import dialogue_losses, length_buckets
from personatune.model.prompts import EncodedDialogue

if TYPE_CHECKING:
    from tests.conftest import TinyModels
    from transformers import PreTrainedModel

BATCH = [
    EncodedDialogue([5, 9, 40, 77, 120, 33, 8], [0.0, 0.0, 1.0, 1.0, 0.0, 0.25, 0.25]),
    EncodedDialogue([200, 14, 7], [0.0, 0.0, 0.5]),
    EncodedDialogue([61, 62, 63, 64, 65], [0.0, 2.0, 0.0, 0.0, 0.0]),
    EncodedDialogue([61, 62, 63, 64], [0.0, 0.0, 0.0, 0.0]),
]


def plain(model: PreTrainedModel, dialogue: EncodedDialogue) -> tuple[float, float, float, int]:
    """Weighted sum, weights, unweighted sum and number of tokens, token by token in float64."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([dialogue.input_ids])).logits[0].double()
    weighted = weights = nll = 0.0
    tokens = 0
    for place in range(1, len(dialogue.input_ids)):
        weight = dialogue.loss_weights[place]
        if weight:
            loss = -float(torch.log_softmax(logits[place - 1], dim=-1)[dialogue.input_ids[place]])
            weighted, weights, nll, tokens = weighted + weight * loss, weights + weight, nll + loss, tokens + 1
    return weighted, weights, nll, tokens


@pytest.mark.parametrize("size", [1, 2, 4])
def test_losses_are_those_of_a_plain_loop_in_any_batch(tiny: TinyModels, family: str, size: int) -> None:
    model = tiny.model(family)
    found = []
    for start in range(0, len(BATCH), size):
        found += dialogue_losses(model, BATCH[start : start + size], pad_id=0)
    for sums, dialogue in zip(found, BATCH, strict=True):
        weighted, weights, nll, tokens = plain(model, dialogue)
        assert float(sums.weighted.detach()) == pytest.approx(weighted, abs=1e-3)
        assert sums.weights == pytest.approx(weights)
        assert sums.nll == pytest.approx(nll, abs=1e-3)
        assert sums.tokens == tokens


def test_the_padding_token_doesnt_matter(tiny: TinyModels, family: str) -> None:
    model = tiny.model(family)
    zero, other = (dialogue_losses(model, BATCH, pad_id=pad) for pad in (0, 17))
    for first, second in zip(zero, other, strict=True):
        assert first.nll == pytest.approx(second.nll, abs=1e-4)


def test_gradients_dont_depend_on_the_batching(tiny: TinyModels) -> None:
    model = tiny.model()
    weights = list(model.parameters())
    together = torch.stack([sums.weighted for sums in dialogue_losses(model, BATCH, 0)]).sum()
    whole = torch.autograd.grad(together, weights)
    parts = [torch.autograd.grad(dialogue_losses(model, [dialogue], 0)[0].weighted, weights) for dialogue in BATCH[:3]]
    for place, gradient in enumerate(whole):
        assert torch.allclose(gradient, sum(part[place] for part in parts), rtol=1e-3, atol=1e-4)  # type: ignore[arg-type]


@given(lengths=st.lists(st.integers(1, 500), max_size=80), batch_size=st.integers(1, 5), data=st.data())
def test_buckets_hold_every_index_once(lengths: list[int], batch_size: int, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(lengths))))
    batches = length_buckets(lengths, batch_size, order)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(0 < len(batch) <= batch_size for batch in batches)
    assert len(batches) == -(-len(lengths) // batch_size)


def test_buckets_pad_less_than_the_shuffled_order() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(10, 300, (96,), generator=generator).tolist()
    order = torch.randperm(96, generator=generator).tolist()

    def padded(batches: list[list[int]]) -> int:
        return sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)

    plainly = padded([order[start : start + 4] for start in range(0, 96, 4)])
    assert padded(length_buckets(lengths, 4, order)) < 0.75 * plainly
