"""How far an entailment judge can be trusted: accuracy, confusion and calibration on labelled pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personatune.data.persona_pairs import SentencePair
from personatune.intervals import Estimate, bootstrap
from personatune.judging.entailment import LABELS, EntailmentJudge

_BINS = 10


@dataclass(frozen=True)
class JudgeAccuracy:
    """What a judge made of labelled pairs.

    Attributes:
        probabilities: (n, 3) in the order of `LABELS`.
        truth: (n,) label numbers.
    """

    pairs: list[SentencePair]
    probabilities: NDArray[np.float32]
    truth: NDArray[np.int64]

    @property
    def correct(self) -> NDArray[np.bool_]:
        return np.asarray(self.probabilities.argmax(axis=1) == self.truth)

    def accuracy(self, samples: int = 1000, seed: int = 0) -> Estimate:
        """Share of pairs whose likeliest label is right, 0 to 1; the items are pairs."""
        return bootstrap(self.correct.astype(float).tolist(), samples, seed)

    def confusion(self) -> list[list[int]]:
        """Count pairs by true label (rows) and judged label (columns), in the order of `LABELS`."""
        table = np.zeros((len(LABELS), len(LABELS)), dtype=int)
        np.add.at(table, (self.truth, self.probabilities.argmax(axis=1)), 1)
        return [[int(cell) for cell in row] for row in table]

    def by_kind(self) -> dict[str, dict[str, float]]:
        """Return accuracy and number of pairs for each kind of pair."""
        rows: dict[str, list[bool]] = defaultdict(list)
        for pair, right in zip(self.pairs, self.correct, strict=True):
            rows[pair.kind].append(bool(right))
        return {kind: {"accuracy": sum(right) / len(right), "n": len(right)} for kind, right in sorted(rows.items())}

    def calibration(self) -> dict[str, Any]:
        """Return the expected calibration error over ten equal bins of confidence, and the bins.

        Guo et al. 2017 (arXiv 1706.04599), equation 5: the mean distance of confidence and accuracy, weighted by the
        pairs in each bin; 0 is perfect.
        """
        confidence = self.probabilities.max(axis=1)
        places = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
        bins = []
        for number in range(_BINS):
            inside = places == number
            if inside.any():
                bins.append(
                    {
                        "from": number / _BINS,
                        "n": int(inside.sum()),
                        "confidence": float(confidence[inside].mean()),
                        "accuracy": float(self.correct[inside].mean()),
                    }
                )
        error = sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in bins) / len(self.pairs)
        return {"expected_calibration_error": error, "bins": bins}

    def errors(self) -> list[tuple[SentencePair, str, float]]:
        """Return every pair judged wrongly with the judged label and its probability, the surest first."""
        rows = []
        for pair, row, right in zip(self.pairs, self.probabilities, self.correct, strict=True):
            if not right:
                judged = int(row.argmax())
                rows.append((pair, LABELS[judged], float(row[judged])))
        return sorted(rows, key=lambda row: -row[2])

    def to_json(self) -> dict[str, Any]:
        """Return ``accuracy`` (0 to 1) with its interval, ``confusion``, ``n``, calibration and accuracy by kind."""
        estimate = self.accuracy()
        return {
            "accuracy": estimate.value,
            "accuracy_low": estimate.low,
            "accuracy_high": estimate.high,
            "n": estimate.n,
            "labels": list(LABELS),
            "confusion": self.confusion(),
            "calibration": self.calibration(),
            "by_kind": self.by_kind(),
        }


def judge_accuracy(judge: EntailmentJudge, pairs: Sequence[SentencePair]) -> JudgeAccuracy:
    """Let the judge label the pairs.

    Raises:
        ValueError: no pairs.
    """
    if not pairs:
        raise ValueError("no pairs to judge")
    probabilities = judge.probabilities([(pair.premise, pair.hypothesis) for pair in pairs])
    truth = np.array([LABELS.index(pair.label) for pair in pairs])
    return JudgeAccuracy(list(pairs), probabilities, truth)
