"""Every figure of one contender's answers to questions about personas, made dialogue by dialogue."""

from __future__ import annotations

from collections.abc import Sequence

from personatune.evaluation.multiple_choice import ChoiceTask, MultipleChoiceEvaluator
from personatune.evaluation.results import Figures

QA = ("qa_pmi_accuracy", "qa_accuracy", "qa_accuracy_bare")
"""Shares, the headline first; each also after turn k as ``…_k``."""


def qa_figures(
    items: Sequence[str],
    tasks: Sequence[ChoiceTask],
    scores: Sequence[Sequence[float]],
    bare: Sequence[Sequence[float]],
    *,
    samples: int = 1000,
    seed: int = 0,
) -> Figures:
    """Return `QA` and each of them after turn k; the items are dialogues.

    Args:
        scores: one a candidate of each task, with the persona; higher is better.
        bare: the same without it.

    Raises:
        UserError: a score that is missing or no finite number.
    """
    figures = Figures(items, samples, seed)
    found = MultipleChoiceEvaluator(samples, seed).evaluate(tasks, scores, bare=bare)
    for name, rows in found.tallies.items():
        figures.add(name, [rows.get(number, (0, 0)) for number in range(len(items))])
    figures.leave_out(QA if "qa_accuracy" in found.absent else (), found.absent.get("qa_accuracy", ""))
    return figures
