"""A small judge whose every verdict can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from personatune.words import keyword_stems, words

_DENIALS = {"not", "never", "no", "don't", "isn't"}


class RuleJudge:
    """Entailed: all keywords of the hypothesis stand in the premise. Contradicted: so they do, but one side denies."""

    name = "word rule"

    def __init__(self) -> None:
        self.calls: list[list[tuple[str, str]]] = []

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        self.calls.append(list(pairs))
        return np.array([self._row(*pair) for pair in pairs], dtype=np.float32)

    @staticmethod
    def _row(premise: str, hypothesis: str) -> list[float]:
        if not set(keyword_stems(hypothesis)) <= set(keyword_stems(premise)):
            return [0.1, 0.8, 0.1]
        denied = [not _DENIALS.isdisjoint(words(text)) for text in (premise, hypothesis)]
        return [0.9, 0.05, 0.05] if denied[0] == denied[1] else [0.05, 0.05, 0.9]


@pytest.fixture
def rule_judge() -> RuleJudge:
    return RuleJudge()
