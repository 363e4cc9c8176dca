"""What a DPO training did: its looks at held-out pairs, and why it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class DPOResult:
    """What the training did: its looks at held-out pairs, the step it ended at, and which of the looks was kept."""

    looks: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    best_step: int = 0
    stopped: str | None = None
    rollbacks: list[dict[str, Any]] = field(default_factory=list)  # see `Stability`
    seconds: float = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
