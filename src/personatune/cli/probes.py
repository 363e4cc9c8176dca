"""``probes``: the benchmark of hand-written personas, and questions for personas of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="PersonaProbes: questions that a persona's traits answer.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep the commands subcommands."""


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Persona files; without any the packaged ones.")] = None,
) -> None:
    """Check every rule of the persona files; each finding is one line, exit code 2 if there is any."""
    from personatune.judging.persona_probes.validation import check_files

    personas, findings = check_files(files or None)
    for finding in findings:
        typer.echo(str(finding))
    traits = sum(len(persona.traits) for persona in personas)
    typer.echo(f"{len(personas)} personas with {traits} traits checked: {len(findings) or 'no'} findings")
    if findings:
        raise typer.Exit(2)
