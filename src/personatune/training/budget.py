"""Seconds that a training may take: counted while it trains, kept in its checkpoints, so an interrupt spends none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """Counts the seconds of training and says when they are spent.

    Args:
        seconds: None never ends.

    Attributes:
        spent: seconds so far, those of earlier calls too.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self.spent = 0.0
        self._told = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens inside the block; judging and saving stand outside."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.spent += time.perf_counter() - begun

    @property
    def share(self) -> float:
        """Return the share that is spent, 1 at most; 0 where there is no end."""
        return min(1.0, self.spent / self.seconds) if self.seconds else 0.0

    def units(self, steps: int) -> int:
        """Return how long a progress bar is: the seconds where they end the training, its steps elsewhere."""
        return steps if self.seconds is None else max(1, round(self.seconds))

    def passed(self) -> int:
        """Return how far a bar of `units` has moved since the last call, one step later."""
        if self.seconds is None:
            return 1
        before, self._told = self._told, min(round(self.seconds), int(self.spent))
        return self._told - before

    @property
    def over(self) -> bool:
        """Say whether it is spent."""
        return self.seconds is not None and self.spent >= self.seconds
