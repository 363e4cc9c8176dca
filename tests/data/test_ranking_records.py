"""Ranking records out of dialogues: who states, who contradicts, and that the file reads back as it was made."""

from __future__ import annotations

import pytest

from personatune.data.ranking_files import read_ranking_file
from personatune.data.ranking_records import make_ranking_records, record_json
from personatune.data.stances import contradicts, stated, states
from personatune.data.triples import triple_of
from personatune.dialogue import Persona, Perspective, Turn
from personatune.storage import write_jsonl


def _triple(sentence):
    triple = triple_of(sentence)
    assert triple is not None, sentence
    return triple


@pytest.mark.parametrize(
    ("line", "trait"),
    [
        ("I love pizza.", "I like pizza."),
        ("My favorite food is pizza.", "I love pizza."),
        ("I have two dogs.", "I have dogs."),
        ("I'm a nurse at a hospital.", "I am a nurse."),
    ],
)
def test_a_line_states_what_the_trait_says(line, trait):
    assert states(_triple(line), _triple(trait))
    assert not contradicts(_triple(line), _triple(trait))


@pytest.mark.parametrize(
    ("line", "trait"),
    [
        ("I hate pizza.", "I love pizza."),
        ("I have three dogs.", "I have two dogs."),
        ("My favorite food is sushi.", "My favorite food is pizza."),
        ("I'm a lawyer.", "I am a nurse."),
    ],
)
def test_a_line_contradicts_the_trait(line, trait):
    assert contradicts(_triple(line), _triple(trait))
    assert not states(_triple(line), _triple(trait))


@pytest.mark.parametrize(
    ("line", "trait"),
    [
        ("I love sushi.", "I love pizza."),
        ("My mother is a lawyer.", "I am a nurse."),
        ("I don't like spicy pizza.", "I love pizza."),
        ("I love pizza.", "I don't like cold pizza."),
    ],
)
def test_other_things_are_neither(line, trait):
    assert not contradicts(_triple(line), _triple(trait))
    assert not states(_triple(line), _triple(trait))


def _talk(name: str, traits: tuple[str, ...], *replies: str) -> Perspective:
    turns = [turn for reply in replies for turn in (Turn("partner", "And you?"), Turn("self", reply))]
    return Perspective(name, Persona(traits), tuple(turns))


NURSE = _talk("a", ("I am a nurse.", "I have two dogs."), "Hello there!", "I'm a nurse.")
OTHERS = [
    _talk("b", ("I am a lawyer.",), "I'm a lawyer.", "I love the sea."),
    _talk("c", ("I am a chef.",), "I am a chef.", "i am a chef!"),
    _talk("d", ("I am a pilot.",), "I'm a pilot."),
    _talk("e", ("I am a nurse, too.",), "I'm a nurse at night."),
    _talk("f", ("I play chess.",), "I play chess.", "Do you like dogs?"),
]


def test_every_candidate_stands_in_its_class():
    record = next(task for task in make_ranking_records([NURSE, *OTHERS], 9) if task.context.persona == NURSE.persona)
    by_kind: dict[str, set[str]] = {kind: set() for kind in record.kinds}
    for text, kind in zip(record.candidates, record.kinds, strict=True):
        by_kind[kind].add(text)
    assert by_kind["gold"] == {"I'm a nurse."}
    assert by_kind["neg"] == {"I'm a lawyer.", "I am a chef.", "I'm a pilot."}  # "i am a chef!" is the same line
    assert by_kind["similar"] == {"I'm a nurse at night."}
    assert by_kind["rand"] == {"I love the sea.", "I play chess."}
    assert record.context.history[-1].text == "And you?"


def test_without_enough_contradicting_lines_there_is_no_record():
    assert make_ranking_records([NURSE, OTHERS[0], OTHERS[3]], 9) == []


def test_the_same_seed_makes_the_same_records():
    assert make_ranking_records([NURSE, *OTHERS], 3, 7) == make_ranking_records([NURSE, *OTHERS], 3, 7)


def test_a_written_file_reads_back_as_it_was_made(tmp_path):
    records = make_ranking_records([NURSE, *OTHERS], 9)
    place = tmp_path / "records.jsonl"
    write_jsonl(place, map(record_json, records))
    read = read_ranking_file(place).tasks
    assert [(task.context, task.candidates, task.kinds) for task in read] == [
        (task.context, task.candidates, task.kinds) for task in records
    ]


@pytest.mark.parametrize(
    "text",
    [
        "I gave up meat.",
        "I have no dogs.",
        "I used to be a nurse.",
        "I would love a dog.",
        "I like it better than tea.",
    ],
)
def test_what_is_not_plainly_so_states_nothing(text):
    assert stated(text) == ()
