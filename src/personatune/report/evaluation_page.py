"""An evaluation written out: evaluation.json, evaluation.md and evaluation.html, and the tables in the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from personatune.report.build import ReportPaths
from personatune.report.evaluation_tables import evaluation_facts, evaluation_tables
from personatune.report.html import template
from personatune.report.markdown import plain, table_parts
from personatune.report.sections import Table
from personatune.storage import write_json, write_text

_INTERVAL = re.compile(r" \(([\d.\-]+–[\d.\-]+)\)$")
_PIPE_WIDTH = 140  # where no terminal says how wide it is


def wide_console() -> Console:
    """Return a console for the tables: as wide as the terminal, or wide enough where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def write_evaluation(evaluation: Mapping[str, Any], out: Path) -> ReportPaths:
    """Write the three forms into a folder."""
    paths = ReportPaths(out / "evaluation.json", out / "evaluation.md", out / "evaluation.html")
    write_json(paths.json, evaluation)
    write_text(paths.markdown, as_markdown(evaluation))
    write_text(paths.html, as_html(evaluation))
    return paths


def as_markdown(evaluation: Mapping[str, Any]) -> str:
    """Return the evaluation as Markdown; text from data and models is escaped."""
    parts = [
        f"# Evaluation of {plain(', '.join(evaluation['models']))}",
        f"Made {evaluation['created']} with personatune.",
    ]
    for table in evaluation_tables(evaluation):
        parts += table_parts(table)
    parts += ["## Under which this holds", "\n".join(f"- {plain(line)}" for line in evaluation_facts(evaluation))]
    parts.append("\n".join(f"- {plain(note)}" for note in evaluation["notes"]))
    return "\n\n".join(parts) + "\n"


def as_html(evaluation: Mapping[str, Any]) -> str:
    """Return the evaluation as one HTML file that needs nothing else; everything is escaped by the template."""
    return template("evaluation.html.j2").render(
        evaluation=evaluation, tables=evaluation_tables(evaluation), facts=evaluation_facts(evaluation)
    )


def print_evaluation(console: Console, evaluation: Mapping[str, Any], paths: ReportPaths) -> None:
    """Print every table, the settings under which it holds, and where the files are."""
    for table in evaluation_tables(evaluation):
        if table.rows:
            console.print(rich_table(table))
        else:
            console.print(Text(f"{table.title}: not measured: {table.missing}", style="yellow"))
        if table.note:
            console.print(Text(table.note, style="dim"))
        console.print()
    for line in evaluation_facts(evaluation):
        console.print(Text(line, style="dim"))
    console.print(Text(f"Evaluation: {paths.html}, {paths.markdown}, {paths.json}"), soft_wrap=True)


def rich_table(table: Table) -> RichTable:
    """Return a table for the terminal, intervals under their figures."""
    drawn = RichTable(title=Text(table.title), title_justify="left")
    for head in table.head:
        drawn.add_column(Text(head), overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(_INTERVAL.sub(r"\n\1", cell)) for cell in row))
    return drawn
