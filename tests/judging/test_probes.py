"""Probes: natural questions that don't give the answer away, and the dialogues made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personatune.copying import copy_share
from personatune.dialogue import Context, Persona
from personatune.judging.derived_probes import attribute_of, make_probe
from personatune.judging.keywords import judge_answer
from personatune.judging.probes import ProbeDialogue, hold_dialogues, make_script
from personatune.judging.small_talk import INTERLUDES, OPENINGS
from personatune.words import keyword_stems, stems

EVERYDAY = [
    Persona(("I have two dogs.", "I am a chef.", "I live in texas.", "My favorite color is red.")),
    Persona(("I don t eat meat.", "I have three sisters.", "I m 27 years old.", "I play the violin.")),
    Persona(("I am afraid of heights.", "I drive a honda.", "My mother is a dentist.", "I love to paint.")),
    Persona(("I am married with two kids.", "I hate tomatoes.", "I study biology in college.", "I collect stamps.")),
]


@pytest.mark.parametrize(
    ("trait", "attribute"),
    [
        ("I have two dogs.", "pet"),
        ("I am a chef.", "job"),
        ("i work at a gas station .", "job"),
        ("I am 32.", "age"),
        ("I live in Nevada.", "home"),
        ("I grew up in Ohio.", "origin"),
        ("My favourite food is pizza.", "favourite"),
        ("Pizza is my favorite food.", "favourite"),
        ("I have three sisters.", "siblings"),
        ("I have two sons.", "children"),
        ("My father is a pilot.", "relative"),
        ("I am married.", "relationship"),
        ("I m allergic to nuts.", "allergy"),
        ("I am a vegan.", "diet"),
        ("I hate tomatoes.", "disliked food"),
        ("I drive a truck.", "vehicle"),
        ("I play the piano.", "music making"),
        ("I want to be an astronaut.", "dream"),
        ("I have long red hair.", "looks"),
        ("I love to paint.", "hobby"),
        ("I work out daily.", "sport"),
    ],
)
def test_a_trait_is_asked_for_by_its_attribute(trait, attribute):
    assert attribute_of(trait) == attribute
    assert make_probe(trait, Persona((trait,))) is not None


@settings(deadline=None)  # a busy machine breaks no rule
@given(st.sampled_from(EVERYDAY), st.integers(0, 50))
def test_a_question_never_contains_a_keyword_it_asks_for(persona, seed):
    for trait in persona.traits:
        probe = make_probe(trait, persona, seed)
        assert probe is not None
        assert not set(stems(probe.question)).intersection(probe.keywords)
        assert set(keyword_stems(trait)).intersection(probe.keywords)
        assert judge_answer(trait, probe) == "consistent"


def test_the_seed_draws_the_wording():
    questions = {getattr(make_probe("I am a chef.", EVERYDAY[0], seed), "question", None) for seed in range(20)}
    assert len(questions) >= 3


def test_no_rule_no_question():
    assert make_probe("Hm.", Persona(("Hm.",))) is None


def test_only_one_value_can_be_the_favourite_but_a_second_pet_does_no_harm():
    colour = make_probe("My favorite color is red.", EVERYDAY[0])
    pet = make_probe("I have two dogs.", EVERYDAY[0])
    assert colour is not None
    assert pet is not None
    assert judge_answer("It is green.", colour) == "contradicting"
    assert judge_answer("I have a cat.", pet) == "contradicting"
    assert judge_answer("Two dogs and a cat.", pet) == "consistent"


def test_ages_count_in_digits_and_in_words():
    probe = make_probe("I am twenty six years old.", Persona(("I am twenty six years old.",)))
    assert probe is not None
    assert judge_answer("26", probe) == "consistent"
    assert judge_answer("I'm 20.", probe) == "contradicting"
    assert judge_answer("Thirty four!", probe) == "contradicting"


def test_a_broad_question_accepts_every_trait_it_asks_for():
    persona = Persona(("I like to knit.", "I love fishing.", "I am a nurse."))
    probe = make_probe("I like to knit.", persona)
    assert probe is not None
    assert judge_answer("Mostly I go fishing.", probe) == "consistent"


def test_a_script_opens_with_small_talk_and_never_repeats_a_line():
    for seed in range(30):
        script = make_script(EVERYDAY[0], 7, seed)
        assert script is not None
        lines = [line for line, _ in script.lines]
        assert len(lines) == len(set(lines)) == 7
        assert script.lines[0][0] in OPENINGS
        assert script.lines[0][1] is None
        assert sum(probe is not None for _, probe in script.lines) == 4
        assert all(probe is not None or line in OPENINGS + INTERLUDES for line, probe in script.lines)


def test_the_same_seed_gives_the_same_script():
    assert make_script(EVERYDAY[1], 6, 3) == make_script(EVERYDAY[1], 6, 3)
    assert make_script(EVERYDAY[1], 6, 3) != make_script(EVERYDAY[1], 6, 4)


def test_two_traits_are_too_few_for_a_dialogue():
    assert make_script(Persona(("I am a chef.", "I have two dogs.")), 6) is None


def test_small_talk_tells_of_no_persona():
    lines = OPENINGS + INTERLUDES
    assert len(set(lines)) == len(lines) >= 65
    asking = ("what do", "what kind", "who ", "how old", "do you have", "favorite", "favourite")
    assert not [line for line in lines if any(words in line.lower() for words in asking)]
    assert not [line for line in INTERLUDES if line.endswith("?") and "your" in line.lower()]


def _scripts():
    return [script for persona in EVERYDAY if (script := make_script(persona, 6, 1))]


def _copier(contexts: Sequence[Context]) -> list[str]:
    """Repeats the trait that the partner's line asks for; small talk gets the first trait."""
    asked = {(s.persona, line): probe.trait for s in _scripts() for line, probe in s.lines if probe}
    return [asked.get((item.persona, item.history[-1].text), item.persona.traits[0]) for item in contexts]


