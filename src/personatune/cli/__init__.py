"""The command line: a thin face over the pipeline. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import sys

import typer

from personatune.cli import chat, data, doctor, engagement, evaluate, judge, probes, rank, stages
from personatune.errors import UserError

app = typer.Typer(
    help="Train chatbots that stay in character, and prove it with measured numbers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for commands in (stages, evaluate, chat, rank, doctor):
    app.add_typer(commands.app)
app.add_typer(data.app, name="data")
app.add_typer(engagement.app, name="engagement")
app.add_typer(judge.app, name="judge")
app.add_typer(probes.app, name="probes")


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"personatune: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
