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
    model: Annotated[str, typer.Option(help="Which of its models: sft, ppo, dpo or a variant's name.")] = "ppo",
    form: Annotated[
        Literal["adapter", "merged"], typer.Option("--format", help="A PEFT adapter, or one plain model.")
    ] = "adapter",
    rank: Annotated[int | None, typer.Option(min=1, help="Of the adapter, at most: the nearest update of it.")] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="An evaluation.json of `personatune evaluate`: its tables go into the card.")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="16 bits a weight.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Write a run's model and its card, to be loaded by plain PEFT or transformers."""
    from personatune.pipeline.run import Run

    opened = Run.open(runs, run)
    set_up_libraries()
    from personatune.pipeline.export import export as write

    typer.echo(f"{to}: {write(opened, model, to, form, rank=rank, half=half, evaluation=evaluation)}")
