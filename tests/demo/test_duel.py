"""Side by side: blind until the vote, one pair a vote, and the chat goes on from the better reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from personatune.data.preference_files import read_preference_file
from personatune.demo.ballots import Ballots
from personatune.demo.duel import Duel
from personatune.demo.page import Page
from personatune.demo.reading import Reader
from personatune.demo.shelf import Shelf
from personatune.dialogue import Persona
from personatune.errors import UserError

if TYPE_CHECKING:
    from tests.demo.conftest import ScriptedShelf

PERSONA = Persona(("I have two dogs.",))
DOGS, ECHO = "I walk my two dogs every day.", "You said: Hi"


def duel_of(shelf: Shelf, ballots: Ballots, reader: Reader, seed: int = 1) -> Duel:
    return Duel(shelf, ballots, reader, PERSONA, seed=seed)


@pytest.fixture
def duel(shelf: ScriptedShelf, ballots: Ballots, reader: Reader) -> Duel:
    return duel_of(shelf, ballots, reader)


def side_of(duel: Duel, reply: str) -> int:
    assert duel.round is not None
    return duel.round.replies.index(reply)


def test_both_replies_grow_in_turns_to_the_same_context(duel: Duel, shelf: ScriptedShelf) -> None:
    shown = list(duel.say("Hi"))
    assert [tuple(map(bool, both)) for both in shown[:2]] == [(True, False), (True, True)]
    assert sorted(shown[-1]) == sorted((DOGS, ECHO))
    assert shelf.asked[0][1] == shelf.asked[1][1]
    assert duel.round is not None
    assert duel.round.complete


def test_a_vote_saves_one_pair_tells_who_was_who_and_goes_on_from_the_winner(duel: Duel, ballots: Ballots) -> None:
    list(duel.say("Hi"))
    better = side_of(duel, ECHO)
    verdict = duel.vote("AB"[better])  # type: ignore[arg-type]
    names = ("echo", "dogs") if better == 0 else ("dogs", "echo")
    who, going_on = f"A was {names[0]}, B was {names[1]}.", f"The chat goes on from {'AB'[better]}."
    assert verdict.told == f"{who} Saved as a preference pair. {going_on}"
    [pair] = read_preference_file(ballots.file)
    assert (pair.chosen, pair.rejected, pair.kind) == (ECHO, DOGS, "vote")
    assert pair.origin == "web demo, side by side | echo > dogs"
    assert [one.reply for one in duel.session.exchanges] == [ECHO]
    list(duel.say("Hi"))
    assert duel.round is not None
    assert [turn.text for turn in duel.round.context.history] == ["Hi", ECHO, "Hi"]


def test_sides_are_drawn_anew_each_time(shelf: ScriptedShelf, ballots: Ballots, reader: Reader) -> None:
    duel = duel_of(shelf, ballots, reader)
    places = []
    for _ in range(12):
        list(duel.say("Hi"))
        places.append(side_of(duel, ECHO))
        duel.vote("tie")
    assert {0, 1} == set(places)


def test_a_tie_goes_on_without_a_pair_and_neither_gives_the_words_back(duel: Duel, ballots: Ballots) -> None:
    list(duel.say("Hi"))
    assert "no pair" in duel.vote("tie").told
    list(duel.say("And now?"))
    verdict = duel.vote("neither")
    assert (verdict.said, len(duel.session.exchanges)) == ("And now?", 1)
    assert not ballots.file.exists()


def test_the_same_words_on_both_sides_make_no_pair(shelf: ScriptedShelf, ballots: Ballots, reader: Reader) -> None:
    same = type(shelf)({"a": lambda context, seed: "Hello.", "b": lambda context, seed: "Hello."})
    duel = duel_of(same, ballots, reader)
    list(duel.say("Hi"))
    assert "Same words on both sides" in duel.vote("A").told
    assert not ballots.file.exists()


def test_a_vote_without_a_reply_is_a_message(duel: Duel, ballots: Ballots) -> None:
    with pytest.raises(UserError, match="nothing to vote on yet"):
        duel.vote("A")
    replies = duel.say("Hi")
    next(replies)
    with pytest.raises(UserError, match="still being written"):
        duel.vote("A")
    assert not ballots.file.exists()


def test_the_next_words_wait_for_the_vote(duel: Duel) -> None:
    list(duel.say("Hi"))
    with pytest.raises(UserError, match="vote first"):
        list(duel.say("More"))
    assert duel.take_back() == "Hi"
    with pytest.raises(UserError, match="nothing to take back"):
        duel.take_back()
    list(duel.say("More"))


def test_stopped_early_there_is_nothing_to_vote_on_and_stopped_late_there_is(duel: Duel) -> None:
    replies = duel.say("Hi")
    next(replies)
    duel.stop()
    with pytest.raises(UserError, match="no reply on one side"):
        list(replies)
    assert duel.round is None
    replies = duel.say("Hi")
    for _ in range(4):
        next(replies)
    duel.stop()
    list(replies)
    assert duel.round is not None
    duel.vote("A")


def test_a_model_against_itself_is_refused_but_not_against_its_re_ranked_self(duel: Duel) -> None:
    with pytest.raises(UserError, match="both sides are dogs"):
        duel.choose("dogs", "dogs", (False, False))
    duel.choose("dogs", "dogs", (False, True))
    list(duel.say("Hi"))
    assert duel.round is not None
    assert {str(voice) for voice in duel.round.voices} == {"dogs", "dogs+critic"}


def test_the_page_hides_who_is_who_and_marks_nothing_before_the_vote(page: Page) -> None:
    tab = page.new_tab()
    views = list(page.challenge(tab, "Hi", "dogs", "echo"))
    for view in views:
        shown = str([*view.left, *view.right]) + view.line
        assert "<mark" not in shown
        assert "echo" not in shown
    assert views[0].box == ""
    after = page.vote(tab, "A")
    assert "A was" in after.line
    assert after.left == after.right
    assert after.left[-1].html


def test_the_page_tells_a_vote_without_a_reply(page: Page) -> None:
    view = page.vote(page.new_tab(), "A")
    assert 'role="alert"' in view.line
    assert "nothing to vote on yet" in view.line
