"""Stop strings are never shown in part, and a long history is cut without tokenising all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from personatune.dialogue import Context, Persona, Turn
from personatune.serving.desk import recent_turns
from personatune.serving.stops import UntilStop

if TYPE_CHECKING:
    from tests.conftest import TinyModels


@given(
    st.lists(st.text("ab", max_size=3), max_size=8),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_whatever_the_pieces_the_text_ends_where_the_first_stop_string_begins(
    pieces: list[str], stops: list[str]
) -> None:
    whole, until = "".join(pieces), UntilStop(pieces, stops)
    shown = ""
    for piece in until:
        assert piece
        shown += piece
        assert whole.startswith(shown)
        assert not any(stop in shown for stop in stops)
    assert until.met == any(stop in whole for stop in stops)
    if not until.met:
        assert shown == whole
    else:
        # two stop strings may overlap: whichever is whole first ends the reply
        assert any(whole[len(shown) :].startswith(stop) for stop in stops)


def test_nothing_is_held_back_that_no_stop_string_begins_with() -> None:
    assert list(UntilStop(["ab", "cd"], ["xyz"])) == ["ab", "cd"]
    assert list(UntilStop(["ax", "yc"], ["xyz"])) == ["a", "xyc"]


def test_only_turns_that_could_fit_are_left_for_the_exact_cut(tiny: TinyModels) -> None:
    prompts = tiny.prompts(max_length=128)
    turns = tuple(Turn("partner" if number % 2 == 0 else "self", f"line {number}") for number in range(401))
    recent = recent_turns(turns, prompts)
    assert 2 < len(recent) < 60
    persona = Persona(("I sing.",))
    assert prompts.encode_prompt(Context(persona, recent)) == prompts.encode_prompt(Context(persona, turns))
    assert recent_turns((Turn("partner", "word " * 500),), prompts) == (Turn("partner", "word " * 500),)
