"""Seeds become one row a method: known answers of means, intervals and paired differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from personatune.intervals import Estimate
from personatune.pipeline.method_table import over_seeds, paired, summarise


def row(method: str, seed: int, value: float) -> dict[str, Any]:
    return {
        "method": method,
        "seed": seed,
        "training_seconds": 10.0 * (seed + 1),
        "reward_model_seconds": 0.0,
        "seconds_per_reply": 0.1,
        "tokens_per_reply": 9.0,
        "stopped": None,
        "metrics": {"probe_consistency": Estimate(value, value - 0.1, value + 0.1, 2).to_json()},
    }


def held(*verdicts: list[str | None]) -> list[dict[str, Any]]:
    return [{"verdicts": own} for own in verdicts]


def test_one_seed_keeps_its_own_interval() -> None:
    found = over_seeds([Estimate(0.5, 0.3, 0.8, 12)], least=0.0, most=1.0)
    assert found == {"value": 0.5, "low": 0.3, "high": 0.8, "n": 12, "by_seed": [0.5]}


def test_seeds_that_agree_have_the_dialogues_interval_and_seeds_that_differ_a_wider_one() -> None:
    alike = over_seeds([Estimate(0.5, 0.4, 0.6, 12)] * 3, least=0.0, most=1.0)
    assert (alike["low"], alike["high"]) == (pytest.approx(0.4), pytest.approx(0.6))
    apart = over_seeds(
        [Estimate(value, value - 0.1, value + 0.1, 12) for value in (0.3, 0.5, 0.7)], least=0.0, most=1.0
    )
    error = math.sqrt((0.1 / 1.959964) ** 2 + 0.04 / 3)
    assert apart["value"] == pytest.approx(0.5)
    assert apart["high"] - apart["value"] == pytest.approx(1.959964 * error)
    assert apart["by_seed"] == [0.3, 0.5, 0.7]


def test_an_interval_over_seeds_stays_inside_the_figures_range() -> None:
    rare = over_seeds([Estimate(0.0, 0.0, 0.1, 12), Estimate(0.05, 0.0, 0.1, 12)], least=0.0, most=1.0)
    usual = over_seeds([Estimate(0.9, 0.8, 1.0, 12), Estimate(1.0, 1.0, 1.0, 12)], least=0.0, most=1.0)
    long = over_seeds([Estimate(12.0, 9.0, 15.0, 12), Estimate(16.0, 12.0, 20.0, 12)], least=0.0, most=math.inf)

    assert rare["low"] == 0.0 < rare["value"] < rare["high"] < 0.2
    assert usual["high"] == 1.0 > usual["value"] > usual["low"] > 0.8
    assert long["low"] < 12.0
    assert long["high"] > 16.0


def test_a_methods_row_has_its_seeds_means_and_each_pair_its_difference() -> None:
    rows = [row("sft", 0, 0.25), row("dpo", 0, 0.5), row("dpo", 1, 1.0)]
    dialogues = [
        held(["consistent", None, "contradicting"], ["neutral", "neutral"]),
        held(["consistent", None, "neutral"], ["consistent", "neutral"]),
        held(["consistent", None, "consistent"], ["consistent", "consistent"]),
    ]
    found = summarise(rows, dialogues, 200, 0)
    sft, dpo = found["methods"]
    assert (sft["method"], sft["seeds"]) == ("sft", [0])
    assert (dpo["seeds"], dpo["training_seconds"]) == ([0, 1], 15.0)
    assert dpo["metrics"]["probe_consistency"]["value"] == pytest.approx(0.75)
    # SFT: 1/2 and 0; DPO, mean over its seeds: 3/4 and 3/4.
    (difference,) = found["differences"]
    assert (difference["method"], difference["other"]) == ("dpo", "sft")
    assert difference["metrics"]["probe_consistency"]["value"] == pytest.approx(0.5)
    assert difference["metrics"]["probe_consistency"]["n"] == 2
    assert difference["metrics"]["contradiction_rate"]["value"] == pytest.approx(-0.25)
    assert len(found["rows"]) == 3


def test_each_figure_is_cut_at_its_own_range() -> None:
    rows = [row("sft", 0, 0.9), row("sft", 1, 1.0)]
    percents, words, cosines = (
        Estimate(60.0, 55.0, 65.0, 2),
        Estimate(150.0, 120.0, 180.0, 2),
        Estimate(0, -0.5, 0.5, 2),
    )
    for one in rows:
        one["metrics"] |= {
            "distinct_2": percents.to_json(),
            "reply_words": words.to_json(),
            "relevance": cosines.to_json(),
        }
    dialogues = [held(["consistent", "neutral"])] * 2
    metrics = summarise(rows, dialogues, 200, 0)["methods"][0]["metrics"]

    assert metrics["probe_consistency"]["high"] == 1.0
    assert metrics["distinct_2"]["high"] == pytest.approx(65.0)
    assert metrics["reply_words"]["high"] == pytest.approx(180.0)
    assert metrics["relevance"]["low"] == pytest.approx(-0.5)


def test_every_pair_of_methods_has_a_difference() -> None:
    rows = [row("sft", 0, 0.5), row("dpo", 0, 0.5), row("ppo", 0, 0.5)]
    found = summarise(rows, [held(["consistent"], ["neutral"])] * 3, 200, 0)["differences"]
    assert [(pair["method"], pair["other"]) for pair in found] == [("dpo", "sft"), ("ppo", "sft"), ("ppo", "dpo")]


def test_a_difference_holds_the_chance_of_the_dialogues_and_that_of_both_methods_seeds() -> None:
    other = np.array([[0.2, 0.4, 0.2, 0.4]])
    alike = paired(np.array([[0.4, 0.4, 0.2, 0.6]] * 3), other, 2000, 0)
    apart = np.array([[0.2, 0.2, 0.0, 0.4], [0.4, 0.4, 0.2, 0.6], [0.6, 0.6, 0.4, 0.8]])  # the same means
    wider = paired(apart, other, 2000, 0)

    assert alike.value == wider.value == pytest.approx(0.1)
    assert alike.low == pytest.approx(0.0)
    assert alike.high == pytest.approx(0.2)
    assert alike.n == 4
    error = 1.959964 * 0.2 / math.sqrt(3)
    assert wider.high == pytest.approx(0.1 + math.hypot(0.1, error))
    assert wider.low == pytest.approx(0.1 - math.hypot(0.1, error))
    both = paired(apart, apart, 2000, 0)
    assert both.high == pytest.approx(math.sqrt(2) * error)


def test_a_difference_of_shares_stays_between_minus_one_and_one() -> None:
    found = paired(np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]), np.zeros((1, 2)), 200, 0)
    assert found.value < found.high == 1.0
