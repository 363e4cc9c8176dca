"""A chat of the demo: streamed, stopped, retried, edited, taken back and rated; two tabs never mix."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from personatune.data.preference_files import read_preference_file
from personatune.demo.ballots import Ballots
from personatune.demo.chat import MAX_LINE_CHARACTERS, Chat
from personatune.demo.reading import Reader
from personatune.demo.shelf import Shelf
from personatune.dialogue import Context, Persona
from personatune.errors import UserError

if TYPE_CHECKING:
    from tests.demo.conftest import ScriptedShelf

PERSONA = Persona(("I have two dogs.", "I am a chef."))


@pytest.fixture
def chat(shelf: ScriptedShelf, ballots: Ballots, reader: Reader) -> Chat:
    return Chat(shelf, ballots, reader, PERSONA, seed=1)


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def replies(chat: Chat) -> list[str]:
    return [exchange.reply for exchange in chat.session.exchanges]


def test_a_reply_grows_word_by_word(chat: Chat) -> None:
    shown = list(chat.say("Any pets?"))
    assert shown[:2] == ["I", "I walk"]
    assert shown[-1] == "I walk my two dogs every day."
    assert (replies(chat), str(chat.voices[0])) == ([shown[-1]], "dogs")


def test_a_stopped_reply_is_kept_as_far_as_it_came(chat: Chat) -> None:
    reply = chat.say("Any pets?")
    next(reply)
    next(reply)
    chat.stop()
    assert list(reply) == []
    assert replies(chat) == ["I walk"]
    assert not chat.busy


def test_a_reader_that_goes_away_ends_the_reply(chat: Chat, shelf: ScriptedShelf) -> None:
    reply = chat.say("Any pets?")
    next(reply)
    reply.close()
    assert (shelf.given, replies(chat), chat.busy) == (1, ["I"], False)


def test_nothing_changes_under_a_reply_that_is_being_written(chat: Chat) -> None:
    list(chat.say("Hi"))
    reply = chat.say("Any pets?")
    next(reply)
    for act in (
        lambda: next(chat.say("Again")), lambda: next(chat.retry()), lambda: next(chat.edit(0, "x")), chat.rewind,
        lambda: chat.change_persona(PERSONA),
    ):  # fmt: skip
        with pytest.raises(UserError, match="a reply is being written"):
            act()
    list(reply)
    assert len(replies(chat)) == 2


def test_retry_draws_anew_and_edit_asks_otherwise(chat: Chat, shelf: ScriptedShelf) -> None:
    list(chat.say("Any pets?"))
    list(chat.say("And your job?"))
    list(chat.retry(0))
    assert replies(chat) == ["I walk my two dogs every day."]
    assert shelf.asked[2][1] == shelf.asked[0][1]
    assert len({seed for _, _, seed, _ in shelf.asked}) == 3
    list(chat.edit(0, "Any cats?"))
    assert replies(chat) == ["I have three cats at home."]
    assert chat.rewind() == "Any cats?"
    assert (replies(chat), chat.voices) == ([], [])


@pytest.mark.parametrize("text", ["silent, please", "", "x" * (MAX_LINE_CHARACTERS + 1)])
def test_an_edit_that_brings_no_reply_leaves_all_as_it_was(chat: Chat, text: str) -> None:
    list(chat.say("Any pets?"))
    list(chat.say("And your job?"))
    before = (chat.session.exchanges, chat.voices)
    with pytest.raises(UserError, match=r"no reply|nothing said|at most 1,000"):
        list(chat.edit(0, text))
    assert (chat.session.exchanges, chat.voices) == before


def test_there_is_nothing_to_retry_take_back_or_rate_before_a_reply(chat: Chat) -> None:
    for act in (lambda: list(chat.retry()), chat.rewind, lambda: chat.rate(0, True)):
        with pytest.raises(UserError, match="no reply there yet"):
            act()


def test_a_disliked_and_a_liked_reply_to_the_same_words_make_a_pair(chat: Chat, ballots: Ballots) -> None:
    list(chat.say("Any cats?"))
    assert "Retry" in chat.rate(0, False)
    assert not ballots.file.exists()
    chat.model = "echo"
    list(chat.retry())
    assert "1 preference pair" in chat.rate(0, True)
    [pair] = read_preference_file(ballots.file)
    assert (pair.kind, pair.chosen, pair.rejected) == ("vote", "You said: Any cats?", "I have three cats at home.")
    assert pair.context == chat.session.exchanges[0].context
    assert pair.origin == "web demo, liked and disliked | echo > dogs"
    assert [row["liked"] for row in rows(ballots.ratings_file)] == [False, True]
    assert chat.ratings() == [True]


def test_a_changed_mind_takes_back_what_it_wrote(chat: Chat, ballots: Ballots) -> None:
    list(chat.say("Any cats?"))
    chat.rate(0, False)
    chat.model = "echo"
    list(chat.retry())
    chat.rate(0, True)
    chat.rate(0, False)
    assert rows(ballots.file) == []
    assert [row["liked"] for row in rows(ballots.ratings_file)] == [False, False]
    assert chat.rate(0, None) == "Taken back."
    assert (len(rows(ballots.ratings_file)), chat.ratings()) == (1, [None])


def test_others_votes_in_the_file_stay(chat: Chat, ballots: Ballots, shelf: ScriptedShelf, reader: Reader) -> None:
    other = Chat(shelf, ballots, reader, PERSONA, seed=2)
    for one in (chat, other):
        list(one.say("Any cats?"))
        one.rate(0, False)
        one.model = "echo"
        list(one.retry())
        one.rate(0, True)
    chat.rate(0, None)
    assert len(rows(ballots.file)) == 1


def test_what_can_not_be_saved_is_told(chat: Chat, ballots: Ballots) -> None:
    list(chat.say("Hi"))
    ballots.file.parent.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(UserError, match=r"ratings\.jsonl: can't be written"):
        chat.rate(0, True)
    assert chat.ratings() == [None]


def test_replies_of_two_tabs_interleave_and_do_not_mix(tiny_shelf: Shelf, ballots: Ballots, reader: Reader) -> None:
    """The same words in both tabs: written in turns, token by token, they come out as written alone."""

    def tab() -> Chat:
        return Chat(tiny_shelf, ballots, reader, PERSONA, seed=5)

    alone = tab()
    lines = ("Hi there!", "What do you do?")
    expected = [list(alone.say(line)) for line in lines]
    one, other = tab(), tab()
    found: dict[int, list[str]] = {0: [], 1: []}
    for place, line in enumerate(lines):
        going: dict[int, Iterator[str]] = {0: one.say(line), 1: other.say(line)}
        shown: dict[int, list[str]] = {0: [], 1: []}
        while going:
            for number, reply in list(going.items()):
                piece = next(reply, None)
                if piece is None:
                    del going[number]
                else:
                    shown[number].append(piece)
        assert shown[0] == shown[1] == expected[place]
        found[0] += shown[0]
    assert one.session.exchanges == alone.session.exchanges == other.session.exchanges


def test_a_model_that_is_not_there_is_named(tiny_shelf: Shelf) -> None:
    context = Context(PERSONA, ())
    with pytest.raises(UserError, match=r"no model '\.\./x' here; there are one, other"):
        next(tiny_shelf.stream("../x", context, seed=0))
    with pytest.raises(UserError, match="re-ranking needs the critic"):
        next(tiny_shelf.stream("one", context, seed=0, rerank=True))
