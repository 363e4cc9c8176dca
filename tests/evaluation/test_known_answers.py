"""Two probe dialogues whose every keyword measure was computed by hand."""

from __future__ import annotations

import pytest

from personatune.dialogue import Persona, Probe, ProbeScript
from personatune.evaluation.persona import PersonaEvaluator
from personatune.judging.probes import judge_dialogue

DOGS = Probe("I have two dogs.", "Do you have any pets?", ("dog",), ("cat",))
NURSE = Probe("I work as a nurse.", "What do you do for a living?", ("nurs", "hospit"), ("teacher",))
BROCCOLI = Probe("I can't stand broccoli.", "What would you never eat?", ("broccoli",))
RED = Probe("My favorite color is red.", "Which color do you like best?", ("red",), ("blue",))
CAT = Probe("I have a cat.", "Do you have any pets?", ("cat",), ("dog",))
AGE = Probe("I am 30 years old.", "How old are you?", ("30", "thirti"), ("forti",))
DRIVING = Probe("I don't drive.", "How do you get to work?", ("drive",), ("car",))

FIRST = (
    # partner's line, probe, reply; by hand: verdict, traits expressed, words and marks, new of all 3-grams
    ("Hello!", None, "Hi, I am fine."),  # -, 0 of 4, 6, 2 of 2
    (DOGS.question, DOGS, "Two dogs, Max and Bella."),  # consistent, 1 of 4, 7, 3 of 3
    (NURSE.question, NURSE, "I am a teacher."),  # contradicting, 0 of 4, 5, 2 of 2
    (BROCCOLI.question, BROCCOLI, "I can't stand broccoli."),  # consistent, 1 of 4, a copy, 5, 2 of 2
    ("Haha, nice.", None, "Hi, I am fine."),  # -, 0 of 4, 6, 0 of 2
    (RED.question, RED, "I like the sky."),  # neutral, 0 of 4, 5, 2 of 2
)
SECOND = (
    ("Hey!", None, "Hello there."),  # -, 0 of 3, 3, no 3-gram
    (CAT.question, CAT, "No pets, my friend has a cat."),  # contradicting, 0 of 3 (the friend's), 9, 5 of 5
    (AGE.question, AGE, "Thirty."),  # consistent, 0 of 3 ("30" is another word), 2
    (DRIVING.question, DRIVING, "I used to drive."),  # consistent, 1 of 3, 5, 2 of 2
    ("I see.", None, "Okay."),  # -, 0 of 3, 2
)
BY_HAND = {
    "probe_consistency": (2 / 4 + 2 / 3) / 2,
    "contradiction_rate": (1 / 4 + 1 / 3) / 2,
    "neutral_rate": (1 / 4 + 0) / 2,
    "trait_coverage": (2 / 4 / 6 + 1 / 3 / 5) / 2,
    "copy_share": (1 / 6 + 0) / 2,
    "repetition": (2 / 13 + 0) / 2,
    "reply_words": (34 / 6 + 21 / 5) / 2,
    "multi_turn_consistency_2": 1 / 2,
    "multi_turn_consistency_3": 1 / 2,
    "multi_turn_consistency_4": 2 / 2,
    "multi_turn_consistency_6": 0 / 1,
}


def _dialogue(lines):
    persona = Persona(tuple(probe.trait for _, probe, _ in lines if probe))
    script = ProbeScript(persona, tuple((line, probe) for line, probe, _ in lines))
    return judge_dialogue(script, [reply for _, _, reply in lines])


def test_every_keyword_measure_is_what_a_person_computes():
    figures = PersonaEvaluator(bootstrap_samples=50).evaluate_dialogues([_dialogue(FIRST), _dialogue(SECOND)])
    assert {name: figure.value for name, figure in figures.items()} == pytest.approx(BY_HAND)


def test_each_figure_tells_how_many_dialogues_it_stands_on():
    figures = PersonaEvaluator(bootstrap_samples=50).evaluate_dialogues([_dialogue(FIRST), _dialogue(SECOND)])
    assert figures["probe_consistency"].n == 2
    assert figures["multi_turn_consistency_2"].n == 2
    assert figures["multi_turn_consistency_6"].n == 1
