"""Runs side by side: what differs, paired where the same was asked, and said where it can't be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from personatune.cli import app
from personatune.config import load_config, save_config
from personatune.errors import UserError
from personatune.report.figures import difference_text
from personatune.report.side_by_side import read_runs, side_by_side
from personatune.report.side_by_side_page import compare_runs
from personatune.report.side_by_side_tables import figures_table

HOSTILE = '<script>alert("x")</script> | [bold]&'
VERDICTS = ("contradicting", "neutral", "consistent")


def write(target: Path, value: Any) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def evaluation(verdicts: list[str], personas: list[str], bleu: float, judge: str = "critic a") -> dict[str, Any]:
    dialogues = [
        {
            "persona": [persona, HOSTILE],
            "turns": [["partner", "Hello!"], ["self", "Hi."], ["partner", "Any pets?"], ["self", f"So {number}."]],
            "verdicts": [None, verdict],
        }
        for number, (persona, verdict) in enumerate(zip(personas, verdicts, strict=True))
    ]
    share = verdicts.count("consistent") / len(verdicts)
    metrics = {
        "probe_consistency": {"value": share, "low": share - 0.1, "high": share + 0.1, "n": len(verdicts)},
        "bleu": {"value": bleu, "low": bleu - 1, "high": bleu + 1, "n": 10},
        "multi_turn_consistency_2": {"value": share, "low": 0.0, "high": 1.0, "n": 10},
    }
    judged = {"name": judge, "decision": "contradiction from 0.65"}
    return {"metrics": metrics, "dialogues": dialogues, "absent": {}, "decoding": {}, "judge": judged}


def make_run(folder: Path, verdicts: list[str], personas: list[str], *settings: str, judge: str = "critic a") -> Path:
    save_config(load_config("quick", settings), folder / "config.yaml")
    write(folder / "evaluate/sft.json", evaluation(verdicts, personas, 3.0 + len(settings), judge))
    losses = "".join(f"{step},held_out_loss,{3 - step * 0.1 * (1 + len(settings))}\n" for step in range(5))
    write(folder / "sft/metrics.csv", f"step,name,value\n{losses}")
    write(folder / "sft/summary.json", {"stopped": "all steps done"})
    cost = {"stage": "sft", "wall_seconds": 60.0 * (1 + len(settings)), "peak_memory_bytes": 2**31, "cpu_seconds": 1.0}
    write(folder / "costs.jsonl", json.dumps(cost) + "\n")
    return folder


PERSONAS = [f"I have {number} dogs." for number in range(20)]
BETTER = ["consistent"] * 15 + ["neutral"] * 5
WORSE = ["neutral"] * 15 + ["consistent"] * 5


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    first = make_run(tmp_path / "plain", WORSE, PERSONAS)
    return first, make_run(tmp_path / "fast", BETTER, PERSONAS, "sft.learning_rate=2e-3")


def figures(comparison: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["metric"]: row for row in comparison["figures"] if row["model"] == "sft"}


def test_the_same_dialogues_are_paired_and_the_order_of_the_file_does_not_matter(two: tuple[Path, Path]) -> None:
    place = two[1] / "evaluate/sft.json"
    kept = json.loads(place.read_text(encoding="utf-8"))
    kept["dialogues"].reverse()
    write(place, kept)
    comparison = side_by_side(read_runs(two))
    (difference,) = figures(comparison)["probe_consistency"]["differences"]
    assert difference["value"] == pytest.approx(0.5)
    assert difference["paired"]
    assert difference["n"] == 20
    assert 0.0 < difference["low"] < 0.5 < difference["high"] < 1.0
    assert comparison["notes"] == []


def test_a_paired_interval_is_that_of_the_mean_difference_over_dialogues(two: tuple[Path, Path]) -> None:
    import numpy as np

    (found,) = figures(side_by_side(read_runs(two)))["probe_consistency"]["differences"]
    values = np.array([1.0] * 15 + [0.0] * 5) - np.array([0.0] * 15 + [1.0] * 5)
    error = values.std() / len(values) ** 0.5
    assert found["low"] == pytest.approx(0.5 - 1.96 * error, abs=0.1)
    assert found["high"] == pytest.approx(0.5 + 1.96 * error, abs=0.1)


def test_what_no_dialogue_holds_is_a_plain_difference(two: tuple[Path, Path]) -> None:
    (difference,) = figures(side_by_side(read_runs(two)))["bleu"]["differences"]
    assert difference == {"value": 1.0, "low": None, "high": None, "n": None, "paired": False}


def test_runs_judged_on_other_personas_are_not_paired_and_that_is_said(two: tuple[Path, Path], tmp_path: Path) -> None:
    others = [f"I own {number} cats." for number in range(20)]
    third = make_run(tmp_path / "third", BETTER, others, judge="critic b")
    comparison = side_by_side(read_runs([two[0], third]))
    assert not figures(comparison)["probe_consistency"]["differences"][0]["paired"]
    assert comparison["notes"] == [
        "plain and third were judged on different personas or questions (after SFT), so their figures can't be paired: "
        "a difference also holds what the personas differ in.",
        "plain and third were judged by different critics: leave the rows that are marked as judged aside.",
    ]


def test_a_model_that_one_run_alone_has_judged_is_no_other_critic(two: tuple[Path, Path]) -> None:
    write(two[0] / "evaluate/ppo.json", evaluation(BETTER, PERSONAS, 4.0))
    comparison = side_by_side(read_runs(two))
    assert comparison["notes"] == []
    assert next(row["differences"] for row in comparison["figures"] if row["model"] == "ppo") == [None]


def test_runs_that_share_some_dialogues_are_paired_over_those(two: tuple[Path, Path], tmp_path: Path) -> None:
    third = make_run(tmp_path / "third", BETTER[:10], PERSONAS[:10])
    comparison = side_by_side(read_runs([two[0], third]))
    (difference,) = figures(comparison)["probe_consistency"]["differences"]
    assert (difference["n"], difference["value"]) == (10, 1.0)
    assert "share 10 probe dialogues of 20 and 10" in comparison["notes"][0]


def test_only_settings_that_differ_are_listed(two: tuple[Path, Path]) -> None:
    assert side_by_side(read_runs(two))["settings"] == {"sft.learning_rate": [0.0005, 0.002]}


def test_costs_stand_beside_each_other(two: tuple[Path, Path]) -> None:
    costs = side_by_side(read_runs(two))["costs"]
    assert [cost["wall_seconds"] for cost in costs["sft"]] == [60.0, 120.0]
    assert list(costs) == ["sft", "total"]


def test_an_interval_without_zero_is_marked_and_others_are_not() -> None:
    found = {"value": 0.5, "low": 0.125, "high": 0.75, "n": 20, "paired": True}
    assert difference_text(found, "share") == "+50.0 (12.5 to 75.0) ✱"
    assert difference_text({**found, "low": -0.125}, "share") == "+50.0 (-12.5 to 75.0)"
    assert difference_text({**found, "value": -0.5, "low": None, "high": None}, "number") == "-0.500"
    assert difference_text(None, "share") == "–"


def test_a_model_that_no_run_has_judged_says_so(two: tuple[Path, Path]) -> None:
    comparison = side_by_side(read_runs(two))
    assert figures_table(comparison, "ppo").missing == "none of the runs has judged it"


def test_three_runs_are_each_compared_with_the_first_and_written_in_three_forms(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    hostile = make_run(tmp_path / '<b onload="x">[red]|y', BETTER, PERSONAS)
    comparison, paths = compare_runs([*two, hostile], tmp_path / "out")
    assert json.loads(paths.json.read_text(encoding="utf-8"))["figures"] == comparison["figures"]
    assert len(figures(comparison)["probe_consistency"]["differences"]) == 2
    markdown = paths.markdown.read_text(encoding="utf-8")
    assert "| Persona consistency (probes) ↑ | 25.0 % (15.0–35.0) | 75.0 % (65.0–85.0) |" in markdown
    assert '&lt;b onload="x"&gt;\\[red\\]\\|y' in markdown
    page = paths.html.read_text(encoding="utf-8")
    assert "<b onload" not in page
    assert not re.search(r"<(?:script|link|img|iframe)\b", page)
    assert not re.search(r'(?:src|href)\s*=\s*["\'](?!#)', page)
    assert "SFT: held-out loss" in page
    assert "plain from 3 to 2.6; fast from 3 to 2.2" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_two_runs_of_one_name_stay_two(two: tuple[Path, Path], tmp_path: Path) -> None:
    namesake = make_run(tmp_path / "elsewhere/plain", BETTER, PERSONAS)
    assert side_by_side(read_runs([two[0], namesake]))["runs"] == ["plain", "plain (2)"]


def test_the_command_prints_the_comparison_and_where_it_lies(two: tuple[Path, Path]) -> None:
    runs = two[0].parent
    result = CliRunner().invoke(app, ["report", "--compare", "plain", "fast", "--runs", str(runs)])
    assert result.exit_code == 0, result.output
    assert "+50.0" in result.output
    assert str(runs / "compare-plain-fast" / "comparison.html") in result.output
    assert {file.name for file in (runs / "compare-plain-fast").iterdir()} == {
        "comparison.html",
        "comparison.json",
        "comparison.md",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare"], "expected at least two runs"),
        (["--compare", "plain"], "expected at least two runs"),
        (["--compare", "plain", "plain"], "is named twice"),
        (["--compare", "plain", "fasd"], "no such run"),
        (["--compare", "plain", "../x"], "found no config.yaml"),
        (["plain", "fast"], "expected --run NAME, or --compare"),
    ],
)
def test_what_can_not_be_compared_is_one_line(two: tuple[Path, Path], arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["report", *arguments, "--runs", str(two[0].parent)])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_damaged_evaluation_names_its_file_and_writes_nothing(two: tuple[Path, Path], tmp_path: Path) -> None:
    write(two[1] / "evaluate/sft.json", '{"metrics": 3}')
    with pytest.raises(UserError, match=r"evaluate/sft\.json"):
        compare_runs(two, tmp_path / "out")
    assert not (tmp_path / "out").exists()
