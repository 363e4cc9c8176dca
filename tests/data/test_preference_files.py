"""Files of preference pairs: every row is checked, and the figures are what counting by hand gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from personatune.data.preference_files import describe_pairs, read_preference_file
from personatune.dialogue import Context, Persona, PreferencePair, Turn
from personatune.errors import UserError

CONTEXT = Context(Persona(("I cook.",)), (Turn("partner", "Hi!"),))
ROW: dict[str, Any] = {**PreferencePair(CONTEXT, "I cook.", "I drive.", "vote", "web demo, 2 of 3 people").to_json()}


def pair(kind: str, chosen: str, rejected: str, origin: str = "gold") -> PreferencePair:
    return PreferencePair(CONTEXT, chosen, rejected, kind, origin)


def write(folder: Path, *rows: Any) -> Path:
    file = folder / "votes.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return file


def test_votes_are_read_as_pairs(tmp_path: Path) -> None:
    assert [one.to_json() for one in read_preference_file(write(tmp_path, ROW, "", ROW))] == [ROW, ROW]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "row 2: not valid JSON"),
        ([1], "row 2: found list, expected"),
        ({**ROW, "chosen": 3}, "row 2: chosen is 3, expected text"),
        ({**ROW, "kind": " "}, "row 2: kind is ' ', expected text"),
        ({**ROW, "rejected": "I cook."}, "row 2: chosen and rejected are the same reply"),
        ({**ROW, "context": None}, "row 2: context is None, expected an object"),
        ({**ROW, "context": {"persona": {}, "history": []}}, "context.persona.traits is None, expected a list"),
        ({**ROW, "context": {"persona": {"traits": ["a"]}, "history": []}}, r"context.history is \[\], expected turns"),
        ({**ROW, "context": {"persona": {"traits": ["a"]}, "history": [["bot", "x"]]}}, r"holds \['bot', 'x'\]"),
        ({**ROW, "context": {"persona": {"traits": ["a"]}, "history": [["self", "x"]]}}, "expected the partner's"),
    ],
)
def test_a_row_that_is_no_pair_is_named_in_one_line(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_preference_file(write(tmp_path, ROW, row))
    assert "\n" not in str(caught.value)


def test_a_file_without_pairs_or_none_at_all_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pair in it"):
        read_preference_file(write(tmp_path, ""))
    with pytest.raises(UserError, match=r"none\.jsonl: can't be read"):
        read_preference_file(tmp_path / "none.jsonl")


def test_the_figures_are_what_counting_by_hand_gives() -> None:
    pairs = [
        pair("generic", "one two three four five", "one two"),
        pair("generic", "one two", "one two three four five six"),
        pair("vote", "one two three", "three two one"),
        pair("vote", "three two one", "one two three", "mirror | gold"),
    ]
    found = describe_pairs(pairs)
    assert list(found) == ["generic", "vote", "all"]
    generic, vote, everything = found.values()
    assert (generic["pairs"], generic["share"], generic["mirrors"], generic["repeated"]) == (2, 0.5, 0, 0)
    assert (generic["words_chosen"], generic["words_rejected"]) == (3.5, 4.0)
    assert (generic["difference"], generic["distance"]) == (0.5, 3.5)
    assert (generic["longer"], generic["shorter"], generic["matched"]) == (0.5, 0.5, 0.5)
    assert (vote["mirrors"], vote["repeated"], vote["matched"]) == (1, 1, 1.0)  # the mirror has the same context
    assert (everything["pairs"], everything["personas"], everything["matched"]) == (4, 1, 0.75)
