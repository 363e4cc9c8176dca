"""Figures with their uncertainty: a value, its 95 % bootstrap interval and the number of items behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure: ``value``, the bounds ``low`` and ``high`` of its 95 % interval, and ``n`` items."""

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float | int]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Estimate:
        return cls(row["value"], row["low"], row["high"], row["n"])


def bootstrap(
    values: Sequence[Any],
    *,
    samples: int = 1000,
    seed: int = 0,
    statistic: Callable[[Any], Any] | None = None,
) -> Estimate:
    """Return a statistic of the items with its percentile bootstrap interval (Efron 1979).

    Args:
        values: one entry an item (dialogue, persona); a number, or a row of numbers for ratio statistics.
        statistic: maps an array S × n (× columns) of resampled items to S figures; the mean by default.

    Raises:
        ValueError: no items.
    """
    import numpy as np

    items = np.asarray(values, dtype=float)
    if len(items) == 0:
        raise ValueError("a figure needs at least one item")
    figure = statistic or (lambda drawn: drawn.mean(axis=1))
    draws = np.random.default_rng(seed).integers(0, len(items), size=(samples, len(items)))
    resampled = figure(items[draws])
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Estimate(float(figure(items[None])[0]), float(low), float(high), len(items))
