"""A pair and its mirror: the same two replies, and only persona and line tell which one is right."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from personatune.data.contradictions import Edit
from personatune.data.mirrors import MIRROR, counterfactual
from personatune.data.negatives import Reply, read_replies
from personatune.data.preferences import PreferenceGenerator
from personatune.dialogue import Dialogue, Persona, Perspective, Turn
from personatune.settings import PreferencesConfig

DOGS = Persona(("I have two dogs.", "I work as a nurse."), "Ann")
PARROT = Persona(("I have a parrot.", "I am a lawyer."))


def talk(name: str, persona: Persona, *turns: str) -> Perspective:
    speakers = ("partner", "self")
    return Perspective(name, persona, tuple(Turn(speakers[index % 2], text) for index, text in enumerate(turns)))


def reply(persona: Persona, *turns: str) -> Reply:
    return max(read_replies([talk("d/1", persona, *turns)], 6, random.Random(0)), key=lambda one: one.origin)


def test_a_persona_swap_is_mirrored_in_the_other_persons_own_context() -> None:
    talks = [
        talk("d1/A", DOGS, "Do you have any pets?", "Yes, I have two dogs."),
        talk("d2/A", PARROT, "Do you have any pets?", "Yes, I have one parrot."),
    ]
    config = PreferencesConfig(kinds={"persona_swap": 1})
    report = PreferenceGenerator(talks, config, seed=0).generate(2)
    first, mirror = sorted(report.pairs, key=lambda pair: pair.origin.startswith(MIRROR))
    assert report.mirrors == {"persona_swap": 1}
    assert (mirror.chosen, mirror.rejected) == (first.rejected, first.chosen)
    assert {first.context.persona, mirror.context.persona} == {DOGS, PARROT}


@pytest.mark.parametrize(
    ("said", "edited", "edit", "expected"),
    [
        ("I have two dogs.", "I have five dogs.", ("number", "two -> five"), "I have five dogs."),
        ("I have two dogs.", "I have two cats.", ("value", "dogs -> cats"), "I have two cats."),
        ("I don't have two dogs.", "I have two dogs.", ("affirmed", "don't have -> have"), None),  # not in the sentence
    ],
)
def test_the_edit_of_a_contradiction_changes_the_sentence_it_contradicts(
    said: str, edited: str, edit: tuple[str, str], expected: str | None
) -> None:
    context = counterfactual(reply(DOGS, "Do you have any pets?", said), Edit(edited, *edit))
    if expected is None:
        assert context is None
        return
    assert context is not None
    assert context.persona == Persona((expected, "I work as a nurse."), "Ann")
    assert context.history == (Turn("partner", "Do you have any pets?"),)


def test_there_is_no_counterfactual_persona_for_one_who_told_of_the_old_one_before() -> None:
    gold = reply(DOGS, "Hi!", "My dogs say hi.", "Oh, you have pets?", "Yes, I have two dogs.")
    assert counterfactual(gold, Edit("Yes, I have two cats.", "value", "dogs -> cats")) is None


def test_nor_where_two_sentences_hold_what_is_edited() -> None:
    persona = Persona(("I have two dogs.", "My sister has dogs too."))
    gold = reply(persona, "Do you have pets?", "I have two dogs.")
    assert counterfactual(gold, Edit("I have two cats.", "value", "dogs -> cats")) is None


@pytest.mark.shared
def test_on_real_dialogues_a_mirrored_reply_is_as_often_right_as_wrong(shared_data: Path) -> None:
    perspectives: list[Perspective] = []
    file = shared_data / "synthetic-persona-chat" / "spc_train_00.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines()[:300]:
        row = json.loads(line)
        personas = {f"User {number}": Persona(tuple(row[f"user_{number}_personas"])) for number in (1, 2)}
        turns = tuple(Turn(speaker, text) for speaker, text in row["conversation"])
        perspectives.extend(Dialogue(row["id"], turns, personas).perspectives())
    plain, mirrored = (
        PreferenceGenerator(perspectives, PreferencesConfig(mirrors=mirrors), seed=0).generate(200)
        for mirrors in (False, True)
    )
    assert not plain.mirrors
    for kind, least in (("persona_swap", 0.4), ("off_topic", 0.25), ("contradiction", 0.3)):
        assert mirrored.mirrors[kind] >= least * mirrored.counts[kind], kind
    both = Counter(pair.chosen.lower().rstrip(" .!?") for pair in mirrored.pairs) & Counter(
        pair.rejected.lower().rstrip(" .!?") for pair in mirrored.pairs
    )
    assert both.total() >= 2 * sum(mirrored.mirrors.values()) * 0.9  # style is adapted to the other reply now and then
    assert sum(abs(len(pair.rejected.split()) - len(pair.chosen.split())) for pair in mirrored.pairs) < 200
