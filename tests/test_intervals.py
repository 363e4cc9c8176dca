"""Intervals: they hold the truth about as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from personatune.intervals import Estimate, bootstrap, paired_difference, ratio


def test_the_interval_holds_the_true_mean_about_95_times_in_100():
    rng = np.random.default_rng(1)
    held = 0
    for trial in range(200):
        found = bootstrap(rng.normal(3, 2, size=60), samples=300, seed=trial)
        held += found.low <= 3 <= found.high
    assert 0.89 <= held / 200 <= 0.99


def test_it_agrees_with_the_normal_interval_on_many_items():
    values = np.random.default_rng(2).normal(0, 1, size=2000)
    found = bootstrap(values, 2000)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert found.low == pytest.approx(values.mean() - half, abs=0.005)
    assert found.high == pytest.approx(values.mean() + half, abs=0.005)


def test_equal_items_leave_no_doubt():
    assert bootstrap([0.5] * 8) == Estimate(0.5, 0.5, 0.5, 8)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random(30)
    assert bootstrap(values, seed=4) == bootstrap(values, seed=4)
    assert bootstrap(values, seed=4) != bootstrap(values, seed=5)


def test_a_ratio_weighs_items_by_their_size():
    found = bootstrap([[1.0, 10.0], [9.0, 10.0], [0.0, 80.0]], statistic=ratio)
    assert found.value == pytest.approx(0.1)
    assert found.n == 3


@pytest.mark.parametrize("items", [[], [1.0, float("nan")]])
def test_a_figure_that_cannot_be_computed_is_an_error_and_not_zero(items):
    with pytest.raises(ValueError, match=r"no items|finite"):
        bootstrap(items)


def test_pairing_finds_a_small_steady_difference_that_unpaired_noise_hides():
    base = np.random.default_rng(3).normal(0, 5, size=40)
    found = paired_difference(list(base + 0.2), list(base), samples=500)
    assert found.low == pytest.approx(0.2)
    with pytest.raises(ValueError, match="equally many"):
        paired_difference([1.0], [1.0, 2.0])


def test_an_estimate_survives_json():
    found = Estimate(0.5, 0.25, 0.75, 12)
    assert Estimate.from_json(found.to_json()) == found
