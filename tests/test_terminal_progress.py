"""People see how far a stage is and how long it will take, in a terminal and in a log."""

from __future__ import annotations

import io

import pytest

from personatune.progress import Progress
from personatune.terminal_progress import RichProgress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> _Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    return _Terminal()


def test_a_log_gets_plain_lines_with_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("personatune.terminal_progress.time.monotonic", lambda: now)
    stream = io.StringIO()
    progress: Progress = RichProgress(stream, line_seconds=10)
    with progress.task("sft", 8) as task:
        for _ in range(8):
            now += 15
            task.advance(1, loss=1.23456)
        progress.say("kept the best checkpoint")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "sft   12%  0:15 elapsed, 1:45 left  loss 1.235"
    assert lines[3] == "sft   50%  1:00 elapsed, 1:00 left  loss 1.235"
    assert lines[-2:] == ["sft  100%  2:00 elapsed  loss 1.235", "kept the best checkpoint"], "the end stands once"
    assert "\x1b" not in stream.getvalue()


def test_a_log_is_not_flooded() -> None:
    stream = io.StringIO()
    with RichProgress(stream, line_seconds=60).task("ppo", 1000) as task:
        for _ in range(1000):
            task.advance()
    assert stream.getvalue().splitlines() == ["ppo  100%  0:00 elapsed"]


def test_a_terminal_gets_a_bar_with_percentage_and_figures(terminal: _Terminal) -> None:
    progress = RichProgress(terminal)
    with progress.task("reward [held-out]", 4) as task:
        task.advance(2, accuracy=0.75)
        progress.say("a line with [brackets]")
    shown = terminal.getvalue()
    assert "50%" in shown
    assert "accuracy 0.75" in shown
    assert "reward [held-out]" in shown
    assert "a line with [brackets]" in shown


def test_a_figure_that_is_told_now_and_then_stays_beside_those_of_every_step(terminal: _Terminal) -> None:
    with RichProgress(terminal).task("SFT", 4) as task:
        task.advance(0, held_out=2.5)
        task.advance(2, loss=1.5)
    assert "held_out 2.5  loss 1.5" in terminal.getvalue()


def test_a_task_within_a_task_shares_the_display(terminal: _Terminal) -> None:
    progress = RichProgress(terminal)
    with progress.task("run", 2) as outer:
        with progress.task("stage", 3) as inner:
            inner.advance(3)
        outer.advance()
    assert "run" in terminal.getvalue()
    assert "stage" in terminal.getvalue()


def test_an_error_in_the_stage_comes_through_and_the_display_is_closed(terminal: _Terminal) -> None:
    progress = RichProgress(terminal)
    with pytest.raises(RuntimeError, match="broken"), progress.task("sft", 2):
        raise RuntimeError("broken")
    with progress.task("again", 1) as task:  # a display left open would refuse a second one
        task.advance()
    assert "100%" in terminal.getvalue()
