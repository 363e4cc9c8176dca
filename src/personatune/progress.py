"""Progress bars with an estimate, behind an interface so that no stage knows about the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One bar."""

    def advance(self, steps: float = 1, **figures: float) -> None:
        """Move the bar on and show the two or three figures that matter (``loss=1.23``)."""


class Progress(Protocol):
    """Shows bars, or nothing at all."""

    def task(self, description: str, total: float) -> AbstractContextManager[Task]: ...

    def say(self, text: str) -> None:
        """Print a line above the bar."""


class _SilentTask:
    def advance(self, steps: float = 1, **figures: float) -> None:
        pass


class SilentProgress:
    """The do-nothing progress: library calls and tests stay quiet, stages need no ``if``."""

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        yield _SilentTask()

    def say(self, text: str) -> None:
        pass
