"""A comparison of runs written out: comparison.json, comparison.md, comparison.html, and the tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from personatune.plain_text import markdown_text
from personatune.report.build import ReportPaths
from personatune.report.drawing import Plot
from personatune.report.evaluation_page import rich_table
from personatune.report.html import template
from personatune.report.markdown import table_parts
from personatune.report.sections import Table
from personatune.report.side_by_side import ComparedRun, read_runs, side_by_side
from personatune.report.side_by_side_plots import comparison_plots
from personatune.report.side_by_side_tables import comparison_tables
from personatune.storage import write_json, write_text


def compare_runs(directories: Sequence[Path], out: Path | None = None) -> tuple[dict[str, Any], ReportPaths]:
    """Compare runs with the first one and write the three forms.

    Args:
        out: the folder; by default ``compare-A-B`` beside the first run.

    Raises:
        UserError: fewer than two runs, no such run, a damaged file, or a place that can't be written.
    """
    runs = read_runs(directories)
    comparison = side_by_side(runs)
    if out is None:
        out = directories[0].resolve().parent / f"compare-{'-'.join(run.report['run'] for run in runs)}"[:200]
    return comparison, write_comparison(comparison, runs, out)


def write_comparison(comparison: Mapping[str, Any], runs: Sequence[ComparedRun], out: Path) -> ReportPaths:
    """Write the three forms into a folder."""
    paths = ReportPaths(out / "comparison.json", out / "comparison.md", out / "comparison.html")
    write_json(paths.json, comparison)
    write_text(paths.markdown, as_markdown(comparison))
    write_text(paths.html, as_html(comparison, comparison_plots(runs)))
    return paths


def as_markdown(comparison: Mapping[str, Any]) -> str:
    """Return the comparison as Markdown; text from runs is escaped."""
    parts = [
        f"# Runs {markdown_text(', '.join(comparison['runs']))}",
        f"Made {comparison['created']} with personatune.",
    ]
    if comparison["notes"]:
        parts.append("\n".join(f"- {markdown_text(note)}" for note in comparison["notes"]))
    for table in comparison_tables(comparison):
        parts += _escaped_head(table)
    return "\n\n".join(parts) + "\n"


def as_html(comparison: Mapping[str, Any], plots: Sequence[Plot]) -> str:
    """Return the page; everything but the drawn plots is escaped by the template."""
    return template("side_by_side.html.j2").render(
        comparison=comparison, tables=comparison_tables(comparison), plots=plots
    )


def print_comparison(console: Console, comparison: Mapping[str, Any], paths: ReportPaths) -> None:
    """Print every table, what to know about them, and where the files are."""
    for table in comparison_tables(comparison):
        if table.rows:
            console.print(rich_table(table))
            if table.note:
                console.print(Text(table.note, style="dim"))
        else:
            console.print(Text(f"{table.title}: {table.missing}", style="yellow"))
        console.print()
    for note in comparison["notes"]:
        console.print(Text(note, style="yellow"))
    console.print(Text(f"Comparison: {paths.html}, {paths.markdown}, {paths.json}"), soft_wrap=True)


def _escaped_head(table: Table) -> list[str]:
    """Return a table as Markdown; its head holds names of runs, so it is escaped like its cells."""
    return table_parts(
        Table(table.title, [markdown_text(cell) for cell in table.head], table.rows, table.missing, table.note)
    )
