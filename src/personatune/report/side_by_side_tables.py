"""A comparison of runs as tables of text, the same for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personatune.report.figures import (
    APART,
    METRICS,
    MODELS,
    difference_text,
    duration_text,
    figure_text,
    goal_met_text,
    memory_text,
    money_text,
)
from personatune.report.sections import Table

_METRICS = {metric.name: metric for metric in METRICS}


def comparison_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """Return every table, in the order they are read."""
    return [
        settings_table(comparison),
        goals_table(comparison),
        *(figures_table(comparison, model) for model in MODELS),
        costs_table(comparison),
    ]


def settings_table(comparison: Mapping[str, Any]) -> Table:
    rows = [
        (name, *("–" if value is None else str(value) for value in values))
        for name, values in comparison["settings"].items()
    ]
    title, head = "Settings that differ", ("setting", *comparison["runs"])
    return Table(title, head, rows, None if rows else "the settings are the same")


def goals_table(comparison: Mapping[str, Any]) -> Table:
    rows = [
        (row["name"], *("–" if goal is None else goal_met_text(goal) for goal in row["goals"]))
        for row in comparison["goals"]
    ]
    return Table("Goals", ("goal", *comparison["runs"]), rows)


def figures_table(comparison: Mapping[str, Any], model: str) -> Table:
    """One model's figures, and the difference of every later run to the first."""
    first, *others = comparison["runs"]
    rows = []
    paired = False
    for row in comparison["figures"]:
        if row["model"] == model:
            metric = _METRICS[row["metric"]]
            arrow = {"up": " ↑", "down": " ↓", "": ""}[metric.better]
            values = [figure_text(value, metric.unit) for value in row["values"]]
            differences = [difference_text(found, metric.unit) for found in row["differences"]]
            paired = paired or any(found is not None and found["paired"] for found in row["differences"])
            rows.append((metric.label + arrow, *values, *differences))
    title = "The untouched model" if model == "base" else f"The model {MODELS[model]}"
    if not rows:
        return Table(title, missing="none of the runs has judged it")
    head = ("measure", *comparison["runs"], *(f"{other} − {first}" for other in others))
    note = "In brackets 95 % intervals; a difference of shares is in percentage points. "
    note += (
        f"A difference with an interval is paired over the probe dialogues that both runs held;{APART} leaves out 0 "
        "(one row in twenty does so by chance). One without is the difference of two figures, not paired."
        if paired
        else "No difference is paired."
    )
    return Table(title, head, rows, note=note)


def costs_table(comparison: Mapping[str, Any]) -> Table:
    rows = [(stage, *map(_cost_text, costs)) for stage, costs in comparison["costs"].items() if any(costs)]
    missing = None if rows else "none of the runs has a ledger costs.jsonl"
    return Table("What each stage took", ("stage", *comparison["runs"]), rows, missing)


def _cost_text(cost: Mapping[str, Any] | None) -> str:
    if cost is None:
        return "–"
    money = money_text(cost["money"], cost["currency"])
    return f"{duration_text(cost['wall_seconds'])}, {memory_text(cost['peak_memory_bytes'])}, {money}"
