"""``doctor``: what this machine has."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def doctor(online: Annotated[bool, typer.Option(help="Also ask whether the hub can be reached.")] = False) -> None:
    """Say what this machine has: versions, cores, memory, and the parts that can be reached."""
    from rich.console import Console

    from personatune.doctor import print_diagnosis

    if not print_diagnosis(Console(), online):
        raise typer.Exit(1)
