"""``export``: take a model out of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from personatune.cli.options import RUNS, RunName, Runs, set_up_libraries

app = typer.Typer()


@app.command()
def export(
    to: Annotated[Path, typer.Option(help="The folder to write.")],
    run: RunName = "demo",
    stage: Annotated[Literal["sft", "ppo"], typer.Option(help="Which of its models.")] = "ppo",
    form: Annotated[
        Literal["adapter", "merged"], typer.Option("--format", help="A PEFT adapter, or one plain model.")
    ] = "adapter",
    rank: Annotated[int | None, typer.Option(min=1, help="Of the adapter, at most: the nearest update of it.")] = None,
    half: Annotated[bool, typer.Option("--half", help="16 bits a weight.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Write a run's model and its card, to be loaded by plain PEFT or transformers."""
    from personatune.pipeline.run import Run

    opened = Run.open(runs, run)
    set_up_libraries()
    from personatune.pipeline.export import export as write

    typer.echo(f"{to}: {write(opened, stage, to, form, rank=rank, half=half)}")
