"""Strategies by name: the critic drops what contradicts the persona, the reward model's favourite is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from personatune.dialogue import Context, Persona, Turn
from personatune.errors import UserError
from personatune.judging.entailment import LABELS
from personatune.model.branches import SplitModel, Trunk
from personatune.model.picking import Candidate
from personatune.pipeline.reply_strategies import CriticPick, RewardPick, Strategy, split_strategy, strategic
from personatune.settings import BranchConfig
from personatune.training.reward import RewardModel

if TYPE_CHECKING:
    from tests.conftest import TinyModels

CONTEXT = Context(Persona(("I have two dogs.", "I can't swim.")), (Turn("partner", "Any pets?"),))


class Rules:
    """A judge by rule: who says cats contradicts the dogs, half of the time when unsure."""

    name = "rules"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        self.asked += pairs
        rows = []
        for premise, hypothesis in pairs:
            about = "dogs" in hypothesis and "cats" in premise
            against = 0.0 if not about else 0.7 if "maybe" in premise else 0.9
            rows.append([1 - against if label != "contradiction" else against for label in LABELS])
        return np.array(rows, dtype=np.float32)


def candidates(*said: tuple[str, float]) -> list[Candidate]:
    return [Candidate(text, logprob) for text, logprob in said]


def test_the_likeliest_candidate_that_contradicts_nothing_is_said() -> None:
    pick = CriticPick(Rules(), threshold=0.5)
    group = candidates(
        ("I have three cats at home.", -0.1), ("I have some dogs at home.", -2.0), ("I like to walk the dogs.", -1.0)
    )
    assert pick([CONTEXT, CONTEXT], [group, group[:2]]) == [2, 1]


def test_where_all_contradict_the_one_that_does_so_least_is_said() -> None:
    pick = CriticPick(Rules(), threshold=0.5)
    group = candidates(("I have three cats at home.", -0.1), ("I have maybe two cats here.", -3.0))
    assert pick([CONTEXT], [group]) == [1]
    assert CriticPick(Rules(), threshold=0.8)([CONTEXT], [group]) == [1]
    assert CriticPick(Rules(), threshold=0.95)([CONTEXT], [group]) == [0]


def test_a_question_asserts_nothing_and_is_never_dropped() -> None:
    judge = Rules()
    group = candidates(("Do you have cats?", -0.5), ("I have some dogs at home.", -2.0))
    assert CriticPick(judge, threshold=0.5)([CONTEXT], [group]) == [0]
    assert {premise for premise, _ in judge.asked} == {"I have some dogs at home."}
    assert {hypothesis for _, hypothesis in judge.asked} == set(CONTEXT.persona.traits)


def test_the_shipped_critic_drops_a_plain_contradiction() -> None:
    pick = CriticPick.load()
    group = candidates(("No, I don't have any dogs.", -0.1), ("Yes, I have two dogs at home.", -2.0))
    assert pick([CONTEXT], [group]) == [1]
    assert pick.identity.startswith("critic ")


class LikesLong(RewardModel):
    def score_trunk(self, trunk: Trunk) -> Tensor:
        return torch.tensor([float(length) for length in trunk.rows.lengths])


def test_the_reward_models_favourite_is_said_and_the_plain_reply_among_equals(tiny: TinyModels) -> None:
    split = SplitModel(tiny.model(layers=2), BranchConfig(layers=1, rank=2))
    pick = RewardPick(LikesLong(split, tiny.prompts()))
    group = candidates(("Hi.", -1.0), ("I have two dogs and I love them.", -4.0), ("Hi.", -1.0))
    assert pick([CONTEXT, CONTEXT], [group, [group[0], group[2]]]) == [1, 0]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("sft", ("sft", None)),
        ("sft+critic", ("sft", Strategy("critic", 8))),
        ("demo/ppo+critic-4", ("demo/ppo", Strategy("critic", 4))),
        ("dpo+best-of-16", ("dpo", Strategy("best-of", 16))),
        ("some/model+other", ("some/model+other", None)),
        ("+critic", ("+critic", None)),
    ],
)
def test_a_strategy_is_named_behind_the_model(reference: str, expected: tuple[str, Strategy | None]) -> None:
    assert split_strategy(reference) == expected


def test_one_candidate_is_no_choice() -> None:
    with pytest.raises(UserError, match="1 candidates leave nothing to choose"):
        split_strategy("sft+best-of-1")


def test_best_of_needs_a_run_to_ask_its_reward_model(tiny: TinyModels) -> None:
    from personatune.model.generation import Chatbot, Sampling

    plain = Chatbot(tiny.model(layers=2), tiny.prompts(), Sampling(4))
    with pytest.raises(UserError, match="best-of asks the reward model of a run: add --run NAME"):
        strategic(plain, Strategy("best-of", 4), None)
