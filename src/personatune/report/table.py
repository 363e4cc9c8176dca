"""The table a run ends with in the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from personatune.report.figures import (
    METRICS,
    MODELS,
    SUMMARY_METRICS,
    duration_text,
    figure_text,
    goal_met_text,
    goal_target_text,
    goal_value_text,
    memory_text,
    money_text,
)

_MET_STYLES = {True: "green", False: "red", None: "yellow"}


def print_summary(console: Console, report: Mapping[str, Any], html: Path | None = None) -> None:
    """Print the three models, the costs of every stage, the goals, and what to do next.

    Args:
        report: what `collect_report` returns (or report.json holds).
        html: where the full report lies; None leaves that line out.
    """
    console.print(_models_table(report))
    for part in ("models.base", "models.sft", "models.ppo", "costs"):
        if part in report["missing"]:
            console.print(Text(f"{part}: not measured: {report['missing'][part]}", style="yellow"))
    if report["costs"]:
        console.print(_costs_table(report["costs"]))
    console.print(_goals_table(report["goals"]))
    if html is not None:
        console.print(Text(f"Report: {html}"), soft_wrap=True)
    if "ppo" in report["models"] or "sft" in report["models"]:
        console.print(Text(f"Chat:   personatune chat --run {shlex.quote(report['run'])}"), soft_wrap=True)


def _models_table(report: Mapping[str, Any]) -> Table:
    table = Table(title="The three models on the same held-out personas (95 % intervals)")
    table.add_column("measure")
    for words in MODELS.values():
        table.add_column(words, justify="right")
    table.add_column("n", justify="right")
    for metric in METRICS:
        if metric.name not in SUMMARY_METRICS:
            continue
        figures = [report["models"].get(model, {}).get(metric.name) for model in MODELS]
        counts = sorted({str(figure["n"]) for figure in figures if figure is not None and figure.get("n") is not None})
        arrow = {"up": " ↑", "down": " ↓", "": ""}[metric.better]
        table.add_row(
            metric.label + arrow, *(figure_text(figure, metric.unit) for figure in figures), "/".join(counts) or "–"
        )
    return table


def _costs_table(costs: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title="What each stage took")
    table.add_column("stage")
    for head in ("time", "peak memory", "cost"):
        table.add_column(head, justify="right")
    for stage, cost in costs.items():
        if stage == "total":
            table.add_section()
        table.add_row(
            Text(stage),
            duration_text(cost["wall_seconds"]),
            memory_text(cost["peak_memory_bytes"]),
            money_text(cost["money"], cost["currency"]),
        )
    return table


def _goals_table(goals: list[Mapping[str, Any]]) -> Table:
    table = Table(title="Goals")
    table.add_column("goal")
    table.add_column("target", justify="right")
    table.add_column("measured")
    table.add_column("")
    for goal in goals:
        measured = goal_value_text(goal)
        if goal["value"] is not None and goal["why"]:
            measured += f"\n{goal['why']}"
        met = Text(goal_met_text(goal), style=_MET_STYLES[goal["met"]])
        table.add_row(Text(goal["name"]), goal_target_text(goal), Text(measured), met)
    return table
