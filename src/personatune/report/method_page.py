"""The comparison of methods written out: a table in the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from personatune.report.evaluation_page import rich_table
from personatune.report.evaluation_tables import encoder_text, judge_text
from personatune.report.figure_labels import label_of
from personatune.report.figures import APART, difference_text, duration_text, figure_text
from personatune.report.markdown import plain, table_parts
from personatune.report.sections import Table
from personatune.storage import write_text

_QUALITY = ("distinct_2", "reply_words", "relevance", "engagement", "copy_share", "repetition", "perplexity_token")
_CONSISTENCY = ("probe_consistency", "contradiction_rate", "contradicting_lines", "prompt_to_line")


def method_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """Return consistency against seconds, what it may have been bought with, and the differences of all pairs."""
    methods = comparison["methods"]
    consistency = [
        [
            row["method"],
            duration_text(row["training_seconds"]),
            duration_text(row["reward_model_seconds"]) if row["reward_model_seconds"] else "–",
            f"{row['seconds_per_reply']:.2f} s",
            f"{row['tokens_per_reply']:.0f}",
            *_cells(row, _CONSISTENCY),
        ]
        for row in methods
    ]
    quality = [[row["method"], *_cells(row, _QUALITY)] for row in methods]
    head = ["method", "training", "reward model", "a reply", "tokens a reply"]
    budget = f"each method may train {duration_text(comparison['seconds'])}, the reward model's training included"
    return [
        Table("Consistency against seconds", [*head, *_heads(_CONSISTENCY)], consistency, None, budget),
        Table("What it may have been bought with", ["method", *_heads(_QUALITY)], quality, None, None),
        *(_differences(comparison, measure) for measure in _CONSISTENCY[:2] if comparison["differences"]),
    ]


def _differences(comparison: Mapping[str, Any], measure: str) -> Table:
    """Return a row for each method but the first, a column for each that stands before one: row less column."""
    names = [row["method"] for row in comparison["methods"]]
    found = {(row["method"], row["other"]): row["metrics"][measure] for row in comparison["differences"]}
    rows = [
        [
            name,
            *(difference_text(found[name, other], "share") if (name, other) in found else "" for other in names[:-1]),
        ]
        for name in names[1:]
    ]
    head = ["row less column", *names[:-1]]
    note = f"percentage points, paired by dialogue;{APART} leaves out 0 (one in twenty does so by chance)"
    return Table(f"Differences: {label_of(measure).text}", head, rows, None, note)


def method_facts(comparison: Mapping[str, Any]) -> list[str]:
    """Return the lines that stand under the tables: they belong to the figures."""
    stopped = [f"{row['method']}: {reason}" for row in comparison["methods"] for reason in row["stopped"]]
    lines = [
        f"seeds: {comparison['seeds']} of each method that draws; SFT answers the same every time",
        comparison["intervals"],
        *stopped,
        judge_text(comparison["judges"]),
        encoder_text(comparison["judges"]),
    ]
    if any(row["method"] == "critic" for row in comparison["methods"]):
        lines.append(
            "critic: its replies are picked by the shipped critic; where that is the judge too, contradicting lines "
            "and prompt to line say how well it picks, not how consistent it is: go by the probes"
        )
    return lines


def print_methods(console: Console, comparison: Mapping[str, Any], place: Path) -> None:
    """Print the tables, what belongs to them, and where the file is."""
    for table in method_tables(comparison):
        console.print(rich_table(table))
        if table.note:
            console.print(Text(table.note, style="dim"))
        console.print()
    for line in method_facts(comparison):
        console.print(Text(line, style="dim"))
    console.print(Text(f"Comparison: {place}"), soft_wrap=True)


def write_methods(comparison: Mapping[str, Any], target: Path) -> None:
    """Write the same as Markdown."""
    parts = [f"# Methods from one SFT checkpoint, run {plain(comparison['run'])}"]
    for table in method_tables(comparison):
        parts += table_parts(table)
    parts += ["## Under which this holds", "\n".join(f"- {plain(line)}" for line in method_facts(comparison))]
    write_text(target, "\n\n".join(parts) + "\n")


def _cells(row: Mapping[str, Any], metrics: tuple[str, ...]) -> list[str]:
    return [figure_text(row["metrics"].get(metric), label_of(metric).unit) for metric in metrics]


def _heads(metrics: tuple[str, ...]) -> list[str]:
    return [label_of(metric).head for metric in metrics]
