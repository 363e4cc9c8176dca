"""Ranking consistency (Welleck et al. 2019, arXiv 1811.00671), ConvAI2 Hits@1 (Dinan et al. 2019, arXiv 1902.00098).

The protocol of Shea & Yu 2023 (arXiv 2310.10735): every candidate gets a score, the class of the best one counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from personatune.dialogue import RankingTask
from personatune.errors import UserError
from personatune.intervals import Array, Estimate, bootstrap, ratio

RATES = {"hits1": "gold", "entail1": "similar", "rand1": "rand", "contradict1": "neg"}
"""The four rates and the class of candidate each counts; with ConvAI2 candidates, only ``hits1`` means something."""

_WORST_FIRST = ("neg", "rand", "similar", "gold")


class RankingEvaluator:
    """Turns the scores of candidates into rates, in percent."""

    def __init__(self, bootstrap_samples: int = 1000, seed: int = 0) -> None:
        self.bootstrap_samples = bootstrap_samples
        self.seed = seed

    def evaluate(self, tasks: Sequence[RankingTask], scores: Sequence[Sequence[float]]) -> dict[str, Estimate]:
        """Return ``hits1``, and ``entail1``, ``rand1`` and ``contradict1`` where candidates carry these classes.

        Each is the share, in percent, of tasks whose best candidate is of that class; the four add to 100. ``n`` is
        the number of tasks; intervals resample dialogues (ConvAI2: all turns of one stay together) or records.

        Raises:
            UserError: no tasks, or a score that is missing or no finite number.
        """
        best = best_kinds(tasks, scores)
        graded = any(kind in ("neg", "similar") for task in tasks for kind in task.kinds)
        names = list(RATES) if graded else ["hits1"]
        return {name: self._rate(tasks, [kind == RATES[name] for kind in best]) for name in names}

    def _rate(self, tasks: Sequence[RankingTask], hits: Sequence[bool]) -> Estimate:
        groups: dict[str, list[int]] = {}
        for task, hit in zip(tasks, hits, strict=True):
            group = groups.setdefault(dialogue_of(task), [0, 0])
            group[0] += hit
            group[1] += 1

        def percent(items: Array) -> Array:
            return 100 * ratio(items)

        found = bootstrap(list(groups.values()), self.bootstrap_samples, self.seed, percent)
        return Estimate(100 * sum(hits) / len(hits), found.low, found.high, len(tasks))


def best_kinds(tasks: Sequence[RankingTask], scores: Sequence[Sequence[float]]) -> list[str]:
    """Return the class of each task's best candidate. Of equally good ones the worst class counts.

    From worst to best: contradicting, random, entailed, gold. So a tie never helps a model, the gold reply has to be
    better than every other candidate, and duplicates count against it.

    Raises:
        UserError: as `RankingEvaluator.evaluate`.
    """
    if not tasks:
        raise UserError("ranking: no records to rank; expected at least one")
    if len(tasks) != len(scores):
        raise UserError(f"ranking: found scores for {len(scores)} records, expected {len(tasks)}")
    kinds = []
    for task, own in zip(tasks, scores, strict=True):
        if len(own) != len(task.candidates):
            raise UserError(f"{task.id}: found {len(own)} scores, expected one for each of {len(task.candidates)}")
        odd = next((index for index, score in enumerate(own) if not np.isfinite(score)), None)
        if odd is not None:
            raise UserError(
                f"{task.id}: candidate {odd + 1} ({task.candidates[odd][:40]!r}) was scored {own[odd]}, expected a "
                "number; the model's weights or precision are at fault"
            )
        top = max(own)
        tied = {kind for kind, score in zip(task.kinds, own, strict=True) if score == top}
        kinds.append(next(kind for kind in _WORST_FIRST if kind in tied))
    return kinds


def dialogue_of(task: RankingTask) -> str:
    """Return what is resampled as one: the dialogue of a ConvAI2 turn ("file:dialogue:turn"), else the record."""
    parts = task.id.split(":")
    return ":".join(parts[:2])
