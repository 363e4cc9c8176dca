"""Accuracy, confusion and calibration of a judge, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from personatune.data.persona_pairs import SentencePair
from personatune.evaluation.judge_accuracy import judge_accuracy


class SameWords:
    """Says entailment for equal sentences, contradiction where one side has "not", else neutral; always 80 % sure."""

    name = "same words"

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        rows = np.full((len(pairs), 3), 0.1, dtype=np.float32)
        for row, (first, second) in zip(rows, pairs, strict=True):
            row[0 if first == second else 2 if "not" in f"{first} {second}".split() else 1] = 0.8
        return rows


_PAIRS = [
    SentencePair("a dog", "a dog", "entailment", "x"),
    SentencePair("a dog", "a hound", "entailment", "x"),
    SentencePair("a dog", "a cat", "neutral", "y"),
    SentencePair("a dog", "not a dog", "contradiction", "y"),
    SentencePair("a dog", "not a cat", "neutral", "y"),
]


def test_figures_are_those_computed_by_hand() -> None:
    found = judge_accuracy(SameWords(), _PAIRS)
    assert found.accuracy().value == pytest.approx(3 / 5)
    assert found.confusion() == [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert found.by_kind() == {"x": {"accuracy": 0.5, "n": 2}, "y": {"accuracy": pytest.approx(2 / 3), "n": 3}}
    # all confidences are 0.8, accuracy is 0.6: one bin, 0.2 apart
    assert found.calibration()["expected_calibration_error"] == pytest.approx(0.2)
    assert [row["n"] for row in found.calibration()["bins"]] == [5]


def test_errors_name_the_pair_and_what_was_judged() -> None:
    errors = judge_accuracy(SameWords(), _PAIRS).errors()
    assert [(pair.hypothesis, judged) for pair, judged, _ in errors] == [
        ("a hound", "neutral"),
        ("not a cat", "contradiction"),
    ]


def test_the_written_result_has_accuracy_confusion_and_n() -> None:
    result = judge_accuracy(SameWords(), _PAIRS).to_json()
    assert (result["accuracy"], result["n"]) == (pytest.approx(0.6), 5)
    assert sum(map(sum, result["confusion"])) == 5
    assert result["accuracy_low"] <= result["accuracy"] <= result["accuracy_high"]


def test_no_pairs_are_an_error_and_no_zero() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        judge_accuracy(SameWords(), [])
