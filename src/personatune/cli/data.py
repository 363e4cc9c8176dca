"""``data``: look at dialogues before training on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personatune.cli.options import set_up_libraries

app = typer.Typer(help="Look at dialogues before training on them.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``inspect`` a subcommand: typer makes a lone command the whole program."""


@app.command("inspect")
def inspect_data(
    source: Annotated[str, typer.Argument(help="A source's name (chitchat), a file, a folder, or a hub id.")],
    fraction: Annotated[float, typer.Option(min=0.0001, max=1, help="Share of the dialogues to read.")] = 1.0,
    examples: Annotated[int, typer.Option(min=0, help="Dialogues shown token by token.")] = 1,
    model: Annotated[str, typer.Option(help="Whose tokenizer shows the loss mask.")] = "embedded",
    plots: Annotated[Path, typer.Option(help="Folder for the plots.")] = Path("runs/inspect"),
    seed: int = 0,
) -> None:
    """Print statistics and examples of a source with the loss mask token by token, and draw plots."""
    set_up_libraries()
    from personatune.pipeline.inspect import inspect_source

    inspect_source(source, fraction=fraction, examples=examples, model=model, plots=plots, seed=seed)
