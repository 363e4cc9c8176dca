"""The list of runs: what each is and has reached, and a line, not a crash, for whatever can't be read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from personatune.cli import app
from personatune.config import load_config, save_config
from personatune.pipeline import run_list
from personatune.pipeline.run import STAGES
from personatune.pipeline.run_list import list_runs

HOSTILE = "[red]<b>x\x1b[31m"


def write(target: Path, value: Any) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def make_run(runs: Path, name: str, stages: dict[str, str], *settings: str) -> Path:
    folder = runs / name
    save_config(load_config("quick", settings), folder / "config.yaml")
    write(folder / "manifest.jsonl", "".join(
        json.dumps({"stage": stage, "finished": f"{day}T10:00:00+00:00"}) + "\n" for stage, day in stages.items()
    ))  # fmt: skip
    return folder


def consistency(value: float) -> dict[str, Any]:
    return {"metrics": {"probe_consistency": {"value": value, "low": 0.1, "high": 0.9, "n": 10}}}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    whole = make_run(tmp_path, "whole", dict.fromkeys(STAGES, "2026-03-02") | {"mild": "2026-03-01"})
    write(whole / "baseline/evaluation.json", consistency(0.125))
    write(whole / "evaluate/ppo.json", consistency(0.875))
    write(whole / "report/report.json", {"goals": [{"met": True}, {"met": False}, {"met": None}]})
    make_run(tmp_path, "begun", {"prepare": "2026-03-05"}, "sft.learning_rate=1e-3", "tracking.online=true")
    (tmp_path / "not-a-run").mkdir()
    return tmp_path


def shown(runs: Path, *options: str) -> str:
    result = CliRunner().invoke(app, ["runs", "--runs", str(runs), *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_run_tells_its_stages_preset_date_figures_goals_and_size(runs: Path) -> None:
    begun, whole = list_runs(runs)
    assert (begun.name, begun.done, begun.date) == ("begun", ["prepare"], "2026-03-05T10:00:00+00:00")
    assert (begun.preset, begun.changed) == ("quick", 1)
    assert (whole.name, whole.done) == ("whole", [*STAGES, "mild"])
    assert (whole.preset, whole.changed) == ("quick", 0)
    assert whole.consistency == {"base": 0.125, "ppo": 0.875}
    assert (whole.goals_met, whole.goals) == (1, 3)
    assert whole.bytes == sum(file.stat().st_size for file in (runs / "whole").rglob("*") if file.is_file())
    assert whole.problems == begun.problems == []


def test_the_list_is_a_table_for_people_and_json_for_programs(runs: Path) -> None:
    table = shown(runs)
    for text in (
        "all stages + mild",
        "quick, 1 changed",
        "2026-03-02 10:00",
        "untouched 12.5 %",
        "PPO 87.5 %",
        "1 of 3",
    ):
        assert text in table
    rows = json.loads(shown(runs, "--json"))
    assert [row["name"] for row in rows] == ["begun", "whole"]
    assert rows[1]["consistency"] == {"base": 0.125, "ppo": 0.875}


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("config.yaml", "seed: [", "config.yaml: not valid YAML"),
        ("config.yaml", "sed: 1", "sed"),
        ("config.yaml", None, "no config.yaml: half-written"),
        ("manifest.jsonl", '{"stage": "sft"', "manifest.jsonl, row 1: not valid JSON"),
        ("manifest.jsonl", '{"stage": "sft", "finished": "soon"}', "manifest: not what personatune writes"),
        ("evaluate/ppo.json", "[1, 2]", "figures: not what personatune writes"),
        ("evaluate/ppo.json", "{", "evaluate/ppo.json: not valid JSON"),
        ("report/report.json", '{"goals": 3}', "goals: not what personatune writes"),
    ],
)
def test_a_damaged_run_says_what_is_wrong_and_the_others_are_listed(
    runs: Path, file: str, content: str | None, problem: str
) -> None:
    place = runs / "whole" / file
    place.unlink() if content is None else write(place, content)
    found = {run.name: run for run in list_runs(runs)}
    assert any(problem in line for line in found["whole"].problems), found["whole"].problems
    assert found["begun"].problems == []
    output = shown(runs)
    assert "whole: " in output
    assert "Traceback" not in output


def test_a_run_that_vanishes_while_it_is_read_is_one_line(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    read = run_list.read_jsonl

    def reading(place: Path) -> Any:
        if place.parent.name == "whole":
            shutil.rmtree(place.parent)
        return read(place)

    monkeypatch.setattr(run_list, "read_jsonl", reading)
    found = {run.name: run.problems for run in list_runs(runs)}
    assert found == {"begun": [], "whole": ["vanished while it was read"]}


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_a_hostile_folder_name_is_shown_as_text(runs: Path) -> None:
    make_run(runs, HOSTILE.replace("/", ""), {"sft": "2026-03-09"})
    output = shown(runs)
    assert "\x1b" not in output
    assert "[red]<b>x" in output
    assert "\x1b" not in json.loads(shown(runs, "--json"))[0]["name"]


def test_no_runs_yet_is_no_error(tmp_path: Path) -> None:
    assert "no runs yet; start one: personatune run" in " ".join(shown(tmp_path / "none").split())
    assert json.loads(shown(tmp_path / "none", "--json")) == []
