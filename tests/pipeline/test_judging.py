"""How a judge's probabilities become verdicts: where it says from which one a contradiction counts, that holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from personatune.pipeline.critic import contradiction_threshold, probe_pairs
from personatune.pipeline.judging import Judges
from personatune.progress import SilentProgress


class OfOneMind:
    """A judge that finds every pair contradictory with the same probability."""

    name = "of one mind"

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        return np.tile([0.0, 1 - self.probability, self.probability], (len(pairs), 1)).astype(np.float32)


@pytest.mark.parametrize(("probability", "threshold"), [(0.1, 0.5), (0.605, 0.61), (1.0, 0.99)])
def test_the_threshold_is_the_lowest_that_spares_neutral_pairs(probability: float, threshold: float) -> None:
    assert contradiction_threshold(OfOneMind(probability)) == threshold


def test_a_judges_own_threshold_decides_and_is_printed(tmp_path: Path) -> None:
    judges = Judges(OfOneMind(0.6), "", {"contradiction_from": 0.8})
    evaluator = judges.evaluator(tmp_path / "kept.json", 10, 0, SilentProgress())
    assert evaluator is not None
    assert evaluator.threshold == 0.8
    assert judges.to_json()["decision"] == evaluator.decision == "contradiction from 0.8"


def test_a_judge_that_names_none_gives_its_likeliest_label() -> None:
    assert Judges(OfOneMind(0.6), "").to_json()["decision"] == "most probable label"


def test_probe_pairs_stand_both_ways_round_and_neutral_ones_outnumber_the_others() -> None:
    pairs = probe_pairs("validation")
    both = {(pair.premise, pair.hypothesis) for pair in pairs}
    replies = [pair for pair in pairs if pair.kind != "two traits of one persona"]
    assert all((pair.hypothesis, pair.premise) in both for pair in replies)
    neutral = sum(pair.label == "neutral" for pair in pairs)
    assert neutral > len(pairs) / 2
