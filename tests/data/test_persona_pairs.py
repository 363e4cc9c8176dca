"""Pairs of persona sentences made from dialogues, and files of pairs."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from personatune.data.chat_asides import chatter, lengthened
from personatune.data.pair_files import hand_written_pairs, hand_written_scenes, read_pairs
from personatune.data.pair_wording import clashing_classes, rendered
from personatune.data.persona_pairs import KINDS, SentencePair, make_persona_pairs
from personatune.data.triples import triple_of
from personatune.dialogue import Persona, Perspective, Turn
from personatune.errors import UserError

_TRAITS = (
    "I have two dogs.",
    "I have three dogs.",
    "I do not have any dogs.",
    "I own two dogs.",
    "I love pizza.",
    "I hate pizza.",
    "I work as a nurse.",
    "I work as a teacher.",
    "My favorite color is blue.",
    "My favorite color is red.",
    "I am a vegan.",
    "I love steak.",
    "I live in Ohio.",
    "My mother is a nurse.",
    "I never learned to swim.",
    "I play the piano.",
)


def speakers() -> list[Perspective]:
    """Four speakers of four traits, who say each of them in a longer line, and ask back."""
    made = []
    for number in range(4):
        traits = _TRAITS[number::4]
        turns = [Turn("self", f"{trait} I told my neighbor about it. How are you?") for trait in traits]
        made.append(Perspective(str(number), Persona(traits), tuple(turns)))
    return made


@pytest.fixture(scope="module")
def pairs() -> list[SentencePair]:
    return make_persona_pairs(speakers(), 600, seed=1)


def test_every_pair_has_the_label_of_its_kind_and_two_different_sentences(pairs: list[SentencePair]) -> None:
    assert pairs
    for pair in pairs:
        assert pair.label == KINDS[pair.kind][0]
        assert pair.premise != pair.hypothesis
    assert {pair.label for pair in pairs} == {"entailment", "neutral", "contradiction"}


def test_a_pair_stands_once_whatever_its_direction(pairs: list[SentencePair]) -> None:
    assert max(Counter(frozenset((pair.premise, pair.hypothesis)) for pair in pairs).values()) == 1


def test_the_same_seed_gives_the_same_pairs_and_another_seed_others(pairs: list[SentencePair]) -> None:
    assert make_persona_pairs(speakers(), 600, seed=1) == pairs
    assert make_persona_pairs(speakers(), 600, seed=2) != pairs


@pytest.mark.parametrize(
    ("first", "second", "label"),
    [
        ("I love pizza.", "I hate pizza.", "contradiction"),
        ("I work as a nurse.", "I work as a teacher.", "contradiction"),
        ("My favorite color is blue.", "My favorite color is red.", "contradiction"),
        ("I am a vegan.", "I love steak.", "contradiction"),
        ("I own two dogs.", "I have two dogs.", "entailment"),
        ("I work as a nurse.", "My mother is a nurse.", "neutral"),
    ],
)
def test_known_pairs_are_found_with_their_label(pairs: list[SentencePair], first: str, second: str, label: str) -> None:
    found = [pair.label for pair in pairs if {pair.premise, pair.hypothesis} == {first, second}]
    assert found == [label]


def test_two_counts_of_one_thing_are_never_entailed(pairs: list[SentencePair]) -> None:
    wrong = [
        pair
        for pair in pairs
        if pair.label == "entailment" and {pair.premise, pair.hypothesis} == {"I have two dogs.", "I have three dogs."}
    ]
    assert wrong == []


def test_a_fact_and_its_denial_are_worded_in_its_own_relation() -> None:
    job = triple_of("I work as a nurse.")
    assert job is not None
    facts = {rendered(job, affirmed=True, rng=random.Random(seed)) for seed in range(30)}
    denials = {rendered(job, affirmed=False, rng=random.Random(seed)) for seed in range(30)}
    assert "i am a nurse." in facts
    assert "i am unemployed." in denials
    assert facts.isdisjoint(denials)


def test_clashing_statements_clash_both_ways_round_and_others_do_not() -> None:
    classes = clashing_classes(["I am single.", "My husband is a cook.", "I live alone."])
    assert classes.clash("I am single.", "My husband is a cook.")
    assert classes.clash("My husband is a cook.", "I am single.")
    assert not classes.clash("I am single.", "I live alone.")


def test_chatter_around_a_fact_changes_no_label_and_shares_no_keyword() -> None:
    pair = SentencePair("I have two dogs.", "I own two dogs.", "entailment", "same triple")
    long = lengthened([pair] * 40, ["What a day!", "Dogs are great."], share=1.0, seed=3)
    assert all(item.label == "entailment" for item in long)
    assert any(item.premise in ("What a day! I have two dogs.", "I have two dogs. What a day!") for item in long)
    assert not any("Dogs are great." in item.premise + item.hypothesis for item in long)
    assert lengthened([pair], ["What a day!"], share=0.0) == [pair]


def test_chatter_is_short() -> None:
    assert "How are you?" in chatter(speakers())
    assert all(len(line.split()) <= 9 for line in chatter(speakers()))


# --- files


def write(folder: Path, text: str) -> Path:
    file = folder / "pairs.tsv"
    file.write_text(text, encoding="utf-8")
    return file


def test_names_and_numbers_of_labels_mean_the_same(tmp_path: Path) -> None:
    names = read_pairs(write(tmp_path, "a b\tc\tentailment\na\tb\tNeutral\nx\ty\tcontradiction\n")).pairs
    numbers = read_pairs(write(tmp_path, "premise\thypothesis\tlabel\na b\tc\t0\na\tb\t1\nx\ty\t2\n")).pairs
    assert names == numbers
    assert [pair.label for pair in names] == ["entailment", "neutral", "contradiction"]


def test_quotes_are_text(tmp_path: Path) -> None:
    pair = read_pairs(write(tmp_path, 'He said "hi\tShe said "no\t2\n')).pairs[0]
    assert (pair.premise, pair.hypothesis) == ('He said "hi', 'She said "no')


def test_pairs_without_a_gold_label_are_counted(tmp_path: Path) -> None:
    read = read_pairs(write(tmp_path, "a\tb\t-\na\tb\t1\n"))
    assert len(read.pairs) == 1
    assert read.skipped == {"annotators did not agree": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\tmaybe\n", "line 1: label 'maybe', expected entailment, neutral, contradiction or 0, 1, 2"),
        ("a\tb\t0\na b 0\n", "line 2: 1 columns, expected premise, hypothesis, label between tabs"),
        ("a\t\t0\n", "line 1: an empty sentence"),
        ("premise\thypothesis\tlabel\n", "no pair in it"),
        ("", "no pair in it"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_pairs(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.tsv: can't be read"):
        read_pairs(tmp_path / "nowhere.tsv")


@pytest.mark.parametrize("packaged", [hand_written_pairs, hand_written_scenes])
def test_hand_written_pairs_are_whole_balanced_and_said_once(packaged) -> None:
    pairs = packaged()
    counts = Counter(pair.label for pair in pairs)
    assert len(pairs) > 2000
    assert min(counts.values()) > 0.28 * len(pairs)
    assert len({(pair.premise.lower(), pair.hypothesis.lower()) for pair in pairs}) == len(pairs)
