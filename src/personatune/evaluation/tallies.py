"""Rates whose parts are counted line by line: sums that add up over lines, turns and dialogues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from personatune.intervals import Estimate, bootstrap, ratio

Tally = tuple[float, int]
"""A sum and how many things it is over; a rate is the ratio of both, summed over lines and dialogues."""


def total(tallies: Iterable[Tally]) -> Tally:
    """Add tallies up."""
    rows = list(tallies)
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


def rate(tallies: Sequence[Tally], samples: int = 1000, seed: int = 0) -> Estimate | None:
    """Return the ratio of sums with its interval, the items (dialogues) resampled as wholes.

    Items with nothing to count don't take part; None where nothing is left to divide by: such a figure is absent.
    """
    items = [tally for tally in tallies if tally[1]]
    return bootstrap(items, samples, seed, ratio) if items else None
