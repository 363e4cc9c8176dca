"""What a PPO run did: its updates, the judge's looks, the alarms, and why it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class PPOResult:
    """What the run did: one row of metrics an update, the judge's looks, the alarms, and why it ended.

    Attributes:
        alarms: each that sounded, as `Alarm.to_json` gives it; ``warnings`` has them in words.
    """

    metrics: list[dict[str, float]] = field(default_factory=list)
    judged: list[dict[str, float]] = field(default_factory=list)
    best_update: int = 0
    stopped: str | None = None
    alarms: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    self_checks: dict[str, float] = field(default_factory=dict)
    rollbacks: list[dict[str, Any]] = field(default_factory=list)  # see `Stability`
    seconds: float = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, Any]:
        first, last = (self.metrics[0], self.metrics[-1]) if self.metrics else ({}, {})
        return {
            **asdict(self),
            "updates": len(self.metrics),
            "kl_start": first.get("kl"),
            "kl_end": last.get("kl"),
            "kl_max": max((row["kl"] for row in self.metrics), default=None),
        }
