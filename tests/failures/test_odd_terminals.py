"""Nobody reads the output, the terminal knows few letters, the locale is unknown: no trace, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from personatune.terminal_progress import RichProgress

if TYPE_CHECKING:
    from tests.failures.conftest import Program

FEW_LETTERS: dict[str, Any] = {
    "PYTHONIOENCODING": "ascii",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
}


def program(*words: str, given: bytes = b"", **environment: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "personatune", *words],
        input=given, capture_output=True, timeout=300, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def unread(*words: str) -> tuple[int, str]:
    """Run the program with an output that is closed already; return its exit code and what stands on stderr."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "personatune", *words],
            stdout=writing, stderr=subprocess.PIPE, text=True, timeout=300, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    return ended.returncode, ended.stderr


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card with letters that many terminals lack."""
    file = tmp_path / "zoe.json"
    data = {"name": "Zoë ≈ 佐江", "description": "I live in Łódź.", "first_mes": "Grüezi – 你好!", "tags": []}
    whole = {"spec": "chara_card_v2", "spec_version": "2.0", "data": data}
    file.write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    return file


@pytest.mark.parametrize("kind", ["plain lines", "a table of rich", "help"])
def test_an_output_that_nobody_reads_ends_the_command_without_a_trace(kind: str, card: Path, tmp_path: Path) -> None:
    words = {
        "plain lines": ["runs", "--runs", str(tmp_path), "--json"],
        "a table of rich": ["cards", "show", str(card)],
        "help": ["--help"],
    }[kind]
    assert unread(*words) == (141, "")  # as a program that SIGPIPE ended


def test_a_mistake_stays_one_where_nobody_reads_the_output(tmp_path: Path) -> None:
    code, err = unread("cards", "show", str(tmp_path / "nothing.png"))
    assert (code, err.count("\n")) == (2, 1)
    assert "nothing.png: no such file" in err


def test_training_goes_on_when_nobody_reads_its_progress(
    begun: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A closed terminal or a dead ``tee`` is no reason to lose a night."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as output:
        monkeypatch.setattr(sys, "stdout", output)
        ended = begun.stage("sft")
        monkeypatch.undo()
    assert (ended.code, ended.line) == (0, "the output can't be written (Broken pipe); the work goes on")
    assert (begun.run / "sft" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_log_on_a_full_disk_doesnt_end_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w", encoding="utf-8") as log:
        progress = RichProgress(log, line_seconds=0)
        with progress.task("sft", 3) as task:
            for _ in range(3):
                task.advance()
        progress.say("kept the best checkpoint")
    told = capsys.readouterr().err
    assert told == "personatune: the output can't be written (No space left on device); the work goes on\n"


def test_a_terminal_with_few_letters_gets_the_others_as_escapes(card: Path, tmp_path: Path) -> None:
    shown = program("cards", "show", str(card), **FEW_LETTERS)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert rb"Zo\xeb \u2248 \u4f50\u6c5f" in shown.stdout
    helped = program("cards", "show", "--help", **FEW_LETTERS)
    assert (helped.returncode, helped.stderr) == (0, b"")
    assert helped.stdout.isascii()
    missing = program("cards", "show", str(tmp_path / "Zoë.png"), **FEW_LETTERS)
    assert missing.returncode == 2
    assert missing.stderr.isascii()
    assert missing.stderr.count(b"\n") == 1


def test_an_unknown_locale_changes_nothing(card: Path) -> None:
    usual = program("cards", "show", str(card), LC_ALL="C.UTF-8")
    odd = program("cards", "show", str(card), LC_ALL="xx_YY.UTF-8", LANG="xx_YY.UTF-8", PYTHONUTF8="1")
    assert (odd.returncode, odd.stdout, odd.stderr) == (0, usual.stdout, b"")
    plain = program("cards", "show", str(card), LC_ALL="xx_YY", LANG="xx_YY")
    assert (plain.returncode, plain.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize("environment", [FEW_LETTERS, {"LC_ALL": "xx_YY", "LANG": "xx_YY"}], ids=["ascii", "locale"])
def test_one_can_chat_and_train_there(base: Path, card: Path, tmp_path: Path, environment: dict[str, Any]) -> None:
    talked = program(
        "chat", "--model", str(base / "model"), "--persona", str(card),
        given="Grüezi, wie gahts?\n/persona\n/why\n".encode(), **environment,
    )  # fmt: skip
    assert (talked.returncode, talked.stderr) == (0, b"")
    assert talked.stdout.count(b"you> ") == 4
    trained = program(
        "prepare", "--name", "x", "--runs", str(tmp_path / "runs"), "--data", str(base / "made.jsonl"),
        "--model", str(base / "model"), **environment,
    )  # fmt: skip
    assert (trained.returncode, trained.stderr) == (0, b"")
