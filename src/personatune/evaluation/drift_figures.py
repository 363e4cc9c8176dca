"""Every figure of one contender's self-chats, made chat by chat."""

from __future__ import annotations

from collections.abc import Sequence

from personatune.evaluation.judged import MEASURES, JudgedEvaluator
from personatune.evaluation.results import Figures
from personatune.evaluation.self_chat import SelfChat, evaluate_drift

KEYWORD_MEASURES = ("trait_coverage", "keyword_contradictions", "copy_share", "repetition")
FIRST_HALF, SECOND_HALF, DRIFT = "_first_half", "_second_half", "_drift"


def drift_figures(
    items: Sequence[str],
    chats: Sequence[SelfChat],
    judge: JudgedEvaluator | None,
    *,
    why_no_judge: str = "no judge",
    samples: int = 1000,
    seed: int = 0,
) -> Figures:
    """Return each judged and keyword measure by half, its drift, and by round; the items are chats.

    ``M_first_half`` and ``M_second_half`` are means of the chats' rates, ``M_drift`` is second minus first, paired
    by chat; ``M_k`` is the rate in round k over all chats.

    Raises:
        ValueError: no chats, or not one name for each.
    """
    if len(items) != len(chats):
        raise ValueError(f"found {len(items)} names for {len(chats)} self-chats, expected one for each")
    figures = Figures(items, samples, seed)
    found = evaluate_drift(chats, judge, bootstrap_samples=samples, seed=seed)
    for measure, drift in found.drifts.items():
        halves = drift.halves
        figures.add(measure + FIRST_HALF, [(row[0], 1) if row else (0, 0) for row in halves])
        figures.add(measure + SECOND_HALF, [(row[1], 1) if row else (0, 0) for row in halves])
        figures.add(measure + DRIFT, [(row[1] - row[0], 1) if row else (0, 0) for row in halves])
        for number, estimate in drift.rounds.items():
            figures.add_estimate(f"{measure}_{number}", estimate)
    if judge is None:
        figures.leave_out(MEASURES, why_no_judge)
    measures = {*MEASURES, *KEYWORD_MEASURES}  # the rest is the absence of a judge, told above
    figures.absent |= {measure: why for measure, why in found.absent.items() if measure in measures}
    return figures
