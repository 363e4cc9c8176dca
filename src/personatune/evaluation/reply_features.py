"""What is measured on any single reply beside its partner line: relevance and engagement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from personatune.evaluation.engagement import EQUAL_WEIGHTS, Encoder, EngagementEvaluator


def relevance(encoder: Encoder, replies: Sequence[str], lines: Sequence[str]) -> list[float]:
    """Return the cosine of each reply with the partner line it answers, negative ones as 0.

    High for an echo too, so people's own relevance is the yardstick, not 1.
    """
    own, asked = encoder.encode(replies), encoder.encode(lines)
    return [float(cosine) for cosine in np.clip((own * asked).sum(axis=1), 0, 1)]


def engagement_scores(replies: Sequence[str], lines: Sequence[str]) -> dict[str, list[float]]:
    """Return one score a reply, 0 to 1, with the default weights and with equal ones."""
    evaluators = {"engagement": EngagementEvaluator(), "engagement_equal": EngagementEvaluator(EQUAL_WEIGHTS)}
    pairs = list(zip(replies, lines, strict=True))
    return {
        name: [evaluator.calculate_engagement_score(*pair) for pair in pairs] for name, evaluator in evaluators.items()
    }
