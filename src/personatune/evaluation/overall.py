"""The overall reading of a table: who is good on all counts, and who bought one figure with another.

Consistency alone is won by whoever repeats the persona, relevance alone by whoever repeats the partner. So four
things are read together, each as the share of what people reach on the same items, and at most 1: to be more
"relevant" or less repetitive than people is no merit. The score is their geometric mean: a zero anywhere is a zero.

    consistency  probes: probe_consistency; replies: c_score, or trait_score where no judge is there
    relevance    cosine with the partner's line
    originality  1 - copy_share
    variety      1 - repetition

A row is *exposed* when one of the last three is below half of what people reach; it is listed behind all others,
whatever its score. People have 1 by definition: they are the yardstick, not a competitor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personatune.evaluation.results import Result
from personatune.evaluation.significance import paired_figures
from personatune.intervals import Array, Estimate

EXPOSED_BELOW = 0.5
"""Of what people reach. Half: far outside anything an honest reply needs, and never reached by chance."""

_CONSISTENCY = ("probe_consistency", "c_score", "trait_score")
_COMPLEMENTS = {"originality": "copy_share", "variety": "repetition"}
COMPONENTS = ("consistency", "relevance", "originality", "variety")


@dataclass(frozen=True, slots=True)
class Reading:
    """One row of the overall reading.

    Attributes:
        place: from 1 among rows that are not exposed and not people; None for those.
        score: geometric mean of the components, with its interval over items.
        components: each as the share of what people reach, 0 to 1.
        figures: the figures behind the components, as measured.
        exposed: why the row can't be taken at its word; empty where it can.
        as_good_as_best: the difference from the first place can't be told from chance.
    """

    contender: str
    kind: str
    place: int | None
    score: Estimate
    components: Mapping[str, float]
    figures: Mapping[str, float]
    exposed: tuple[str, ...]
    as_good_as_best: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "contender": self.contender,
            "kind": self.kind,
            "place": self.place,
            "score": self.score.to_json(),
            "components": dict(self.components),
            "figures": dict(self.figures),
            "exposed": list(self.exposed),
            "as_good_as_best": self.as_good_as_best,
        }


def read_overall(results: Sequence[Result], samples: int = 1000, seed: int = 0) -> list[Reading]:
    """Return the rows in order: people, then by score, then what is exposed.

    Raises:
        ValueError: it can't be read; says why (no human row, a component that was not measured).
    """
    people = next((result for result in results if result.kind == "ceiling" and "copy_share" in result.tallies), None)
    if people is None:
        raise ValueError("no human replies to measure against")
    consistency = _consistency_metric(results)
    metrics = {"consistency": consistency, "relevance": "relevance", **_COMPLEMENTS}
    missing = [name for name in metrics.values() if name not in people.tallies]
    if missing:
        raise ValueError(f"{missing[0]} is not measured: {people.absent.get(missing[0], 'no reason given')}")
    rows = []
    for result in results:
        if any(name not in result.tallies for name in metrics.values()):
            continue
        rows.append(_Row.of(result, people, metrics, samples, seed))
    return _ordered(rows)


@dataclass(frozen=True)
class _Row:
    """What a reading is made of; ``resampled`` holds the score on each resample."""

    result: Result
    score: float
    resampled: Array
    n: int
    components: Mapping[str, float]
    figures: Mapping[str, float]
    exposed: tuple[str, ...]

    @classmethod
    def of(cls, result: Result, people: Result, metrics: Mapping[str, str], samples: int, seed: int) -> _Row:
        components: dict[str, float] = {}
        figures: dict[str, float] = {}
        theirs: dict[str, float] = {}
        resampled = np.ones(samples)
        n = 0
        for component, metric in metrics.items():
            pair = paired_figures([result.tallies[metric], people.tallies[metric]], samples, seed, metric)
            if pair is None:
                raise ValueError(f"{metric}: {result.contender} and people were measured on no common item")
            values, drawn, n = pair
            figures[metric], theirs[metric] = float(values[0]), float(values[1])
            goods = [1 - part if component in _COMPLEMENTS else part for part in (values, drawn)]
            if goods[0][1] <= 0:
                raise ValueError(f"{metric}: people themselves have {values[1]:.2f}, so it is no yardstick here")
            components[component] = float(_share(goods[0][0], goods[0][1]))
            resampled = resampled * _share(goods[1][0], goods[1][1])
        score = float(np.prod(list(components.values())) ** (1 / len(metrics)))
        reasons = tuple(
            f"{metric} {figures[metric]:.2f}, people {theirs[metric]:.2f}"
            for component, metric in metrics.items()
            if component != "consistency" and components[component] < EXPOSED_BELOW
        )
        return cls(result, score, resampled ** (1 / len(metrics)), n, components, figures, reasons)


def _share(own: Array, people: Array) -> Array:
    """Return own / people's, 0 to 1; people who have nothing of it (on a resample) are no measure: 1 for any."""
    positive = np.maximum(people, 1e-12)
    return np.clip(own / positive, 0, 1)


def _consistency_metric(results: Sequence[Result]) -> str:
    talking = [result for result in results if "copy_share" in result.tallies]
    for name in _CONSISTENCY:
        if talking and all(name in result.tallies for result in talking):
            return name
    raise ValueError("no measure of consistency was taken of all rows")


def _ordered(rows: Sequence[_Row]) -> list[Reading]:
    def order(row: _Row) -> tuple[bool, bool, float]:
        return bool(row.exposed), row.result.kind != "ceiling", -row.score

    ordered = sorted(rows, key=order)
    competing = [row for row in ordered if not row.exposed and row.result.kind != "ceiling"]
    readings = []
    for row in ordered:
        place = competing.index(row) + 1 if row in competing else None
        equal = place is not None and float(np.quantile(competing[0].resampled - row.resampled, 0.025)) <= 0
        low, high = np.quantile(row.resampled, [0.025, 0.975])
        score = Estimate(row.score, float(low), float(high), row.n)
        readings.append(
            Reading(
                row.result.contender,
                row.result.kind,
                place,
                score,
                row.components,
                row.figures,
                row.exposed,
                equal,
            )
        )
    return readings
