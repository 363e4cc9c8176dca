"""The chat as it looks in a terminal, driven through a pipe like any shell would."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console

from personatune.chat.session import ChatSession, Stream
from personatune.chat.terminal import chat_in_terminal, terminal_reader
from personatune.dialogue import Context, Persona

PERSONA = Persona(("I have two dogs.", "I am a chef."))


def echo(context: Context) -> Iterator[str]:
    """A model that repeats what it was told, a character at a time."""
    yield from f"You said: {context.history[-1].text}"


def talk(*lines: str, stream: Stream = echo, persona: Persona = PERSONA) -> tuple[str, ChatSession]:
    """Hold a conversation over ``lines`` and return everything printed and the session after it."""
    waiting = iter(lines)

    def read_line(prompt: str) -> str:
        for line in waiting:
            return line
        raise EOFError

    screen = io.StringIO()
    session = ChatSession(persona, stream)
    chat_in_terminal(session, Console(file=screen, force_terminal=False, width=200), read_line)
    return screen.getvalue(), session


def test_the_reply_is_printed_and_the_end_of_input_leaves() -> None:
    printed, session = talk("Good morning")
    assert "bot> You said: Good morning\n" in printed
    assert len(session.history) == 2


def test_quit_leaves_before_the_lines_that_follow() -> None:
    printed, session = talk("/quit", "never said")
    assert "never said" not in printed
    assert session.history == ()


@pytest.mark.parametrize(
    "text", ["[bold red]hi[/]", "[/nonsense]", "[link=http://x.example]y[/link]", ":smile:", r"\[x]"]
)
def test_markup_in_what_a_person_types_or_a_model_writes_stays_text(text: str) -> None:
    assert f"bot> You said: {text}\n" in talk(text)[0]


def test_markup_in_a_persona_stays_text() -> None:
    printed, _ = talk("/persona I am [red]Bob[/red] | [/x]", "/why", persona=Persona(("[bold]A[/bold]",)))
    assert "· [bold]A[/bold]" in printed
    assert "· I am [red]Bob[/red]\n  · [/x]" in printed


def test_control_codes_reach_neither_screen_nor_history() -> None:
    printed, session = talk("\x1b[2Jboo\x07", stream=lambda context: iter(["\x1b[31mre", "d\x1b", "]0;owned\x07"]))
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert session.history[0].text == "boo"


def test_a_reply_of_several_lines_says_nothing_in_anybody_elses_name() -> None:
    printed, _ = talk("Hi", stream=lambda context: iter(["Hm.\n", "you> I agree.\nbot> Good."]))
    assert "bot> Hm.\n     you> I agree.\n     bot> Good.\n" in printed


def test_ctrl_c_in_a_reply_stops_that_reply_only() -> None:
    def interrupted(context: Context) -> Iterator[str]:
        yield "I was about to"
        if context.history[-1].text == "first":
            raise KeyboardInterrupt
        yield " finish."

    printed, session = talk("first", "second", stream=interrupted)
    assert "bot> I was about to (stopped)\n" in printed
    assert "bot> I was about to finish.\n" in printed
    assert [turn.text for turn in session.history] == ["first", "I was about to", "second", "I was about to finish."]


def test_ctrl_c_at_the_prompt_says_how_to_leave() -> None:
    lines: Iterator[str | type[BaseException]] = iter([KeyboardInterrupt, "hello"])

    def read_line(prompt: str) -> str:
        line = next(lines, EOFError)
        if isinstance(line, str):
            return line
        raise line

    screen = io.StringIO()
    chat_in_terminal(ChatSession(PERSONA, echo), Console(file=screen, width=80), read_line)
    assert "/quit or Ctrl-D leaves" in screen.getvalue()
    assert "You said: hello" in screen.getvalue()


def test_a_reply_without_a_word_says_so() -> None:
    assert "no reply" in talk("hello", stream=lambda context: iter(()))[0]


def test_reset_and_a_new_persona_change_what_the_model_is_asked() -> None:
    asked: list[Context] = []

    def stream(context: Context) -> Iterator[str]:
        asked.append(context)
        yield "ok"

    talk("one", "two", "/reset", "three", "/persona I fly planes. | I am old.", "four", stream=stream)
    assert [len(context.history) for context in asked] == [1, 3, 1, 1]
    assert asked[-1].persona.traits == ("I fly planes.", "I am old.")


def test_why_marks_what_was_used() -> None:
    printed, _ = talk("/why", "walk the dogs", "/why")
    assert "no reply yet" in printed
    assert "✓ used         I have two dogs." in printed
    assert "· not touched  I am a chef." in printed


def test_an_unknown_command_names_the_nearest_and_the_chat_goes_on() -> None:
    printed, _ = talk("/rest", "/persona |", "still here")
    assert "/rest: no such command; did you mean '/reset'?" in printed
    assert "persona: found no sentence" in printed
    assert "You said: still here" in printed


def test_help_lists_every_command() -> None:
    printed, _ = talk("/help")
    assert all(command in printed for command in ("/persona", "/reset", "/why", "/help", "/quit"))


def test_a_piped_chat_survives_bytes_that_are_no_text() -> None:
    program = (
        "from rich.console import Console\n"
        "from personatune.chat.session import ChatSession, parse_persona\n"
        "from personatune.chat.terminal import chat_in_terminal, terminal_reader\n"
        "session = ChatSession(parse_persona('I sing.'), lambda context: iter([context.history[-1].text]))\n"
        "chat_in_terminal(session, Console(), terminal_reader())\n"
    )
    piped = subprocess.run(
        [sys.executable, "-c", program],
        input=b"caf\xc3\xa9 \xff\n\nagain\n",
        capture_output=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    printed = piped.stdout.decode("utf-8")
    assert "bot> café \ufffd\n" in printed
    assert "bot> again\n" in printed
    assert piped.stderr == b""


def test_the_reader_hands_over_the_lines_of_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\n\xfftwo\n"), encoding="ascii"))
    read_line = terminal_reader()
    assert [read_line(""), read_line("")] == ["one", "\ufffdtwo"]
    with pytest.raises(EOFError):
        read_line("")
