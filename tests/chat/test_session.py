"""A chat session: what it remembers, what it forgets, and what it makes of typed text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personatune.chat.session import ChatSession, Stream, parse_persona, plain_text
from personatune.dialogue import Context, Persona, Turn
from personatune.errors import UserError

PERSONA = Persona(("I have two dogs.", "I am a chef.", "I live in Berlin."))


def scripted(*replies: str) -> tuple[Stream, list[Context]]:
    """A model that says ``replies`` in order, word by word, and keeps the contexts it was asked."""
    contexts: list[Context] = []

    def stream(context: Context) -> Iterator[str]:
        contexts.append(context)
        for number, word in enumerate(replies[len(contexts) - 1].split()):
            yield word if number == 0 else f" {word}"

    return stream, contexts


def test_a_reply_streams_and_both_turns_are_remembered() -> None:
    stream, contexts = scripted("My dogs wake me.", "I cook.")
    session = ChatSession(PERSONA, stream)
    assert list(session.say("  Morning! ")) == ["My", " dogs", " wake", " me."]
    assert session.history == (Turn("partner", "Morning!"), Turn("self", "My dogs wake me."))
    list(session.say("And your job?"))
    assert contexts[1] == Context(PERSONA, (*session.history[:2], Turn("partner", "And your job?")))


def test_a_reply_stopped_half_way_is_remembered_as_far_as_it_was_seen() -> None:
    stream, _ = scripted("one two three four")
    session = ChatSession(PERSONA, stream)
    reply = session.say("Count!")
    assert [next(reply), next(reply)] == ["one", " two"]
    reply.close()
    assert session.history == (Turn("partner", "Count!"), Turn("self", "one two"))


@pytest.mark.parametrize("pieces", [[], ["", "  "]])
def test_without_a_visible_piece_nothing_is_remembered(pieces: list[str]) -> None:
    session = ChatSession(PERSONA, lambda context: iter(pieces))
    list(session.say("Hello?"))
    assert session.history == ()


def test_an_error_before_the_first_piece_leaves_the_conversation_as_it_was() -> None:
    def broken(context: Context) -> Iterator[str]:
        raise RuntimeError("out of memory")
        yield ""

    session = ChatSession(PERSONA, broken)
    with pytest.raises(RuntimeError):
        list(session.say("Hello?"))
    assert session.history == ()


def test_reset_forgets_the_conversation_and_keeps_the_persona() -> None:
    session = ChatSession(PERSONA, scripted("Hi.")[0])
    list(session.say("Hi"))
    session.reset()
    assert (session.history, session.persona) == ((), PERSONA)


def test_another_persona_begins_anew() -> None:
    session = ChatSession(PERSONA, scripted("Hi.")[0])
    list(session.say("Hi"))
    session.change_persona(Persona(("I fly planes.",)))
    assert (session.history, session.persona.traits) == ((), ("I fly planes.",))


def test_an_exchange_is_taken_back_with_all_that_came_after() -> None:
    stream, contexts = scripted("One.", "Two.", "Three.", "Other two.")
    session = ChatSession(PERSONA, stream)
    for said in ("a", "b", "c"):
        list(session.say(said))
    assert session.rewind(1) == "b"
    assert session.history == (Turn("partner", "a"), Turn("self", "One."))
    list(session.say("b"))
    assert contexts[3] == contexts[1]
    assert [(one.said, one.reply) for one in session.exchanges] == [("a", "One."), ("b", "Other two.")]


def test_the_last_exchange_is_taken_back_by_default_and_then_none_is_left() -> None:
    session = ChatSession(PERSONA, scripted("One.")[0])
    list(session.say("a"))
    assert session.rewind() == "a"
    with pytest.raises(UserError, match="nothing to take back"):
        session.rewind()
    with pytest.raises(UserError, match="nothing to take back"):
        session.rewind(0)


def test_a_reply_made_elsewhere_is_gone_on_from() -> None:
    stream, contexts = scripted("Two.")
    session = ChatSession(PERSONA, stream)
    session.record(session.context(" a "), "One.")
    list(session.say("b"))
    assert [turn.text for turn in contexts[0].history] == ["a", "One.", "b"]


def test_blank_words_are_refused() -> None:
    session = ChatSession(PERSONA, scripted("Hi.")[0])
    with pytest.raises(UserError, match="nothing said"):
        list(session.say(" \x1b[31m "))


def test_why_names_the_sentences_the_last_reply_used() -> None:
    session = ChatSession(PERSONA, scripted("Hello.", "I work as a chef and walk my dogs.")[0])
    with pytest.raises(UserError, match="no reply yet"):
        session.why()
    list(session.say("Hi"))
    assert session.why().used == ()
    list(session.say("What do you do?"))
    why = session.why()
    assert why.reply == "I work as a chef and walk my dogs."
    assert why.used == ("I have two dogs.", "I am a chef.")
    assert why.contradicted == ()


def test_why_names_the_sentences_the_last_reply_contradicts() -> None:
    session = ChatSession(PERSONA, scripted("I don't have any dogs.")[0])
    list(session.say("Pets?"))
    assert session.why().contradicted == ("I have two dogs.",)


def test_a_persona_is_read_as_people_type_it() -> None:
    typed = " I have two dogs. |I am  a chef.\n| | I\tlove tea"
    assert parse_persona(typed).traits == ("I have two dogs.", "I am a chef.", "I love tea")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no sentence"),
        (" | \n |", "no sentence"),
        ("|".join(["I sing."] * 21), "found 21 sentences, expected at most 20"),
        ("I sing. | " + "a" * 201, "sentence 2 .*201 characters, expected at most 200"),
    ],
)
def test_an_impossible_persona_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_persona(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07hi", "hi"),
        ("a\x00b\x07c\x9bd\x7f", "abcd"),
        ("abc\u202edcba", "abcdcba"),
        ("👩‍🍳 naïve\tend\n", "👩‍🍳 naïve end\n"),
        ("bad \udcff byte", "bad ? byte"),
    ],
)
def test_nothing_that_steers_a_terminal_survives(text: str, plain: str) -> None:
    assert plain_text(text) == plain


@given(st.text())
def test_plain_text_is_always_printable_and_stable(text: str) -> None:
    plain = plain_text(text)
    assert plain_text(plain) == plain
    assert "\x1b" not in plain
    assert "\r" not in plain
    plain.encode("utf-8")
