"""The command line: a thin face over the pipeline. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import typer

from personatune.cli import (
    cards,
    chat,
    compare_methods,
    data,
    demo,
    doctor,
    engagement,
    estimate,
    evaluate,
    export,
    judge,
    preferences,
    probes,
    rank,
    recall,
    runs,
    serve,
    stages,
)
from personatune.cli.failures import machine_failure, prepare_streams, quiet_when_unread
from personatune.errors import ToldElsewhereError, UserError
from personatune.launch import launched_processes, process_number

app = typer.Typer(
    help="Train chatbots that stay in character, and prove it with measured numbers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for commands in (stages, compare_methods, estimate, evaluate, chat, demo, serve, export, rank, runs, doctor):
    app.add_typer(commands.app)
app.add_typer(cards.app, name="cards")
app.add_typer(data.app, name="data")
app.add_typer(engagement.app, name="engagement")
app.add_typer(judge.app, name="judge")
app.add_typer(preferences.app, name="preferences")
app.add_typer(probes.app, name="probes")
app.add_typer(recall.app, name="recall")


def main() -> None:
    """Run the command line; a user's mistake, or a machine that gives out, is one line and exit code 2."""
    prepare_streams()
    try:
        with quiet_when_unread():
            _run()
    finally:
        # An interrupt that came inside an exec (as dataclasses are made, in imports) leaves CPython convinced that
        # nobody handled it: the process would end by SIGINT and not with its exit code. Another exec takes that back.
        exec("")


def _run() -> None:
    try:
        if launched_processes() > 1:
            _together()
        app()
    except ToldElsewhereError as error:
        time.sleep(1)  # the launcher ends all as soon as one ends: let the main one tell it first
        sys.exit(error.exit_code)
    except UserError as error:
        who = f"process {process_number()}: " if process_number() else ""
        print(f"personatune: {who}{error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (MemoryError, OSError, RuntimeError) as error:
        told = machine_failure(error)
        if told is None:
            raise
        print(f"personatune: {told}", file=sys.stderr)
        sys.exit(UserError.exit_code)


def _together() -> None:
    """Check that the command is one for several processes; all but the main one fall silent."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    known = {info.name or getattr(info.callback, "__name__", "") for info in stages.app.registered_commands}
    if "inspect" not in sys.argv:  # the stage is a group, for its subcommand
        known.add("preferences")
    if command not in known:
        mistake = ToldElsewhereError if process_number() else UserError
        raise mistake(f"{command or 'help'}: a command for one process; run it without accelerate launch")
    if process_number():
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (until the process ends)
