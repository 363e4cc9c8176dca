"""How many optimiser steps a side took, counted in torch itself: no side says it of itself."""

from __future__ import annotations

from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook


class StepCount:
    """Counts the steps of every torch optimiser of this process; the busiest one's are the steps of the training."""

    def __init__(self) -> None:
        self._steps: dict[int, int] = {}
        register_optimizer_step_post_hook(self._count)

    def _count(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        self._steps[id(optimizer)] = self._steps.get(id(optimizer), 0) + 1

    def take(self) -> int:
        """Return the steps since the last call."""
        most = max(self._steps.values(), default=0)
        self._steps.clear()
        return most
