"""savings.py: what it says follows from the stages' results, a missed target is no saving, other work is refused."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from personatune.errors import UserError

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

GIB = 2**30


def figure(value: float, low: float, high: float) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": 20}


def results() -> dict[str, Any]:
    def side(factor: float, peak: int, judged: dict[str, Any]) -> dict[str, Any]:
        common = {"peak_bytes": peak, "flops": 1e12, "tokens": 1000, "steps": 8, "bytes_stored": 2**20}
        sft = {**common, "seconds": 100 * factor, "quality": {"held_out_loss": 1.5}, "reached": True,
               "stopped": "", "learning_rate": 3e-5}  # fmt: skip
        reward = {**common, "seconds": 60 * factor, "pairs": 16, "quality": {"pair_accuracy": figure(0.7, 0.5, 0.9)}}
        ppo = {**common, "seconds": 240 * factor, "updates": 1, "replies": 8, "quality": {"judged": judged}}
        return {"sft": sft, "reward": reward, "ppo": ppo}

    return {
        "conventional": side(1.0, 10 * GIB, figure(0.5, 0.4, 0.6)),
        "ours": side(0.25, 3 * GIB, figure(0.55, 0.45, 0.65)),
    }


@pytest.fixture
def work(tmp_path: Path, dialogues: type[HandMadeDialogues], tiny: TinyModels) -> Any:
    """The quick work on hand-made dialogues and a tiny model."""
    from personatune.storage import write_json
    from savings import settings_of
    from sides.savings_work import write_work

    dialogues.write(tmp_path / "made.jsonl", 90)
    tiny.save(tmp_path / "model")
    settings = settings_of("quick", str(tmp_path / "made.jsonl"), str(tmp_path / "model"), 2, ["branch.layers=1"])
    found = write_work(tmp_path / "out", settings)
    write_json(found.folder / "machine.json", {"matmul_peak": 1e11})
    return found


def priced(work: Any, found: dict[str, Any]) -> dict[str, Any]:
    from personatune.costs.savings import PriceTable
    from savings import report

    return report(work, found, PriceTable.load())


def test_time_and_money_saved_follow_from_seconds_and_peaks(work: Any) -> None:
    from personatune.costs.savings import PriceTable

    found = priced(work, results())
    prices = PriceTable.load()
    dear, cheap = (prices.cheapest("cpu", peak * GIB).price_per_hour for peak in (10, 3))
    assert found["pipeline"]["time_saved"] == pytest.approx(0.75)
    assert found["pipeline"]["cost_saved"] == pytest.approx(1 - 0.25 * cheap / dear)
    assert found["stages"]["ppo"]["memory_saved"] == pytest.approx(0.7)
    assert found["same_work"] is True
    assert found["pipeline"]["quality_alike"] is True


def test_a_missed_target_is_no_saving(work: Any, capsys: pytest.CaptureFixture[str]) -> None:
    missed = results()
    missed["ours"]["sft"].update(reached=False, stopped="all steps done")
    found = priced(work, missed)
    assert found["pipeline"]["time_saved"] is None
    assert found["stages"]["sft"]["cost_saved"] is None
    assert found["stages"]["reward"]["time_saved"] == pytest.approx(0.75)
    assert "time_saved unknown" in capsys.readouterr().out


@pytest.mark.parametrize(("stage", "key"), [("reward", "steps"), ("reward", "tokens"), ("ppo", "replies")])
def test_unequal_work_is_told(stage: str, key: str) -> None:
    from savings import same_work

    assert all(same_work(results()).values())
    unequal = deepcopy(results())
    unequal["ours"][stage][key] += 1
    assert not all(same_work(unequal).values())


def test_figures_outside_each_others_intervals_are_not_alike() -> None:
    from savings import alike

    assert alike(figure(0.5, 0.4, 0.6), figure(0.55, 0.45, 0.65))
    assert not alike(figure(0.5, 0.3, 0.7), figure(0.65, 0.55, 0.75))  # the second's interval leaves the first out
    assert not alike(figure(0.65, 0.55, 0.75), figure(0.5, 0.3, 0.7))


def test_the_work_is_written_once_and_other_work_in_the_same_folder_refused(work: Any) -> None:
    from savings import settings_of
    from sides.savings_work import write_work

    before = {file: file.stat().st_mtime_ns for file in work.folder.iterdir()}
    assert write_work(work.folder, work.settings).settings == work.settings
    assert {file: file.stat().st_mtime_ns for file in work.folder.iterdir()} == before
    other = settings_of("quick", work.settings["data"], work.settings["model"], 4, [])
    with pytest.raises(UserError, match="holds a comparison with other settings"):
        write_work(work.folder, other)


def test_both_sides_learn_from_other_personas_than_they_are_judged_on(work: Any) -> None:
    def sentences(views: list[Any]) -> set[str]:
        return {trait for view in views for trait in view.persona.traits}

    assert sentences(work.views("train"))
    assert not sentences(work.views("train")) & sentences(work.views("judge"))
    trained = {pair.context.persona for pair in work.pairs("pairs")} | {one.persona for one in work.contexts()}
    assert not {trait for persona in trained for trait in persona.traits} & sentences(work.views("judge"))
    assert len(work.contexts()) == work.config.ppo.updates * work.config.ppo.prompts_per_update


@pytest.mark.slow
def test_the_whole_benchmark_runs_on_a_tiny_model_and_goes_on_where_it_stopped(work: Any) -> None:
    import json

    from sides.paired import BENCHMARKS

    command = [sys.executable, str(BENCHMARKS / "savings.py"), "--quick", "--out", str(work.folder)]
    command += ["--data", work.settings["data"], "--model", work.settings["model"], "--set", "branch.layers=1"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(first.stdout.splitlines()[-1])
    assert found["same_work"] is True
    assert found["checks"]
    stages = {file: file.stat().st_mtime_ns for file in work.folder.rglob("result.json")}
    assert len(stages) == 3 + 1 + 1 + 2 + 2
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {file: file.stat().st_mtime_ns for file in work.folder.rglob("result.json")} == stages
    assert json.loads(second.stdout.splitlines()[-1])["pipeline"] == found["pipeline"]
