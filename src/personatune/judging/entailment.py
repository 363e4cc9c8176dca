"""What an entailment judge is: it says whether one sentence follows from another, or contradicts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Label = Literal["entailment", "neutral", "contradiction"]
LABELS: tuple[Label, ...] = ("entailment", "neutral", "contradiction")
"""In the order of SNLI's label ids 0, 1, 2; every judge's probabilities stand in this order."""

ENTAILMENT, NEUTRAL, CONTRADICTION = range(3)


class EntailmentJudge(Protocol):
    """The local critic, or any NLI cross-encoder in its place."""

    @property
    def name(self) -> str:
        """What is printed with every figure it made: which judge, which weights."""
        ...

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return for each (premise, hypothesis) the probabilities of `LABELS`, (n, 3); rows add to 1."""
        ...
