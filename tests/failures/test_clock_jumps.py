"""Somebody sets the clock, or summer time does: durations come from a clock that nobody sets."""

from __future__ import annotations

import csv
import json
import re
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from personatune.pipeline import run as run_module
from personatune.terminal_progress import RichProgress

if TYPE_CHECKING:
    from tests.failures.conftest import Program

DAY = 86_400.0


class JumpingClock:
    """Goes a day forwards, then a day backwards, at every look."""

    def __init__(self) -> None:
        self._real = time.time
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self._real() + (DAY if self.looks % 2 else -DAY)


class JumpingDates(datetime):
    """`datetime.now` of such a clock."""

    clock = JumpingClock()

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]  # plain ones, as they are written down
        return datetime.fromtimestamp(cls.clock(), tz)


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> JumpingClock:
    clock = JumpingClock()
    monkeypatch.setattr("time.time", clock)
    monkeypatch.setattr(run_module, "datetime", JumpingDates)
    return clock


def test_costs_and_progress_stay_sane_while_the_clock_jumps_by_days(
    begun: Program, jumping: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("personatune.terminal_progress.RichProgress", partial(RichProgress, line_seconds=0.0))
    started = time.perf_counter()
    ended = begun.stage("sft")
    took = time.perf_counter() - started
    assert (ended.code, ended.err) == (0, "")
    rows = [json.loads(row) for row in (begun.run / "costs.jsonl").read_text(encoding="utf-8").splitlines()]
    [cost] = [row for row in rows if row["stage"] == "sft"]
    assert 0 < cost["wall_seconds"] < took
    assert cost["cpu_seconds"] >= 0
    curve = json.loads((begun.run / "sft" / "summary.json").read_text(encoding="utf-8"))["curve"]
    seconds = [point["seconds"] for point in curve]
    assert seconds == sorted(seconds)
    assert seconds[-1] < took
    with (begun.run / "sft" / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        speeds = [float(row["value"]) for row in csv.DictReader(stream) if row["name"] == "tokens_per_second"]
    assert min(speeds) > 0
    assert "SFT" in ended.out
    assert re.search(r"\d:\d\d left", ended.out)
    assert not re.search(r"(?<!e)-\d", ended.out)
    assert all(int(minutes) < took / 60 + 1 for minutes in re.findall(r"(\d+):\d\d elapsed", ended.out))
    listed = begun("runs", "--runs", str(begun.runs), "--json")  # made in the future, or before it was begun
    assert (listed.code, [run["name"] for run in json.loads(listed.out)]) == (0, ["tiny"])


def test_the_time_that_is_left_is_never_negative(jumping: JumpingClock, capsys: pytest.CaptureFixture[str]) -> None:
    with RichProgress(line_seconds=0).task("sft", 4) as task:
        for _ in range(6):  # one that does more than it said
            task.advance()
    shown = capsys.readouterr().out
    assert "100%" in shown
    assert not re.search(r"-\d", shown)


def test_a_day_in_the_dates_of_a_run_is_only_a_label(jumping: JumpingClock) -> None:
    first, second = JumpingDates.now(UTC), JumpingDates.now(UTC)
    assert abs(first - second) > timedelta(days=1)  # the clock of these tests does jump
