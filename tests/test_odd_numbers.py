"""Digits that are no number that Python reads: superscripts, and more of them than it takes."""

from __future__ import annotations

import random

import pytest

from personatune.data.contradictions import EDIT_KINDS, contradict
from personatune.data.triples import triple_of
from personatune.dialogue import Persona
from personatune.judging.derived_probes import make_probe
from personatune.judging.keywords import judge_answer
from personatune.judging.numbers import numbers_in
from personatune.words import digits_value

ODD = ["²", "9" * 5000, "٣" * 5000]


@pytest.mark.parametrize("odd", ODD)
def test_they_are_words_like_others_to_all_that_counts(odd: str) -> None:
    assert digits_value(odd) is None
    assert numbers_in(["i", "have", odd, "dogs"]) == []
    for sentence in (f"I have {odd} dogs.", f"I am {odd} years old.", f"I have {odd}."):
        triple = triple_of(sentence)
        assert triple is None or triple.count is None
        probe = make_probe(sentence, Persona((sentence,)))
        if probe:
            assert judge_answer(sentence, probe) == "consistent"
        for kind in EDIT_KINDS:
            edit = contradict(sentence, (sentence,), random.Random(0), (kind,))
            assert edit is None or edit.text != sentence


@pytest.mark.parametrize(("word", "value"), [("26", 26), ("٣", 3), ("0", 0), ("", None), ("six", None)])
def test_plain_digits_are_read(word: str, value: int | None) -> None:
    assert digits_value(word) == value
