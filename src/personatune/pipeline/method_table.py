"""Figures of several seeds of several methods as one row a method, with intervals that hold both kinds of chance.

A figure of one seed is uncertain because its dialogues are few (its bootstrap interval), the mean of a method also
because its seeds are few. All seeds are judged on the same dialogues, so more seeds narrow the second part only:
``variance = (bootstrap interval / 3.92)² + (variance between seeds) / seeds``, the interval ± 1.96 of its root,
cut where the figure's own range ends. A difference of two methods is paired by dialogue; its bootstrap interval is
widened by the variance of both methods' seeds in the same way.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personatune.intervals import Estimate, bootstrap

Held = Sequence[Sequence[Mapping[str, Any]]]
"""The probe dialogues of each seed of a method."""
Shares = NDArray[np.float64]

COMPARED = (
    "probe_consistency",
    "contradiction_rate",
    "contradicting_lines",
    "prompt_to_line",
    "distinct_2",
    "reply_words",
    "relevance",
    "engagement",
    "copy_share",
    "repetition",
    "perplexity_token",
)
INTERVALS = (
    "95 % intervals hold the chance of the dialogues and of the seeds; all methods and seeds are judged on the same "
    "dialogues"
)
_RANGES = {
    "distinct_2": (0.0, 100.0),
    "reply_words": (0.0, math.inf),
    "relevance": (-1.0, 1.0),
    "perplexity_token": (1.0, math.inf),
}
"""What a figure can be at least and at most; all others are shares, or means of them."""
_VERDICTS = {"probe_consistency": "consistent", "contradiction_rate": "contradicting"}
"""The verdict that a figure is the share of."""

_Z = 1.959964


def summarise(
    rows: Sequence[Mapping[str, Any]], dialogues: Sequence[Sequence[Mapping[str, Any]]], samples: int, seed: int
) -> dict[str, Any]:
    """Return ``methods``, ``differences`` (a row each pair), ``rows`` (as given) and ``intervals`` (in words).

    A method's row has its seeds, seconds (mean over seeds) and ``metrics`` (value, low, high, n, and each seed's
    value); a row of ``differences`` by how much ``method`` has more than ``other`` of
    the two figures that probe verdicts give.

    Args:
        rows: one a method and seed; ``dialogues``: their probe dialogues, in the same order for everybody.
    """
    names = list(dict.fromkeys(row["method"] for row in rows))
    methods = []
    for name in names:
        own = [row for row in rows if row["method"] == name]
        methods.append(
            {
                "method": name,
                "seeds": [row["seed"] for row in own],
                "training_seconds": statistics.fmean(row["training_seconds"] for row in own),
                "reward_model_seconds": statistics.fmean(row["reward_model_seconds"] for row in own),
                "seconds_per_reply": statistics.fmean(row["seconds_per_reply"] for row in own),
                "tokens_per_reply": statistics.fmean(row["tokens_per_reply"] for row in own),
                "stopped": sorted({row["stopped"] for row in own if row["stopped"]}),
                "metrics": {
                    metric: over_seeds(
                        [Estimate.from_json(row["metrics"][metric]) for row in own], *_RANGES.get(metric, (0.0, 1.0))
                    )
                    for metric in COMPARED
                    if all(metric in row["metrics"] for row in own)
                },
            }
        )
    held = {name: [own for row, own in zip(rows, dialogues, strict=True) if row["method"] == name] for name in names}
    differences = [
        {"method": name, "other": other, "metrics": _differences(held[name], held[other], samples, seed)}
        for other, name in itertools.combinations(names, 2)
    ]
    return {"methods": methods, "differences": differences, "rows": list(rows), "intervals": INTERVALS}


def over_seeds(figures: Sequence[Estimate], least: float, most: float) -> dict[str, Any]:
    """Return the mean of the seeds' figures with its interval (see the head of this file) and ``by_seed``.

    Args:
        least, most: the figure's own range.
    """
    values = [figure.value for figure in figures]
    value = statistics.fmean(values)
    counts = {"n": min(figure.n for figure in figures), "by_seed": values}
    if len(values) == 1:
        return {"value": value, "low": figures[0].low, "high": figures[0].high, **counts}
    within = statistics.fmean((figure.high - figure.low) / (2 * _Z) for figure in figures)
    error = math.sqrt(within**2 + statistics.variance(values) / len(values))
    return {"value": value, "low": max(least, value - _Z * error), "high": min(most, value + _Z * error), **counts}


def paired(own: Shares, other: Shares, samples: int, seed: int) -> Estimate:
    """Return how much more a method has than another, means over its seeds and dialogues (see the head of this file).

    Args:
        own, other: shares of each dialogue, (seeds, dialogues), the same dialogues on both sides; in 0 to 1.
    """
    found = bootstrap(own.mean(axis=0) - other.mean(axis=0), samples, seed)
    apart = _Z * math.hypot(_seed_error(own), _seed_error(other))
    low = max(-1.0, found.value - math.hypot(found.value - found.low, apart))
    high = min(1.0, found.value + math.hypot(found.high - found.value, apart))
    return Estimate(found.value, low, high, found.n)


def _seed_error(shares: Shares) -> float:
    """Return the standard error of a method's mean by its seeds; 0 with one seed, which can't say."""
    seeds = len(shares)
    return 0.0 if seeds == 1 else math.sqrt(float(shares.mean(axis=1).var(ddof=1)) / seeds)


def _differences(own: Held, other: Held, samples: int, seed: int) -> dict[str, Any]:
    return {
        measure: paired(_shares(own, verdict), _shares(other, verdict), samples, seed).to_json()
        for measure, verdict in _VERDICTS.items()
    }


def _shares(held: Held, verdict: str) -> Shares:
    return np.array([[_share(dialogue["verdicts"], verdict) for dialogue in dialogues] for dialogues in held])


def _share(verdicts: Sequence[str | None], wanted: str) -> float:
    given = [verdict for verdict in verdicts if verdict]
    return sum(verdict == wanted for verdict in given) / len(given)
