"""Persona evaluation on dialogues whose every figure was counted by hand."""

from __future__ import annotations

import pytest

from personatune.dialogue import Persona, Probe, ProbeScript
from personatune.evaluation.persona import PersonaEvaluator, repetition
from personatune.judging.probes import ProbeDialogue, judge_dialogue

PERSONA = Persona(("I have two dogs.", "I am a chef.", "My favorite color is red.", "I live in texas."))
PETS = Probe("I have two dogs.", "Do you have any pets?", ("dog",), ("cat",))
JOB = Probe("I am a chef.", "What do you do for a living?", ("chef",), ("nurs",))
COLOUR = Probe("My favorite color is red.", "What's your favorite color?", ("red",), ("blue",))
LINES = (("Hi!", None), (PETS.question, PETS), ("Nice.", None), (JOB.question, JOB), (COLOUR.question, COLOUR))
SCRIPT = ProbeScript(PERSONA, LINES)


@pytest.fixture
def dialogues() -> list[ProbeDialogue]:
    return [
        # consistent, contradicting, neutral; traits 0, 1, 0, 0, 0 of 4; one copy of five
        judge_dialogue(SCRIPT, ["Hello.", "I have two dogs.", "Yes.", "I'm a nurse.", "I like them all."]),
        # consistent three times; traits 0, 1, 0, 1, 1 of 4; no copy
        judge_dialogue(SCRIPT, ["Hello.", "My dogs!", "Right.", "A chef.", "Red."]),
    ]


def test_every_figure_of_two_dialogues(dialogues):
    found = PersonaEvaluator().evaluate_dialogues(dialogues)
    assert found["probe_consistency"].value == pytest.approx((1 / 3 + 1) / 2)
    assert found["contradiction_rate"].value == pytest.approx(1 / 6)
    assert found["neutral_rate"].value == pytest.approx(1 / 6)
    assert found["trait_coverage"].value == pytest.approx((1 / 20 + 3 / 20) / 2)
    assert found["copy_share"].value == pytest.approx(0.1)
    # words and marks: 2+5+2+4+5 and 2+3+2+3+2
    assert found["reply_words"].value == pytest.approx((18 / 5 + 12 / 5) / 2)
    assert all(figure.n == 2 and figure.low <= figure.value <= figure.high for figure in found.values())


def test_consistency_turn_by_turn_leaves_small_talk_out(dialogues):
    found = PersonaEvaluator().compute_multi_turn_consistency(dialogues)
    assert {turn: figure.value for turn, figure in found.items() if turn != "overall"} == {"2": 1.0, "4": 0.5, "5": 0.5}
    assert "multi_turn_consistency_4" in PersonaEvaluator().evaluate_dialogues(dialogues)


def test_repetition_counts_trigrams_said_before():
    # i like red / like red wine, i like red / like red cars: 4 trigrams, 3 unique
    assert repetition(["I like red wine.", "I like red cars."]) == pytest.approx(1 / 4)
    assert repetition(["Hi.", "Yes."]) == 0.0
    assert repetition(["I like red wine."] * 4) == pytest.approx(1 - 2 / 8)


def test_single_replies_and_batches():
    evaluator = PersonaEvaluator(bootstrap_samples=200)
    assert evaluator.evaluate_consistency("I'm no chef but I have two dogs.", PERSONA) == {
        "trait_coverage": 0.25,
        "expressed": [0],
        "contradicted": [1],
        "copies_trait": True,
    }
    found = evaluator.evaluate_batch_responses(["Red!", "I don't live in texas.", "Hm.", "Ok."], [PERSONA] * 4)
    assert found["trait_coverage"].value == 0.0625
    assert found["contradicting_share"].value == 0.25
    assert found["copy_share"].value == 0.0
    with pytest.raises(ValueError, match="zip"):
        evaluator.evaluate_batch_responses(["Red!"], [PERSONA] * 2)


def test_no_dialogues_is_an_error():
    with pytest.raises(ValueError, match="no probe dialogues"):
        PersonaEvaluator().evaluate_dialogues([])
