"""Ctrl-C and SIGTERM end a stage within moments, and what is saved then is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from personatune.training.exact_state import capture_rng, restore_rng


class StopRequest:
    """Inside the block, SIGINT and SIGTERM set `requested`; work that may be cut off is interrupted by them at once.

    A trainer computes inside `at_once`, where nothing of its state changes, and moves its weights and writes its rows
    outside: whenever the interrupt comes, its state is that of a whole step.

    Args:
        alone: False where other processes take the same steps: they must stop after the same one, so nothing is cut
            off, and the trainers ask for `requested` after each step.

    Attributes:
        requested: a signal came.
        hurried: a second one cut off what may not be cut off; the state is no step's and must not be saved.
    """

    def __init__(self, *, alone: bool = True) -> None:
        self.requested = False
        self.hurried = False
        self._alone = alone
        self._open = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal raise KeyboardInterrupt inside the block, also one that came before.

        Cut off, it has drawn nothing: random generators are as before.
        """
        if not self._alone:
            yield
            return
        drawn = capture_rng()
        try:
            self._open = True
            if self.requested:
                raise KeyboardInterrupt
            yield
        except KeyboardInterrupt:
            restore_rng(*drawn)
            raise
        finally:
            self._open = False

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if self._open:
            self._open = False  # once: what catches it may save
            raise KeyboardInterrupt
        if again:
            self.hurried = True
            raise KeyboardInterrupt
