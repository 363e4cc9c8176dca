"""The figures of a run are on disk as they come, each step once, whatever was interrupted."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from personatune.config import TrackingConfig
from personatune.errors import UserError
from personatune.training import tracking
from personatune.training.tracking import SilentTracker, open_tracker, worth_sampling

CSV_ONLY = TrackingConfig(backends=["csv"])


def _rows(directory: Path) -> list[tuple[int, str, float]]:
    with (directory / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        return [(int(row["step"]), row["name"], float(row["value"])) for row in csv.DictReader(stream)]


def test_figures_and_samples_are_on_disk_before_the_tracker_is_closed(tmp_path: Path) -> None:
    tracker = open_tracker(tmp_path / "sft", CSV_ONLY, run="demo", stage="sft")
    tracker.log({"loss": 1.5, "learning_rate": 2e-4}, 1)
    tracker.samples("replies", [{"prompt": "Hi!", "reply": "Grüß dich, “friend”."}], 1)
    assert _rows(tmp_path / "sft") == [(1, "loss", 1.5), (1, "learning_rate", 2e-4)]
    sample = json.loads((tmp_path / "sft" / "samples.jsonl").read_text(encoding="utf-8"))
    assert sample == {"step": 1, "name": "replies", "prompt": "Hi!", "reply": "Grüß dich, “friend”."}
    tracker.close()


def test_a_figure_that_appears_late_breaks_nothing(tmp_path: Path) -> None:
    tracker = open_tracker(tmp_path, CSV_ONLY, run="demo", stage="sft")
    tracker.log({"loss": 2.0}, 1)
    tracker.log({"loss": 1.0, "validation_loss": 1.25}, 2)
    tracker.close()
    assert _rows(tmp_path) == [(1, "loss", 2.0), (2, "loss", 1.0), (2, "validation_loss", 1.25)]


def test_a_resumed_run_has_every_step_once(tmp_path: Path) -> None:
    tracker = open_tracker(tmp_path, CSV_ONLY, run="demo", stage="ppo")
    for step in (1, 2, 3):
        tracker.log({"reward": step / 10}, step)
        tracker.samples("replies", [{"reply": f"old {step}"}], step)
    tracker.close()
    with (tmp_path / "metrics.csv").open("a", encoding="utf-8") as stream:
        stream.write("4,rew")  # an interrupt in the middle of a row
    with (tmp_path / "samples.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"step": 4, "na')

    tracker = open_tracker(tmp_path, CSV_ONLY, run="demo", stage="ppo", resume_step=2)
    for step in (3, 4):
        tracker.log({"reward": step * 1.0}, step)
        tracker.samples("replies", [{"reply": f"new {step}"}], step)
    tracker.close()
    assert _rows(tmp_path) == [(1, "reward", 0.1), (2, "reward", 0.2), (3, "reward", 3.0), (4, "reward", 4.0)]
    lines = (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["reply"] for line in lines] == ["old 1", "old 2", "new 3", "new 4"]


def test_a_run_from_the_start_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        tracker = open_tracker(tmp_path, CSV_ONLY, run="demo", stage="sft")
        tracker.log({"loss": value}, 1)
        tracker.close()
    assert _rows(tmp_path) == [(1, "loss", 2.0)]


def test_a_listed_backend_that_is_not_installed_is_an_error_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"wandb is not installed; pip install 'personatune\[tracking\]'"):
        open_tracker(tmp_path, TrackingConfig(backends=["csv", "wandb"]), run="demo", stage="sft")
    assert list(tmp_path.iterdir()) == []


def test_auto_without_wandb_writes_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    tracker = open_tracker(tmp_path, TrackingConfig(), run="demo", stage="sft")
    tracker.log({"loss": 1.0}, 1)
    tracker.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "samples.jsonl"]


def test_tensorboard_writes_event_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    tracker = open_tracker(tmp_path, TrackingConfig(backends=["tensorboard"]), run="demo", stage="sft")
    tracker.log({"loss": 1.0}, 1)
    tracker.samples("replies", [{"reply": "Hi."}], 1)
    tracker.close()
    events = list((tmp_path / "tensorboard").glob("events.*"))
    assert len(events) == 1
    assert b"loss" in events[0].read_bytes()
    assert _rows(tmp_path) == [(1, "loss", 1.0)]


def test_wandb_stays_offline_silent_and_inside_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "online")  # the settings decide, not what a shell once exported
    monkeypatch.setitem(sys.modules, "openai", ModuleType("openai"))  # W&B offers Weave to whoever imports it
    monkeypatch.delenv("WANDB_DISABLE_WEAVE", raising=False)
    tracker = open_tracker(tmp_path / "sft", TrackingConfig(backends=["wandb"]), run="demo", stage="sft")
    tracker.log({"loss": 1.0}, 5)
    tracker.samples("replies", [{"reply": "Hi."}], 5)
    tracker.log({"loss": 0.5}, 3)  # a resumed stage repeats steps
    tracker.close()
    runs = list((tmp_path / "sft" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(runs) == 1
    deadline = time.monotonic() + 30  # W&B's own process writes the file, on a busy machine a moment later
    while b"loss" not in runs[0].read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"loss" in runs[0].read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["sft"]
    assert capfd.readouterr() == ("", "")


def test_a_backend_that_fails_in_the_middle_is_told_once_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(SilentTracker):
        def log(self, metrics: Mapping[str, float], step: int) -> None:
            raise OSError("no space\nleft at https://me:secret@host")

    monkeypatch.setattr(tracking, "find_spec", lambda name: find_spec("csv"))
    monkeypatch.setattr(tracking, "_make", lambda backend, tracked: Failing())
    tracker = open_tracker(tmp_path, TrackingConfig(backends=["tensorboard"]), run="demo", stage="sft")
    tracker.log({"loss": 1.0}, 1)
    tracker.log({"loss": 0.5}, 2)
    tracker.close()
    assert _rows(tmp_path) == [(1, "loss", 1.0), (2, "loss", 0.5)]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tracking: tensorboard failed (no space left at https://(hidden)@host); its curves end here")


def test_the_silent_tracker_takes_everything_and_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = SilentTracker()
    tracker.log({"loss": 1.0}, 1)
    tracker.samples("replies", [{"reply": "Hi."}], 1)
    tracker.figures({"curve": b"png"}, 1)
    tracker.files("report", "report", [tmp_path])
    tracker.close()
    assert list(tmp_path.iterdir()) == []


def test_a_long_runs_rollouts_are_sampled_ever_more_seldom() -> None:
    shown = [update for update in range(1, 10_001) if worth_sampling(update)]
    assert shown[:200] == list(range(1, 201))
    assert len(shown) < 600
    late = [after - before for before, after in pairwise(shown) if before > 5000]
    assert 50 <= max(late) <= 200  # and yet it never ends
    assert sum(worth_sampling(number, 8) for number in range(1, 500)) < 50  # W&B's tables, each of which is files
