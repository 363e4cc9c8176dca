"""The four rates by hand, ties against the model, and the floors' known figures on ConvAI2."""

from __future__ import annotations

from pathlib import Path

import pytest

from personatune.data.ranking_files import read_ranking_file
from personatune.dialogue import Context, Persona, RankingTask, Turn
from personatune.errors import UserError
from personatune.evaluation.floors import (
    GenericReplier,
    HumanCeiling,
    PersonaCopier,
    TfidfFloor,
    generic_replies,
)
from personatune.evaluation.ranking import RankingEvaluator, best_kinds

KINDS = ("gold", "neg", "similar", "rand")
DOGS = Context(Persona(("I have two dogs.", "I work as a chef.")), (Turn("partner", "what do you work as ?"),))


def task(number: int = 1, kinds: tuple[str, ...] = KINDS, name: str = "f") -> RankingTask:
    return RankingTask(f"{name}:{number}", DOGS, tuple(f"reply {index}" for index in range(len(kinds))), kinds)


def test_the_four_rates_are_those_counted_by_hand() -> None:
    scores: list[list[float]] = [
        [4, 3, 2, 1],
        [4, 3, 2, 1],
        [0, 1, 9, 2],
        [0, 7, 1, 2],
        [0, 1, 2, 3],
        [-1, -2, -3, -0.5],
        [0, 1, 5, 2],
        [9, 0, 0, 0],
    ]
    rates = RankingEvaluator().evaluate([task(n) for n in range(8)], scores)
    assert {name: rate.value for name, rate in rates.items()} == {
        "hits1": 37.5, "entail1": 25.0, "rand1": 25.0, "contradict1": 12.5,
    }  # fmt: skip
    assert all(rate.low <= rate.value <= rate.high and rate.n == 8 for rate in rates.values())
    assert sum(rate.value for rate in rates.values()) == 100


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1, 1, 1, 1], "neg"),
        ([1, 0, 1, 1], "rand"),
        ([1, 0, 1, 0], "similar"),
        ([1, 0, 0, 0], "gold"),
        ([0, 0, 0, 0], "neg"),
    ],
)
def test_of_equally_good_candidates_the_worst_class_counts(scores: list[float], expected: str) -> None:
    assert best_kinds([task()], [scores]) == [expected]


def test_convai2_candidates_have_hits_only() -> None:
    rates = RankingEvaluator().evaluate([task(n, ("rand", "gold")) for n in range(4)], [[0, 1], [1, 0], [1, 1], [0, 2]])
    assert {name: rate.value for name, rate in rates.items()} == {"hits1": 50.0}


def test_turns_of_one_dialogue_are_resampled_together() -> None:
    """One dialogue all right, one all wrong: as whole dialogues the interval is 0 to 100, as 40 turns far narrower."""
    turns = [task(n, ("rand", "gold"), f"f:{dialogue}") for dialogue in (1, 2) for n in range(20)]
    scores = [[0, 1]] * 20 + [[1, 0]] * 20
    together = RankingEvaluator().evaluate(turns, scores)["hits1"]
    apart = RankingEvaluator().evaluate([task(n, ("rand", "gold")) for n in range(40)], scores)["hits1"]
    assert (together.value, together.low, together.high, together.n) == (50, 0, 100, 40)
    assert 30 < apart.low < apart.high < 70


@pytest.mark.parametrize(
    ("tasks", "scores", "message"),
    [
        ([], [], "no records to rank"),
        ([task()], [], "found scores for 0 records, expected 1"),
        ([task()], [[1, 2]], "f:1: found 2 scores, expected one for each of 4"),
        ([task()], [[1, 2, float("nan"), 0]], r"f:1: candidate 3 \('reply 2'\) was scored nan"),
    ],
)
def test_scores_that_are_missing_are_no_zero(tasks, scores, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RankingEvaluator().evaluate(tasks, scores)


@pytest.mark.shared
def test_the_floors_have_their_known_figures_on_convai2(shared_data: Path) -> None:
    tasks = read_ranking_file(shared_data / "convai2" / "valid_self_original_cands_first500.txt").tasks
    assert len(tasks) == 3907
    evaluator = RankingEvaluator(bootstrap_samples=20)
    figures = {
        name: evaluator.evaluate(tasks, floor.rank(tasks))["hits1"].value
        for name, floor in (("tfidf", TfidfFloor()), ("copier", PersonaCopier()), ("human", HumanCeiling()))
    }
    assert figures == {
        "tfidf": pytest.approx(46.15, abs=0.005),
        "copier": pytest.approx(39.13, abs=0.006),
        "human": 100,
    }


def test_the_tfidf_floor_answers_with_the_training_reply_nearest_to_persona_and_last_line() -> None:
    floor = TfidfFloor(["my cat sleeps all day .", "i work as a chef , you ?", "nice weather ."])
    assert floor.respond([DOGS, DOGS]) == ["i work as a chef , you ?"] * 2
    with pytest.raises(UserError, match="replies of a training set"):
        TfidfFloor().respond([DOGS])


def test_the_copier_repeats_the_trait_that_was_asked_for_and_then_another() -> None:
    copier = PersonaCopier()
    assert copier.respond([DOGS]) == ["I work as a chef."]
    unclear = Context(
        DOGS.persona, (Turn("partner", "hm ?"), Turn("self", "I have two dogs."), Turn("partner", "hm ?"))
    )
    assert copier.respond([unclear]) == ["I work as a chef."]
    with pytest.raises(UserError, match="persona without any"):
        copier.respond([Context(Persona(()), DOGS.history)])


def test_the_generic_replier_varies_and_tells_nothing() -> None:
    assert len(set(generic_replies())) == 60
    contexts = [Context(DOGS.persona, (Turn("partner", f"line {number}"),)) for number in range(40)]
    replies = GenericReplier().respond(contexts)
    assert replies == GenericReplier().respond(contexts)
    assert len(set(replies)) > 15
    said = (Turn("partner", "line 1"), Turn("self", replies[1]), Turn("partner", "line 1"))
    assert GenericReplier().respond([Context(DOGS.persona, said)]) != [replies[1]]


def test_the_generic_replier_ranks_what_it_would_say_first() -> None:
    own = generic_replies()[0]
    candidates = RankingTask("f:1", DOGS, ("my two dogs bark .", own), ("gold", "rand"))
    [[gold, generic]] = GenericReplier().rank([candidates])
    assert gold < generic == pytest.approx(1)


def test_people_answer_only_where_somebody_did() -> None:
    assert HumanCeiling({DOGS: "a chef ."}).respond([DOGS]) == ["a chef ."]
    with pytest.raises(UserError, match="no person has answered 'what do you work as"):
        HumanCeiling({}).respond([DOGS])
