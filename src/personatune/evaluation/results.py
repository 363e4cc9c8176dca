"""What one contender reached on one benchmark: every figure with its interval, and the items it is made of.

A figure is the sum of its items over their count, items being dialogues; kept item by item, two contenders can be
compared on the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from personatune.intervals import Estimate, bootstrap, ratio

Tally = tuple[float, float]
"""Of one item: a sum and how many things it is over; (0, 0) where the item has nothing to say about the figure."""

EXPONENTIAL = frozenset({"perplexity_token", "perplexity_word"})
"""Figures that are exp of their ratio."""


@dataclass
class Result:
    """One contender on one benchmark.

    Attributes:
        items: names of the dialogues (or records), in the order of every list of ``tallies``.
        metrics: figure name to estimate; ``n`` counts the items it stands on.
        tallies: for figures that are made item by item.
        absent: figure name to why it could not be computed; such a figure is in no other attribute.
        settings: everything a reader needs to make the figures again: decoding, scoring, judge, tokenizer.
    """

    contender: str
    kind: str
    benchmark: str
    items: list[str]
    metrics: dict[str, Estimate] = field(default_factory=dict)
    tallies: dict[str, list[Tally]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "contender": self.contender,
            "kind": self.kind,
            "benchmark": self.benchmark,
            "items": self.items,
            "metrics": {name: estimate.to_json() for name, estimate in self.metrics.items()},
            "tallies": {name: [list(tally) for tally in rows] for name, rows in self.tallies.items()},
            "absent": self.absent,
            "settings": self.settings,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Result:
        return cls(
            row["contender"],
            row["kind"],
            row["benchmark"],
            list(row["items"]),
            {name: Estimate.from_json(value) for name, value in row["metrics"].items()},
            {name: [(sum_, count) for sum_, count in rows] for name, rows in row["tallies"].items()},
            dict(row["absent"]),
            dict(row["settings"]),
        )


class Figures:
    """Collects the figures of one result.

    Args:
        items: names of the items that every list of tallies follows.
        parts: how many tallies in a row belong to one item; they are summed, so that intervals resample whole items.
    """

    def __init__(self, items: Sequence[str], samples: int, seed: int, parts: int = 1) -> None:
        self.items = list(items)
        self.parts = parts
        self.samples = samples
        self.seed = seed
        self.metrics: dict[str, Estimate] = {}
        self.tallies: dict[str, list[Tally]] = {}
        self.absent: dict[str, str] = {}

    def add(self, name: str, tallies: Sequence[Tally], why_absent: str = "nothing to compute it from") -> None:
        """Add a figure from its items; without a single counted thing it is absent, with the reason given."""
        if len(tallies) != len(self.items) * self.parts:
            raise ValueError(f"{name}: {len(tallies)} tallies for {len(self.items)} items of {self.parts}")
        if self.parts > 1:
            tallies = [_sum(tallies[start : start + self.parts]) for start in range(0, len(tallies), self.parts)]
        counted = [tally for tally in tallies if tally[1]]
        if not counted:
            self.absent[name] = why_absent
            return
        self.tallies[name] = [(float(sum_), float(count)) for sum_, count in tallies]
        self.metrics[name] = estimate_of(counted, self.samples, self.seed, exponential=name in EXPONENTIAL)

    def add_estimate(self, name: str, estimate: Estimate) -> None:
        """Add a figure that is more than a ratio of sums (BLEU, Distinct): it has no paired comparison."""
        self.metrics[name] = estimate

    def leave_out(self, names: Sequence[str], why: str) -> None:
        """Say why figures are absent."""
        self.absent |= dict.fromkeys(names, why)


def _sum(tallies: Sequence[Tally]) -> Tally:
    return sum(sum_ for sum_, _ in tallies), sum(count for _, count in tallies)


def estimate_of(tallies: Sequence[Tally], samples: int, seed: int, *, exponential: bool = False) -> Estimate:
    """Return sum over count with its interval over items; exp of all that for perplexities."""
    found = bootstrap(tallies, samples, seed, ratio)
    if not exponential:
        return found
    return Estimate(math.exp(found.value), math.exp(found.low), math.exp(found.high), found.n)


def by_group(groups: Sequence[str], items: Sequence[str], values: Sequence[float]) -> list[Tally]:
    """Return for each item the sum and number of the values whose group it is; values come one a reply."""
    sums = dict.fromkeys(items, 0.0)
    counts = dict.fromkeys(items, 0)
    for group, value in zip(groups, values, strict=True):
        sums[group] += value
        counts[group] += 1
    return [(sums[item], counts[item]) for item in items]
