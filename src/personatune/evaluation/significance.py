"""Are two contenders different? Paired bootstrap over the items that both were measured on, Holm's correction.

Both figures are computed anew on the same resampled items, so what is easy for both cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np

from personatune.evaluation.results import EXPONENTIAL, Result, Tally
from personatune.intervals import Array, resample_counts

LEVEL = 0.05
SAMPLES = 10_000
"""Resamples of a comparison: p-values small enough for twenty comparisons at once."""

_CHUNK = 2_000_000  # counts held at once


@dataclass(frozen=True, slots=True)
class Difference:
    """First minus second on one figure.

    Attributes:
        low, high: 95 % interval of this comparison alone.
        n: items that both were measured on.
        p: two-sided bootstrap p-value.
        p_holm: the same, corrected for all comparisons of the table (Holm 1979).
    """

    first: str
    second: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    p: float
    p_holm: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    @property
    def significant(self) -> bool:
        """Different at 5 % although so many comparisons were made."""
        return self.excludes_zero and self.p_holm < LEVEL

    def to_json(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "second": self.second,
            "metric": self.metric,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "p": self.p,
            "p_holm": self.p_holm,
            "excludes_zero": self.excludes_zero,
            "significant": self.significant,
        }


def compare_results(
    results: Sequence[Result], metrics: Sequence[str], samples: int = SAMPLES, seed: int = 0
) -> list[Difference]:
    """Return all differences between pairs of results, metric by metric, corrected together.

    A pair that shares no item on a metric has no row.

    Raises:
        ValueError: the results are of different items.
    """
    found: list[tuple[str, str, str, Array, float, int]] = []
    for metric in metrics:
        for first, second in combinations(results, 2):
            if metric not in first.tallies or metric not in second.tallies:
                continue
            if first.items != second.items:
                raise ValueError(f"{first.contender} and {second.contender}: measured on different items")
            pair = paired_figures([first.tallies[metric], second.tallies[metric]], samples, seed, metric)
            if pair is not None:
                values, resampled, n = pair
                difference = resampled[0] - resampled[1]
                found.append((first.contender, second.contender, metric, difference, values[0] - values[1], n))
    p_values = [p_value(difference) for *_, difference, _, _ in found]
    corrected = holm(p_values)
    return [
        Difference(first, second, metric, float(value), *_interval(difference), n, p, p_holm)
        for (first, second, metric, difference, value, n), p, p_holm in zip(found, p_values, corrected, strict=True)
    ]


def paired_figures(
    tallies: Sequence[Sequence[Tally]], samples: int, seed: int, metric: str = ""
) -> tuple[Array, Array, int] | None:
    """Return figures (k,), the same on resampled items (k, samples), and the number of items, for k lists of tallies.

    Items that one of the lists says nothing about are left out of all; None when none is left.
    """
    rows_K_N_2 = np.asarray(tallies, dtype=np.float64)
    both = (rows_K_N_2[:, :, 1] > 0).all(axis=0)
    rows_K_N_2 = rows_K_N_2[:, both]
    n = rows_K_N_2.shape[1]
    if n == 0:
        return None
    finish: Callable[[Array], Array] = np.exp if metric in EXPONENTIAL else np.asarray
    totals = rows_K_N_2.sum(axis=1)
    parts = [_resampled(rows_K_N_2, drawn) for drawn in _draws(n, samples, seed)]
    return finish(totals[:, 0] / totals[:, 1]), finish(np.concatenate(parts, axis=1)), n


def p_value(resampled: Array) -> float:
    """Return the two-sided p-value of "no difference" from resampled differences; never below 1 / (samples + 1)."""
    tail = min(int((resampled <= 0).sum()), int((resampled >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(resampled) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979): the smallest times m, the next times m - 1, …"""
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = highest
    return corrected


def _draws(n: int, samples: int, seed: int) -> Iterator[Array]:
    step = max(1, _CHUNK // n)
    for number, start in enumerate(range(0, samples, step)):
        yield _draw(n, min(step, samples - start), seed + number)


@lru_cache(maxsize=4)  # every figure of a table is resampled alike
def _draw(n: int, samples: int, seed: int) -> Array:
    return resample_counts(n, samples, seed).astype(np.float64)


def _resampled(rows_K_N_2: Array, drawn_S_N: Array) -> Array:
    sums_S_K = drawn_S_N @ rows_K_N_2[:, :, 0].T
    counts_S_K = drawn_S_N @ rows_K_N_2[:, :, 1].T
    return np.asarray((sums_S_K / counts_S_K).T)


def _interval(resampled: Array) -> tuple[float, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)
