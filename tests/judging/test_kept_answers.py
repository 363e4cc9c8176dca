"""A judge's answers are kept: nothing is judged twice, not even in the next run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from personatune.errors import UserError
from personatune.judging.kept_answers import KeptAnswers

PAIRS = [("I sing.", "I am a singer."), ("I sing.", "I am mute."), ("I sing.", "I am a singer.")]


class LengthJudge:
    """Judges by the length of the sentences: a rule whose answers differ from pair to pair."""

    def __init__(self, name: str = "length", fails_after: int | None = None) -> None:
        self.name = name
        self.asked: list[tuple[str, str]] = []
        self.fails_after = fails_after

    def probabilities(self, pairs):
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            raise KeyboardInterrupt
        self.asked += pairs
        raw = np.array([[len(premise), len(hypothesis), 7] for premise, hypothesis in pairs], dtype=np.float32)
        return raw / raw.sum(axis=1, keepdims=True)


def test_a_pair_is_judged_once_and_answers_stay_in_order():
    judge = LengthJudge()
    kept = KeptAnswers(judge)
    np.testing.assert_array_equal(kept.probabilities(PAIRS), LengthJudge().probabilities(PAIRS))
    kept.probabilities(PAIRS[::-1])
    assert judge.asked == PAIRS[:2]
    assert kept.name == "length"
    assert kept.probabilities([]).shape == (0, 3)


def test_the_next_run_finds_the_same_answers_in_the_file(tmp_path: Path):
    file = tmp_path / "answers.json"
    first = KeptAnswers(LengthJudge(), file).probabilities(PAIRS)
    later = LengthJudge()
    np.testing.assert_array_equal(KeptAnswers(later, file).probabilities(PAIRS), first)
    assert later.asked == []


def test_judges_share_a_file_and_not_their_answers(tmp_path: Path):
    file = tmp_path / "answers.json"
    KeptAnswers(LengthJudge("one"), file).probabilities(PAIRS[:1])
    other = LengthJudge("two")
    KeptAnswers(other, file).probabilities(PAIRS[:1])
    assert other.asked == PAIRS[:1]
    again = LengthJudge("one")
    KeptAnswers(again, file).probabilities(PAIRS[:1])
    assert again.asked == []
    assert set(json.loads(file.read_text())["judges"]) == {"one", "two"}


def test_an_interrupted_run_keeps_what_was_judged(tmp_path: Path):
    pairs = [(f"I have {number} dogs.", "I have a dog.") for number in range(1500)]
    with pytest.raises(KeyboardInterrupt):
        KeptAnswers(LengthJudge(fails_after=1), tmp_path / "answers.json").probabilities(pairs)
    later = LengthJudge()
    np.testing.assert_array_equal(
        KeptAnswers(later, tmp_path / "answers.json").probabilities(pairs), LengthJudge().probabilities(pairs)
    )
    assert later.asked == pairs[1024:]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[]", "no kept answers of a judge"),
        ('{"labels": ["neutral", "entailment", "contradiction"], "judges": {}}', "no kept answers of a judge"),
        (
            '{"labels": ["entailment", "neutral", "contradiction"], "judges": {"length": [["a", "b", 1]]}}',
            "damaged answers of length",
        ),
        ("{", "not valid JSON"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str, told: str):
    file = tmp_path / "answers.json"
    file.write_text(content)
    with pytest.raises(UserError, match=told) as caught:
        KeptAnswers(LengthJudge(), file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([[0.5, 0.5]], r"shape \(1, 2\), expected \(1, 3\)"),
        ([[np.nan, 0.5, 0.5]], "expected three probabilities"),
        ([[2.0, -0.5, -0.5]], "expected three probabilities"),
        ([[3.0, 0.1, 0.2]], "expected three probabilities"),
    ],
)
def test_a_judge_that_gives_no_probabilities_is_named(answer: list[list[float]], told: str):
    class Broken(LengthJudge):
        def probabilities(self, pairs):
            return np.array(answer, dtype=np.float32)

    with pytest.raises(UserError, match=f"judge length: .*{told}"):
        KeptAnswers(Broken()).probabilities(PAIRS[:1])
