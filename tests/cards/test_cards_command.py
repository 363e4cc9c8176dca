"""`personatune cards`: what it shows, what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from personatune.cards.files import read_card
from personatune.errors import UserError

DATA: dict[str, Any] = {
    "name": "Mara",
    "description": "{{char}} is a smith.\nThe village is old.",
    "first_mes": "Hello {{user}}!",
    "system_prompt": "Be {{char}}. {{ORIGINAL}}",
    "scenario": "{{user}} enters.",
    "creator": "someone\x1b[31m",
    "extensions": {"other/program": {"a": 1}},
    "alternate_greetings": ["Back?"],
    "depth": 4,
    "character_book": {
        "entries": [{"keys": ["forge"], "content": "Old."}, {"keys": ["x"], "content": "y", "use_regex": True}]
    },
}


def personatune(*words: str) -> None:
    from personatune.cli import app

    app(list(words), standalone_mode=False)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    document = {"spec": "chara_card_v2", "spec_version": "2.0", "data": DATA}
    (tmp_path / "mara.json").write_text(json.dumps(document), encoding="utf-8")
    return tmp_path / "mara.json"


def test_show_tells_what_was_read_made_and_left_out(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    personatune("cards", "show", str(card), "--user", "Sam")
    shown = capsys.readouterr().out
    for told in (
        "V2 card in JSON", "by: someone\n", "kept, not used: data.depth, extensions.other/program",
        "persona, 2 sentences", "· My name is Mara.", "· I am a smith.", "left out, 1 pieces",
        "1 × not about the character", "The village is old.", "greeting 1: Hello Sam!", "greeting 2: Back?",
        "lorebook: 2 entries", "never fires", "Be Mara. You are chatting as a person", "scenario", "Sam enters.",
    ):  # fmt: skip
        assert told in shown
    assert "\x1b" not in shown


def test_the_sentences_shown_for_editing_make_the_same_persona(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    personatune("cards", "show", str(card), "--line")
    line = capsys.readouterr().out.strip()
    assert line == "My name is Mara. | I am a smith."
    personatune("cards", "convert", str(card), str(card.with_name("edited.json")), "--persona", f"{line} | I sing.")
    capsys.readouterr()
    personatune("cards", "show", str(card.with_name("edited.json")), "--line")
    assert capsys.readouterr().out.strip() == f"{line} | I sing."
    assert read_card(card.with_name("edited.json")).card.document["data"]["extensions"] == DATA["extensions"]


def test_a_card_goes_round_through_all_containers(card: Path) -> None:
    folder = card.parent
    for before, after, *options in (
        ("mara.json", "a.png"),
        ("a.png", "b.json"),
        ("b.json", "c.charx"),
        ("c.charx", "d.png"),
        ("d.png", "e.json", "--to", "v2"),
        ("e.json", "f.json", "--to", "v1"),
    ):
        personatune("cards", "convert", str(folder / before), str(folder / after), *options)
    assert read_card(folder / "b.json").card.document == read_card(card).card.document
    last = read_card(folder / "e.json").card
    assert last.version == "v2"
    assert {key: last.document["data"][key] for key in ("depth", "first_mes")} == {
        "depth": 4,
        "first_mes": DATA["first_mes"],
    }
    assert last.document["data"]["extensions"]["other/program"] == {"a": 1}
    assert read_card(folder / "f.json").card.version == "v1"


def test_questions_are_made_for_a_card_and_dialogues_stay_dialogues(
    card: Path, dialogues: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from personatune.cards.files import is_card_file

    personatune("probes", "make", str(card))
    assert "I am a smith." in capsys.readouterr().out
    assert not is_card_file(dialogues.write(card.with_name("made.jsonl"), 3))
    card.with_name("rows.json").write_text(json.dumps(dialogues.rows(2)), encoding="utf-8")
    assert not is_card_file(card.with_name("rows.json"))


def test_what_is_lost_is_told(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    personatune("cards", "convert", str(card), str(card.with_name("old.json")), "--to", "v1")
    told = capsys.readouterr()
    assert told.out.strip().endswith("old.json: V1")
    for lost in ("system_prompt", "alternate_greetings", "character_book", "extensions", "depth"):
        assert lost in told.err


def test_a_new_card_is_made_of_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    personatune("cards", "convert", str(tmp_path / "bo.png"), "--persona", "I have two dogs. | I sing.", "--name", "Bo")
    assert "a plain grey one was made" in capsys.readouterr().err
    made = read_card(tmp_path / "bo.png").card
    assert (made.version, made.data.name, made.data.description) == ("v3", "Bo", "I have two dogs.\nI sing.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mara.json"], "nothing to write"),
        (["mara.json", "mara.json"], "is there already"),
        (["mara.json", "out.txt"], "a card ends in .json, .png, .charx; found '.txt'"),
        (["mara.json", "out.charx", "--to", "v2"], "give --to v3"),
        (["mara.json", "out.png", "--image", "mara.json"], "not a PNG"),
        (["mara.json", "out.json", "--image", "mara.json"], "JSON holds no picture"),
        (["none.json", "out.json"], "none.json: no such file"),
        (["out.json", "--persona", "I sing."], "give --name"),
        (["out.json", "--persona", " | "], "found no sentence"),
        (["mara.json", "out.json", "--name", " "], "found only blanks"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(
    words: list[str], message: str, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(card.parent)
    before = card.read_bytes()
    with pytest.raises(UserError, match=message):
        personatune("cards", "convert", *words)
    assert card.read_bytes() == before
    assert [file.name for file in card.parent.iterdir()] == ["mara.json"]


def test_a_broken_card_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    import personatune as package

    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    for command in (["cards", "show", "x.png"], ["chat", "--persona", "x.png"]):
        answered = subprocess.run(
            [sys.executable, "-m", "personatune", *command],
            capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False,
            env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parent.parent)},
        )  # fmt: skip
        assert (answered.returncode, answered.stdout) == (2, "")
        assert answered.stderr.startswith("personatune: x.png: cut off")
        assert answered.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["x.png"]
