"""Tables of what becomes of figures as a dialogue goes on: questions turn by turn, self-chats half by half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personatune.evaluation.drift_figures import DRIFT, FIRST_HALF, KEYWORD_MEASURES, SECOND_HALF
from personatune.evaluation.judged import MEASURES
from personatune.evaluation.qa_figures import QA
from personatune.report.figure_labels import label_of
from personatune.report.figures import figure_text
from personatune.report.sections import Table
from personatune.words import digits_value

_KINDS = {"floor": " (floor)", "ceiling": " (ceiling)", "replies": " (replies made elsewhere)", "model": ""}
_BY_ROUND = ("prompt_to_line", "trait_coverage", "repetition")


def row_name(row: Mapping[str, Any]) -> str:
    """Return a contender as printed, with what it is where it is no model."""
    return str(row["contender"]) + _KINDS[row["kind"]]


def questions_by_turn(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return every figure of the questions after each turn, one row a contender and figure."""
    return _numbered(f"{title}: by turn", "after turn", rows, QA)


def drift_tables(title: str, rows: Sequence[Mapping[str, Any]], note: str) -> list[Table]:
    """Return judged and keyword measures by half with their change, and some of them round by round."""
    return [
        _halves(f"{title}: as the judge sees it", rows, MEASURES, note),
        _halves(f"{title}: by keywords", rows, KEYWORD_MEASURES, note),
        _numbered(f"{title}: by round", "round", rows, _BY_ROUND),
    ]


def _halves(title: str, rows: Sequence[Mapping[str, Any]], measures: Sequence[str], note: str) -> Table:
    found = []
    for measure in measures:
        label = label_of(measure)
        for row in rows:
            parts = [row["metrics"].get(measure + suffix) for suffix in (FIRST_HALF, SECOND_HALF, DRIFT)]
            if parts[-1] is None:
                continue
            change = parts[-1]
            moved = "" if change["low"] <= 0 <= change["high"] else "up" if change["value"] > 0 else "down"
            cells = [figure_text(part, label.unit) for part in parts]
            found.append((label.head, row_name(row), *cells, moved, str(change["n"])))
    head = ("figure", "contender", "first half", "second half", "drift", "moved", "n")
    told = "Drift is second minus first half, paired by chat; moved: its interval is without 0."
    return Table(title, head, found, None if found else note, f"{told} {note}".strip() if found else None)


def _numbered(title: str, column: str, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> Table:
    """Return figures named ``…_k`` in columns by k."""
    numbers = sorted(
        {number for row in rows for metric in metrics for number in _numbers(row["metrics"], metric)}
    )  # fmt: skip
    found = []
    for metric in metrics:
        label = label_of(metric)
        for row in rows:
            figures = _numbers(row["metrics"], metric)
            if figures:
                cells = [figure_text(figures.get(number), label.unit) for number in numbers]
                found.append((label.head, row_name(row), *cells))
    head = ("figure", "contender", *(f"{column} {number}" for number in numbers))
    return Table(title, head, found, None if found else "nobody was measured")


def _numbers(metrics: Mapping[str, Any], metric: str) -> dict[int, Mapping[str, Any]]:
    found = {name.removeprefix(f"{metric}_"): figure for name, figure in metrics.items() if name.startswith(metric)}
    return {number: figure for name, figure in found.items() if (number := digits_value(name)) is not None}
