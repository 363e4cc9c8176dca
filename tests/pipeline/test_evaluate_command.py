"""The command `evaluate`: files it leaves, what it prints, and its one line for a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personatune.cli import app
from personatune.errors import UserError
from personatune.judging.persona_probes import persona_probe_scripts
from personatune.report.markdown import plain


def evaluate(*words: str) -> None:
    app(["evaluate", *words], standalone_mode=False)


def test_floors_on_the_probes_leave_json_markdown_and_html(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate("--model", "copier", "--limit", "2", "--judge", "none", "--out", str(tmp_path / "out"))
    shown = capsys.readouterr().out
    assert "overall reading" in shown
    assert "human (ceiling)" in shown
    assert "judged measures: not measured: no judge (--judge none)" in shown
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert [row["contender"] for row in found["benchmarks"][0]["rows"]] == ["copier", "tfidf", "generic", "human"]
    assert (tmp_path / "out" / "evaluation.md").read_text(encoding="utf-8").startswith("# Evaluation of copier")
    assert (tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8").lstrip().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--on", "probes"], "--on names benchmarks for contenders; say who: --model base"),
        (["--model", "copier", "--on", "convai2"], "--on convai2: which file?"),
        (["--model", "copier", "--on", "qa", "--transcripts", "there"], "--transcripts writes probe dialogues"),
        (["--model", "copier", "--on", "rank=nowhere.json"], "nowhere.json: no such file"),
        (["--model", "copier", "--probes-split", "tset"], "--probes-split tset"),
        (["--model", "copier", "--on", "qa", "--wordings", "3"], "--wordings 3: only probes have several wordings"),
        (["--model", "sft", "--judge", "none", "--limit", "1"], "--model sft: which run's? add --run NAME"),
        (["--run", "nothing"], "nothing: no such run"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as found:
        evaluate(*words)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_transcripts_hold_every_line_and_every_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "transcripts"
    evaluate("--model", "copier", "--limit", "2", "--out", str(tmp_path / "out"), "--transcripts", str(folder))
    capsys.readouterr()
    [page] = folder.iterdir()
    text = page.read_text(encoding="utf-8")
    scripts = persona_probe_scripts("test", 6)[:2]
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    share = found["benchmarks"][0]["rows"][0]["metrics"]["probe_consistency"]["value"]
    for script in scripts:
        assert all(plain(line) in text for line, _ in script.lines)
        assert all(f"- {plain(trait)}" in text for trait in script.persona.traits)
    cells = [row.split(" | ")[2] for row in text.splitlines() if row.startswith("| ") and "keywords" not in row]
    assert len(cells) == sum(len(script.lines) for script in scripts)
    own = [[verdict == "consistent" for verdict in part if verdict != "not asked"] for part in (cells[:6], cells[6:])]
    assert share == pytest.approx(sum(sum(part) / len(part) for part in own) / 2)
