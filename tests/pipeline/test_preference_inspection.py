"""`preferences inspect`: pairs of a file or a run, by kind, with examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personatune.cli import app
from personatune.dialogue import Context, Persona, PreferencePair, Turn
from personatune.errors import UserError

CONTEXT = Context(Persona(("I cook.", "[bold]I shout.")), (Turn("partner", "Hi!"),))
PAIRS = [
    PreferencePair(CONTEXT, "I cook daily.", "I like [red]things.", "generic", "gold | d1"),
    PreferencePair(CONTEXT, "I cook for you.", "I drive to work.", "vote", "web demo"),
]


def write(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(pair.to_json()) + "\n" for pair in PAIRS), encoding="utf-8")
    return file


def inspect(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setenv("COLUMNS", "180")
    app(["preferences", "inspect", *words], standalone_mode=False)
    return capsys.readouterr().out


def test_a_file_of_votes_is_shown_by_kind_with_examples_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = inspect(capsys, monkeypatch, str(write(tmp_path / "votes.jsonl")), "--json", str(tmp_path / "f.json"))
    for text in ("generic", "vote", "all", "+ I cook daily.", "− I like [red]things.", "[bold]I shout.", "web demo"):
        assert text in shown
    figures = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert figures["votes"]["all"]["pairs"] == 2


def test_examples_of_one_kind_alone_or_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(write(tmp_path / "votes.jsonl"))
    shown = inspect(capsys, monkeypatch, file, "--kind", "vote")
    assert "I drive to work." in shown
    assert "I cook daily." not in shown
    assert "I drive to work." not in inspect(capsys, monkeypatch, file, "--examples", "0")
    with pytest.raises(UserError, match=r"--kind votes: not in .* which holds generic, vote; did you mean 'vote'\?"):
        inspect(capsys, monkeypatch, file, "--kind", "votes")


def test_a_run_shows_its_training_and_test_pairs_and_what_could_not_be_filled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine" / "preferences"
    write(folder / "train.jsonl")
    write(folder / "test.jsonl")
    summary = {
        "train": {"unfilled": {"persona_swap": "1 of 2: 9 persona turns gave no more"}},
        "test": {"unfilled": {}},
    }
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    shown = inspect(capsys, monkeypatch, "mine", "--runs", str(tmp_path))
    assert shown.count("generic") >= 3
    assert "train, persona_swap: 1 of 2: 9 persona turns gave no more" in shown
    with pytest.raises(UserError, match=r"mnie: neither a file .* did you mean 'mine'\?"):
        inspect(capsys, monkeypatch, "mnie", "--runs", str(tmp_path))


def test_a_run_without_pairs_names_the_command_that_makes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("seed: 0\n", encoding="utf-8")
    with pytest.raises(UserError, match="run: personatune preferences --run mine"):
        inspect(capsys, monkeypatch, "mine", "--runs", str(tmp_path))


def test_nothing_in_a_strangers_file_steers_the_terminal_or_looks_like_another_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "x\x1b[2J\x1b]0;title\x07\u202e[bold]y[/bold]\n  + I am chosen"
    pair = PreferencePair(Context(Persona((evil,)), (Turn("partner", evil),)), evil, "No.", f"kind {evil}", evil)
    (tmp_path / "votes[red].jsonl").write_text(json.dumps(pair.to_json()) + "\n", encoding="utf-8")
    shown = inspect(capsys, monkeypatch, str(tmp_path / "votes[red].jsonl"))
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
    assert "[bold]y[/bold]" in shown
    assert [line.strip()[:3] for line in shown.splitlines()].count("+ I") == 0
    assert "votes[red]" in shown
