"""The figures of a run are on disk as they come, each step once, whatever was interrupted."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

from personatune.settings import TrackingConfig
from personatune.training.tracking import open_tracker, worth_sampling

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


def test_a_long_runs_rollouts_are_sampled_ever_more_seldom() -> None:
    shown = [update for update in range(1, 10_001) if worth_sampling(update)]
    assert shown[:200] == list(range(1, 201))
    assert len(shown) < 700
    late = [after - before for before, after in pairwise(shown) if before > 5000]
    assert 50 <= max(late) <= 200  # and yet it never ends
    assert sum(worth_sampling(number, 8) for number in range(1, 500)) < 90  # W&B's tables, each of which is files


def test_a_sample_with_a_line_end_that_only_unicode_knows_outlives_a_resume(tmp_path: Path) -> None:
    said = "a\u2028b\u2029c\u0085d \ud83d"
    tracker = open_tracker(tmp_path, CSV_ONLY, run="demo", stage="sft")
    tracker.samples("replies", [{"reply": said}], 1)
    tracker.samples("replies", [{"reply": "later"}], 2)
    tracker.close()
    open_tracker(tmp_path, CSV_ONLY, run="demo", stage="sft", resume_step=1).close()
    [line] = (tmp_path / "samples.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert json.loads(line)["reply"] == said.replace("\ud83d", "\ufffd")
