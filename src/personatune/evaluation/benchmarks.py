"""Our figures beside published ones, each with its source, and only where metric, unit, dataset and split agree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from personatune.errors import UserError
from personatune.intervals import Estimate
from personatune.storage import read_json

NOT_MEASURED = "not measured"
_REQUIRED = ("system", "metric", "value", "unit", "dataset", "split", "source")


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """One figure of another system as its source prints it."""

    system: str
    metric: str
    value: float
    unit: str
    dataset: str
    split: str
    source: str
    note: str = ""

    @property
    def benchmark(self) -> Benchmark:
        return Benchmark(self.metric, self.unit, self.dataset, self.split)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What must agree before two figures may stand side by side."""

    metric: str
    unit: str
    dataset: str
    split: str


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """One system on one benchmark. ``value`` is None where our model was not measured on it."""

    benchmark: Benchmark
    system: str
    kind: Literal["measured", "published", "not measured"]
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    source: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        """The cell as printed: "61.2 [55.0, 67.1], n = 24", the published value, or "not measured"."""
        if self.value is None:
            return NOT_MEASURED
        if self.low is None:
            return f"{self.value:g}"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}], n = {self.n}"

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self.benchmark),
            **{name: value for name, value in asdict(self).items() if name != "benchmark"},
        }


class BenchmarkEvaluator:
    """Holds the published figures and lays measured ones beside them.

    Args:
        figures: a JSON file like the packaged ``published.json``; default: that one.
    """

    def __init__(self, figures: Path | None = None) -> None:
        table = _packaged() if figures is None else read_json(figures)
        self.published = _figures(table, str(figures or "published.json"))
        self.notes: list[str] = list(table.get("notes", []))

    def benchmarks(self) -> list[Benchmark]:
        """Return every benchmark with a published figure, in the order of the file."""
        return list(dict.fromkeys(figure.benchmark for figure in self.published))

    def compare(
        self,
        models: Mapping[str, Mapping[str, Estimate]],
        measured_on: Mapping[str, Benchmark] | None = None,
    ) -> list[BenchmarkRow]:
        """Return the rows of every published benchmark: our models first, then the published systems.

        Args:
            models: model name to metric name to estimate.
            measured_on: metric name to the benchmark it was measured on, for those that are on one. A metric that
                isn't named here was measured on other data; it never stands beside a published figure.
        """
        places = measured_on or {}
        rows: list[BenchmarkRow] = []
        for benchmark in self.benchmarks():
            names = [name for name, place in places.items() if place == benchmark]
            for model, measured in models.items():
                found = next((measured[name] for name in names if name in measured), None)
                rows.append(_measured_row(benchmark, model, found))
            rows += [_published_row(figure) for figure in self.published if figure.benchmark == benchmark]
        return rows


def _measured_row(benchmark: Benchmark, model: str, figure: Estimate | None) -> BenchmarkRow:
    if figure is None:
        return BenchmarkRow(benchmark, model, "not measured", None)
    return BenchmarkRow(benchmark, model, "measured", figure.value, figure.low, figure.high, figure.n, "this run")


def _published_row(figure: PublishedFigure) -> BenchmarkRow:
    return BenchmarkRow(
        figure.benchmark, figure.system, "published", figure.value, source=figure.source, note=figure.note
    )


def _packaged() -> dict[str, Any]:
    text = resources.files("personatune.evaluation").joinpath("published.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def _figures(table: Any, place: str) -> list[PublishedFigure]:
    if not isinstance(table, dict) or not isinstance(table.get("figures"), list):
        raise UserError(f"{place}: found no list 'figures', expected an object like the packaged published.json")
    figures = []
    for number, row in enumerate(table["figures"], start=1):
        missing = [name for name in _REQUIRED if row.get(name) in (None, "")]
        if missing:
            raise UserError(f"{place}, figure {number}: {missing[0]} is missing; a figure without it is not printed")
        unknown = row.keys() - {*_REQUIRED, "note"}
        if unknown or not isinstance(row["value"], int | float):
            raise UserError(f"{place}, figure {number}: {sorted(unknown) or row['value']!r} is not expected here")
        figures.append(PublishedFigure(**row))
    return figures
