"""Preference files made elsewhere: read whole, or refused with row and reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from personatune.data.preference_files import read_preference_file
from personatune.dialogue import Context, Persona, PreferencePair, Turn
from personatune.errors import UserError

PAIR = PreferencePair(
    Context(Persona(("I cook.",)), (Turn("self", "Hi."), Turn("partner", "Work?"))), "I cook.", "I fly.", "swap", "made"
)


def written(folder: Path, *rows: Any) -> Path:
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_what_the_preferences_stage_writes_is_read_back(tmp_path: Path) -> None:
    assert read_preference_file(written(tmp_path, PAIR.to_json(), PAIR.to_json())) == [PAIR, PAIR]


def test_kind_and_origin_may_be_left_out(tmp_path: Path) -> None:
    row = {name: value for name, value in PAIR.to_json().items() if name not in ("kind", "origin")}
    [found] = read_preference_file(written(tmp_path, row))
    assert (found.kind, found.chosen, found.context) == ("given", "I cook.", PAIR.context)
    assert found.origin.endswith("pairs.jsonl, row 1")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"chosen": ""}, "row 2: chosen is '', expected a reply"),
        ({"rejected": 3}, "row 2: rejected is 3, expected a reply"),
        ({"rejected": "I cook."}, "row 2: chosen and rejected are the same ('I cook.')"),
        ({"context": {"persona": "me"}}, "row 2: found no context with a persona's traits"),
        ({"context": {"persona": {"traits": []}, "history": []}}, "row 2: found traits [], expected a list of sent"),
        (
            {"context": {"persona": {"traits": ["I cook."]}, "history": [["bot", "Hi."]]}},
            "row 2: turn 1 is ['bot', 'Hi.'], expected [\"self\" or \"partner\", text]",
        ),
        (
            {"context": {"persona": {"traits": ["I cook."]}, "history": [["self", "Hi."]]}},
            "row 2: the history ends with no line of the partner's",
        ),
    ],
)
def test_a_row_that_is_no_pair_is_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    file = written(tmp_path, PAIR.to_json(), {**PAIR.to_json(), **change})
    with pytest.raises(UserError) as caught:
        read_preference_file(file)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the file is empty; expected lines"):
        read_preference_file(written(tmp_path))
