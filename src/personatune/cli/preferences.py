"""``preferences``: the stage that makes preference pairs, and a look at pairs of any file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personatune.cli.options import RUNS, DespiteMemory, Redo, RunName, Runs
from personatune.cli.stages import run_stage

app = typer.Typer(invoke_without_command=True)


@app.callback()
def preferences(
    context: typer.Context,
    name: RunName = "demo",
    runs: Runs = RUNS,
    redo: Redo = False,
    despite_memory: DespiteMemory = False,
) -> None:
    """Make preference pairs and the prompts for PPO; ``preferences inspect`` shows pairs."""
    if context.invoked_subcommand is None:
        run_stage("preferences", name, runs, redo, despite_memory)


@app.command("inspect")
def inspect_pairs(
    target: Annotated[str, typer.Argument(help="A file of pairs or votes (JSON lines), or a run's name.")],
    runs: Runs = RUNS,
    kind: Annotated[str | None, typer.Option(help="Show examples of this kind only.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="Pairs shown of each kind.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None,
) -> None:
    """Print pairs by kind, how their lengths differ, and examples."""
    from personatune.pipeline.preference_inspection import inspect_preferences

    inspect_preferences(target, runs, kind=kind, examples=examples, json_file=json_file)
