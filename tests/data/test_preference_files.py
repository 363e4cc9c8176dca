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


def test_kind_and_origin_may_be_left_out(tmp_path: Path) -> None:
    row = {name: value for name, value in ROW.items() if name not in ("kind", "origin")}
    [found] = read_preference_file(write(tmp_path, row))
    assert (found.kind, found.chosen, found.context) == ("given", "I cook.", CONTEXT)
    assert found.origin.endswith("votes.jsonl, row 1")


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
        (
            {**ROW, "context": {"persona": {"traits": ["a"], "name": [None]}}},
            r"name is \[None\], expected text or null",
        ),
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


@pytest.mark.parametrize("text", ["a\u2028b", "a\u2029b", "a\u0085b", "a\x1cb", "a\x0cb"])
def test_a_line_end_that_only_unicode_knows_parts_no_row(tmp_path: Path, text: str) -> None:
    row = {**ROW, "chosen": text}
    file = tmp_path / "votes.jsonl"
    file.write_text(json.dumps(row, ensure_ascii=False) + "\n" + json.dumps(ROW) + "\n", encoding="utf-8")
    assert [one.chosen for one in read_preference_file(file)] == [text, "I cook."]


@pytest.mark.parametrize("row", ["[" * 100_000, "9" * 5000, '{"chosen": ' + "9" * 5000 + "}"])
def test_json_that_python_itself_can_not_read_is_a_users_error(tmp_path: Path, row: str) -> None:
    with pytest.raises(UserError, match="row 1: not valid JSON"):
        read_preference_file(write(tmp_path, row))


def test_half_a_character_is_marked_and_can_be_written_again(tmp_path: Path) -> None:
    [found] = read_preference_file(write(tmp_path, json.dumps({**ROW, "chosen": "a\ud83d b"})))
    assert found.chosen == "a\ufffd b"
