"""Figures of several seeds of several methods as one row a method, with intervals that hold both kinds of chance.

A figure of one seed is uncertain because its dialogues are few (its bootstrap interval), the mean of a method also
because its seeds are few. All seeds are judged on the same dialogues, so more seeds narrow the second part only:
``variance = (bootstrap interval / 3.92)² + (variance between seeds) / seeds``, the interval ± 1.96 of its root,
cut where the figure's own range ends.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from personatune.intervals import Estimate, bootstrap

REFERENCE = "sft"
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
_Z = 1.959964


def summarise(
    rows: Sequence[Mapping[str, Any]], dialogues: Sequence[Sequence[Mapping[str, Any]]], samples: int, seed: int
) -> dict[str, Any]:
    """Return ``methods`` (a row each), ``rows`` (as given) and ``intervals`` (in words).

    A method's row has its seeds, seconds (mean over seeds), ``metrics`` (value, low, high, n, and each seed's value)
    and ``over_sft``: the paired differences of its probe verdicts to the SFT model's, with a bootstrap over dialogues.

    Args:
        rows: one a method and seed; ``dialogues``: their probe dialogues, in the same order for everybody.
    """
    names = list(dict.fromkeys(row["method"] for row in rows))
    shares = {
        name: _shares([held for row, held in zip(rows, dialogues, strict=True) if row["method"] == name])
        for name in names
    }
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
                "over_sft": _over_reference(name, shares, samples, seed),
            }
        )
    return {"methods": methods, "rows": list(rows), "intervals": INTERVALS}


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


def _shares(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, list[float]]:
    """Return for each measure the share of verdicts of each dialogue, mean over the seeds."""
    found = {}
    for measure, verdict in _VERDICTS.items():
        each = [[_share(dialogue["verdicts"], verdict) for dialogue in held] for held in seeds]
        found[measure] = np.mean(each, axis=0).tolist()
    return found


def _share(verdicts: Sequence[str | None], wanted: str) -> float:
    given = [verdict for verdict in verdicts if verdict]
    return sum(verdict == wanted for verdict in given) / len(given)


def _over_reference(
    name: str, shares: Mapping[str, Mapping[str, Sequence[float]]], samples: int, seed: int
) -> dict[str, Any]:
    if name == REFERENCE or REFERENCE not in shares:
        return {}
    pairs = {measure: (own, shares[REFERENCE][measure]) for measure, own in shares[name].items()}
    return {
        measure: bootstrap(np.subtract(own, reference), samples, seed).to_json()
        for measure, (own, reference) in pairs.items()
    }
