"""Draws belong to a reply: the model's distribution, the same replies whatever is decoded together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from personatune.model.draws import Draws
from personatune.model.generation import generate_replies
from personatune.model.sampling import Sampling, Spoken, choose_tokens

if TYPE_CHECKING:
    from tests.conftest import TinyModels

PROMPTS = ([5, 9, 40, 77, 120, 33, 8], [200, 14, 7], [61, 62, 63, 64, 65])


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    shares = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05, 0.0])
    count = 20_000
    speaking, sampling = [Spoken(0) for _ in range(count)], Sampling(1, temperature=1.0)
    logits = shares.log().expand(count, -1).clone()
    tokens, _ = choose_tokens(logits, speaking, sampling, Draws([3], count, 1), rows=range(count))
    found = torch.bincount(torch.tensor(tokens), minlength=6) / count
    assert found[1] == found[5] == 0
    # four standard deviations of a share of 20,000 draws are at most 1.4 points
    assert torch.allclose(found, shares, atol=0.015)


def test_every_token_of_every_reply_has_a_number_of_its_own() -> None:
    numbers = Draws([1, 2], 3, 4)._numbers_N_R
    assert numbers.shape == (6, 4)
    assert len(set(numbers.flatten().tolist())) == 24


def test_a_reply_is_the_same_whatever_is_decoded_with_it(tiny: TinyModels, family: str) -> None:
    model, sampling = tiny.model(family, spread=0.15), Sampling(10, temperature=1.0)
    stops, seeds = list(range(3, 60)), [11, 12, 13]

    def sample(chosen: list[int]) -> list[list[list[int]]]:
        draws = Draws([seeds[index] for index in chosen], 4, 10)
        prompts = [PROMPTS[index] for index in chosen]
        groups = generate_replies(model, prompts, stops, sampling, replies_per_prompt=4, generator=draws)
        return [[reply.ids for reply in group] for group in groups]

    together = sample([0, 1, 2])
    assert len({len(reply) for group in together for reply in group}) > 2  # rows leave the batch at different steps
    assert len({str(reply) for group in together for reply in group}) > 6
    assert [sample([0])[0], *sample([1, 2])] == together
    assert sample([2, 0]) == [together[2], together[0]]
