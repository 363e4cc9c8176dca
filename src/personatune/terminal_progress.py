"""Progress in the terminal: a bar with percentage, time and estimate; plain lines where there is no terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from personatune.plain_text import plain_text
from personatune.progress import Task

_LINE_SECONDS = 10.0  # between two plain lines: a log of a 12-minute run stays readable


class RichProgress:
    """Implements `personatune.progress.Progress` for people.

    Args:
        stream: where to write, stdout by default; a bar is drawn only if it is a terminal.
        line_seconds: pause between two plain lines where it is none.
    """

    def __init__(self, stream: IO[str] | None = None, line_seconds: float = _LINE_SECONDS) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._console = Console(file=self._stream, highlight=False)
        self._line_seconds = line_seconds
        self._bar: Progress | None = None

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        """Show one task for the length of the block; ``total`` is in the steps that `Task.advance` counts."""
        if not self._console.is_terminal:
            lines = _LineTask(self._line, description, total, self._line_seconds)
            yield lines
            lines.finish()
            return
        with self._shared_bar() as bar:
            row = bar.add_task(escape(description), total=total, figures="")
            try:
                yield _BarTask(bar, row)
            finally:
                bar.stop_task(row)

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one; it may quote what people and models said."""
        text = plain_text(text)
        if self._console.is_terminal:
            (self._bar.console if self._bar is not None else self._console).print(text, markup=False)
        else:
            self._line(text)

    def _line(self, text: str) -> None:
        """Print a line; where nobody reads them any more (``| head``, a log on a full disk) the work goes on unseen."""
        try:
            print(text, file=self._stream, flush=True)
        except OSError as error:
            reason = error.strerror or error
            with suppress(OSError):
                print(f"personatune: the output can't be written ({reason}); the work goes on", file=sys.stderr)
            with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())  # what is still in the stream's buffer goes there too

    @contextmanager
    def _shared_bar(self) -> Iterator[Progress]:
        """Open the live display, or use the one of the task around this one: a terminal has room for one."""
        if self._bar is not None:
            yield self._bar
            return
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
        ) as bar:
            self._bar = bar
            try:
                yield bar
            finally:
                self._bar = None


class _BarTask:
    def __init__(self, bar: Progress, row: TaskID) -> None:
        self._bar = bar
        self._row = row
        self._figures: dict[str, float] = {}

    def advance(self, steps: float = 1, **figures: float) -> None:
        self._figures.update(figures)  # one that is told now and then stays beside those of every step
        self._bar.update(self._row, advance=steps, figures=escape(_shown(self._figures)))


class _LineTask:
    """Prints "sft  40 %  1:20 elapsed, 2:00 left  loss 1.23" now and then."""

    def __init__(self, say: Callable[[str], None], description: str, total: float, line_seconds: float) -> None:
        self._say = say
        self._description = description
        self._total = total
        self._pause = line_seconds
        self._done = 0.0
        self._figures: dict[str, float] = {}
        self._begin = self._printed = time.monotonic()
        self._last_line = ""

    def advance(self, steps: float = 1, **figures: float) -> None:
        self._done += steps
        self._figures.update(figures)
        if time.monotonic() - self._printed >= self._pause:
            self._print()

    def finish(self) -> None:
        self._print()

    def _print(self) -> None:
        self._printed = time.monotonic()
        elapsed = self._printed - self._begin
        share = min(self._done / self._total, 1.0) if self._total > 0 else 1.0
        left = f", {_clock(elapsed * (1 - share) / share)} left" if 0 < share < 1 else ""
        line = f"{self._description}  {share:4.0%}  {_clock(elapsed)} elapsed{left}  {_shown(self._figures)}"
        if line != self._last_line:  # the last step may just have been printed
            self._say(line.rstrip())
            self._last_line = line


def _shown(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