def test_dialogues_are_held_in_lock_step_with_the_whole_history():
    seen: list[list[Context]] = []

    def respond(contexts):
        seen.append(list(contexts))
        return ["Okay."] * len(contexts)

    advanced: list[int] = []
    held = hold_dialogues(_scripts(), respond, advanced.append)
    assert advanced == [4] * 6
    assert [len(turn[0].history) for turn in seen] == [1, 3, 5, 7, 9, 11]
    assert all(context.history[-1].speaker == "partner" for turn in seen for context in turn)
    assert all(len(dialogue.replies) == 6 for dialogue in held)
    assert all((verdict is None) == (probe is None) for d in held for verdict, (_, probe) in zip(d.verdicts, d.script.lines))  # fmt: skip  # noqa: B905, E501


def test_the_persona_copier_is_consistent_and_exposed_by_its_copies():
    held = hold_dialogues(_scripts(), _copier)
    verdicts = [verdict for dialogue in held for verdict in dialogue.verdicts if verdict]
    assert set(verdicts) == {"consistent"}
    assert all(copy_share(dialogue.replies, dialogue.script.persona) == 1.0 for dialogue in held)


def test_the_generic_replier_is_never_consistent():
    held = hold_dialogues(_scripts(), lambda contexts: ["That's nice, how about you?"] * len(contexts))
    assert {verdict for dialogue in held for verdict in dialogue.verdicts if verdict} == {"neutral"}


def test_a_dialogue_survives_json():
    held = hold_dialogues(_scripts(), _copier)
    again = [ProbeDialogue.from_json(json.loads(json.dumps(dialogue.to_json()))) for dialogue in held]
    assert again == held


@pytest.mark.shared
def test_most_traits_of_real_personas_can_be_asked_for(shared_data):
    rows = json.loads((shared_data / "convai2" / "human_train_1000.json").read_text(encoding="utf-8"))[:150]
    personas = [Persona(tuple(row["persona"])) for row in rows]
    probes = [(trait, make_probe(trait, persona)) for persona in personas for trait in persona.traits]
    made = [(trait, probe) for trait, probe in probes if probe]
    assert len(made) / len(probes) >= 0.85
    assert all(judge_answer(trait, probe) == "consistent" for trait, probe in made)
    assert not any(set(stems(probe.question)).intersection(probe.keywords) for _, probe in made)
    assert sum(make_script(persona, 6) is not None for persona in personas) / len(personas) >= 0.9
