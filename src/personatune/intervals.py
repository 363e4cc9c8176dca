"""Every figure with its interval: 95 % percentile bootstrap over items (dialogues, personas or replies)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Maps items of shape (..., n) or (..., n, k) to one value for each leading index."""

_CHUNK = 2_000_000  # resampled values held at once


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured figure: the value, its 95 % interval and the number of items it stands on."""

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Estimate:
        return cls(row["value"], row["low"], row["high"], row["n"])


def mean(items: Array) -> Array:
    """Mean over the items, (..., n) to (...)."""
    return np.asarray(items.mean(axis=-1))


def ratio(items: Array) -> Array:
    """Sum of the first column over the sum of the second, (..., n, 2) to (...): a rate whose items differ in size."""
    sums = items.sum(axis=-2)
    return np.asarray(sums[..., 0] / sums[..., 1])


def bootstrap(items: ArrayLike, samples: int = 1000, seed: int = 0, statistic: Statistic = mean) -> Estimate:
    """Return ``statistic`` of the items with its 95 % percentile bootstrap interval.

    Args:
        items: (n,) values, or (n, k) rows for a statistic of several columns.
        samples: resamples drawn with replacement.

    Raises:
        ValueError: no items, or a value that is not finite: such a figure is absent, not 0.
    """
    values = np.asarray(items, dtype=np.float64)
    if values.shape[0] == 0:
        raise ValueError("no items to estimate from")
    if not np.isfinite(values).all():
        raise ValueError("items must be finite numbers")
    n = values.shape[0]
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // max(1, values.size))
    parts = []
    for start in range(0, samples, rows):
        chosen = rng.integers(0, n, size=(min(rows, samples - start), n))
        parts.append(statistic(values[chosen]))
    return estimate(float(statistic(values)), np.concatenate(parts), n)


def estimate(value: float, resampled: Array, n: int) -> Estimate:
    """Return the estimate whose interval spans the middle 95 % of the resampled values."""
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n)


def resample_counts(n: int, samples: int, seed: int) -> NDArray[np.int64]:
    """Return how often each of ``n`` items is drawn in each resample, (samples, n)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=samples)


def paired_difference(first: Sequence[float], second: Sequence[float], samples: int = 1000, seed: int = 0) -> Estimate:
    """Return mean(first - second) over paired items; an interval without 0 is a significant difference at 5 %.

    Raises:
        ValueError: the lists differ in length: pairs must be the same item judged twice.
    """
    if len(first) != len(second):
        raise ValueError(f"paired items must be equally many, found {len(first)} and {len(second)}")
    return bootstrap(np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64), samples, seed)
