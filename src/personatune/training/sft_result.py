"""What a fine-tuning did: its held-out curve, and why it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class HeldOutPoint:
    """One held-out evaluation.

    Attributes:
        step: optimiser steps so far.
        tokens: tokens trained on so far (whole sequences).
        seconds: training time so far, evaluations and checkpoints not counted.
        loss: mean negative log-likelihood, nats a token, of the own turns of the held-out dialogues.
        flops: operations of training so far.
        cpu_seconds: of this process and all its threads, in the same time as ``seconds``.
    """

    step: int
    tokens: int
    seconds: float
    loss: float
    flops: float = 0.0
    cpu_seconds: float = 0.0


@dataclass
class SFTResult:
    """What a training run did: the held-out curve from step 0 on, and why it ended."""

    curve: list[HeldOutPoint] = field(default_factory=list)
    stopped: str = "all steps done"
    trainable_parameters: int = 0
    compiled: str = ""  # whether the layers were compiled, and why
    rollbacks: list[dict[str, Any]] = field(default_factory=list)  # see `Stability`

    @property
    def best(self) -> HeldOutPoint:
        return min(self.curve, key=lambda point: point.loss)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "best": asdict(self.best)}
