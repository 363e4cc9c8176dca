"""``runs``: list the runs of a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personatune.cli.options import RUNS, Runs

if TYPE_CHECKING:
    from rich.table import Table

    from personatune.pipeline.run_list import RunSummary

app = typer.Typer()


@app.command("runs")
def list_runs(
    runs: Runs = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a run.")] = False,
) -> None:
    """List runs: stages done, preset, date, consistency of their models, goals met, size on disk."""
    from personatune.pipeline.run_list import list_runs as summarise

    found = summarise(runs)
    if as_json:
        typer.echo(json.dumps([run.to_json() for run in found], indent=2))
        return
    _print(found, runs)


def _print(found: Sequence[RunSummary], runs: Path) -> None:
    from rich.text import Text

    from personatune.report.evaluation_page import wide_console

    console = wide_console()
    if not found:
        console.print(Text(f"{runs}: no runs yet; start one: personatune run"))
        return
    console.print(_table(found))
    for run in found:
        for problem in run.problems:
            console.print(Text(f"{run.name}: {problem}", style="yellow"))


def _table(found: Sequence[RunSummary]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from personatune.pipeline.run import STAGES
    from personatune.pipeline.run_list import HEADLINES
    from personatune.report.figures import size_text, value_text

    table = Table()
    table.add_column("run", overflow="fold")
    for head in ("done", "preset", "date", "consistency", "goals met"):
        table.add_column(head)
    table.add_column("size", justify="right")
    for run in found:
        done = [stage for stage in STAGES if stage in run.done]
        stages = "all stages" if len(done) == len(STAGES) else ", ".join(done) or "nothing yet"
        variants = [name for name in run.done if name not in STAGES]
        preset = "?" if run.preset is None else run.preset + (f", {run.changed} changed" if run.changed else "")
        figures = [
            f"{words} {value_text(run.consistency[model], 'share')}"
            for model, (_, words) in HEADLINES.items()
            if model in run.consistency
        ]
        table.add_row(
            Text(run.name, style="yellow" if run.problems else ""),
            Text(" + ".join([stages, *variants])),
            preset,
            Text((run.date or "–")[:16].replace("T", " ")),
            "\n".join(figures) or "–",
            "–" if run.goals is None else f"{run.goals_met} of {run.goals}",
            size_text(run.bytes),
        )
    return table
