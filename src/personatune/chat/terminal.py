"""The chat in a terminal: streamed replies and a handful of commands.

Nothing a person types and nothing a model writes is ever read as markup or sent to the terminal as a control code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

from rich.console import Console
from rich.text import Text

from personatune.cards.macros import DEFAULT_USER
from personatune.chat.session import ChatSession, plain_text, read_persona
from personatune.errors import UserError, did_you_mean

ReadLine = Callable[[str], str]
"""Shows a prompt and returns one line; raises EOFError at the end (Ctrl-D), as `input` does."""

COMMANDS = {
    "/persona": "show the persona; with sentences (I have two dogs. | I am a chef.) or a card.png take another",
    "/greeting": "begin anew with the next greeting of a character card, or with the one of a number",
    "/reset": "forget the conversation",
    "/why": "which persona sentences the last reply used or contradicts",
    "/help": "this list",
    "/quit": "leave (so does Ctrl-D; Ctrl-C only stops a reply)",
}


def terminal_reader() -> ReadLine:
    """Return `input` with line editing where there is a keyboard; bytes that are no UTF-8 become question marks."""
    if sys.stdin.isatty():
        with suppress(ImportError):  # not part of Python on Windows; plain lines work without it
            import readline  # noqa: F401  (importing it gives `input` arrow keys and a history)
    reconfigure = getattr(sys.stdin, "reconfigure", None)  # a replaced stdin may not have it
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="replace")
    return input


def chat_in_terminal(session: ChatSession, console: Console, read_line: ReadLine, user: str = DEFAULT_USER) -> None:
    """Talk until /quit or the end of input.

    Args:
        user: what a character card calls the person, if one is taken on the way.
    """
    _show_persona(session, console)
    console.print("Type to talk, /help for the commands, Ctrl-D to leave.", style="dim", markup=False)
    _show_greeting(session, console)
    while True:
        try:
            line = plain_text(read_line("you> ")).strip()
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:
            console.print("\n(/quit or Ctrl-D leaves)", style="dim", markup=False)
            continue
        if not line:
            continue
        if line == "/quit":
            return
        try:
            if line.startswith("/"):
                _obey(line, session, console, user)
            else:
                _reply(line, session, console)
        except UserError as error:
            console.print(Text(str(error), style="red"))


def _reply(line: str, session: ChatSession, console: Console) -> None:
    """Print the reply as it comes; Ctrl-C stops it and nothing else."""
    console.print(Text("bot> ", style="bold"), end="")
    reply = session.say(line)
    shown = False
    try:
        for piece in reply:
            visible = plain_text(piece)
            if not shown:
                visible = visible.lstrip()
            shown = shown or bool(visible)
            console.out(_indented(visible), end="", highlight=False)
    except KeyboardInterrupt:
        console.out(" (stopped)", end="", style="dim", highlight=False)
    else:
        if not shown:
            console.out("(no reply: the model ended at once; say it another way)", end="", style="dim", highlight=False)
    finally:
        reply.close()
        console.out("")


def _obey(line: str, session: ChatSession, console: Console, user: str) -> None:
    command, _, rest = line.partition(" ")
    if command == "/persona":
        if rest.strip():
            session.change_persona(read_persona(rest, user))
        _show_persona(session, console)
        if rest.strip():
            _show_greeting(session, console)
    elif command == "/greeting":
        _greet_otherwise(rest.strip(), session, console)
    elif command == "/reset":
        session.reset()
        console.print("The conversation is forgotten.", style="dim")
        _show_greeting(session, console)
    elif command == "/why":
        _show_why(session, console)
    elif command == "/help":
        for name, purpose in COMMANDS.items():
            console.print(Text.assemble((f"{name:<10}", "bold"), purpose))
    else:
        raise UserError(f"{command}: no such command{did_you_mean(command, COMMANDS)} (/help lists them)")


def _show_persona(session: ChatSession, console: Console) -> None:
    console.print(Text("persona", style="bold"))
    for trait in session.persona.traits:
        console.print(Text(f"  · {plain_text(trait)}"))


def _show_greeting(session: ChatSession, console: Console) -> None:
    if session.greeting is not None:
        console.print(Text.assemble(("bot> ", "bold"), _indented(plain_text(session.greeting))))


def _indented(text: str) -> str:
    """Return a text whose further lines can't be taken for what somebody else said ("you> …")."""
    return text.replace("\n", "\n     ")


def _greet_otherwise(number: str, session: ChatSession, console: Console) -> None:
    """Begin anew with the greeting of a number, or the next one after the last."""
    greetings = session.character.greetings if session.character is not None else ()
    if number and not number.isdecimal():
        raise UserError(f"/greeting {number}: expected a number from 1 to {len(greetings)}, or none for the next one")
    current = greetings.index(session.greeting) if session.greeting in greetings else -1
    session.greet(int(number) if number else (current + 1) % max(1, len(greetings)) + 1)
    _show_greeting(session, console)


def _show_why(session: ChatSession, console: Console) -> None:
    why = session.why()
    for trait in why.persona.traits:
        if trait in why.contradicted:
            mark, style, word = "✗", "red", "contradicted"
        elif trait in why.used:
            mark, style, word = "✓", "green", "used"
        else:
            mark, style, word = "·", "dim", "not touched"
        console.print(Text.assemble((f"  {mark} {word:<13}", style), plain_text(trait)))
    console.print("(by keywords: a trait told in other words goes unseen)", style="dim", markup=False)
