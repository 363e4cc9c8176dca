"""What an update's metrics say of the replies that were sampled."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from personatune.copying import copies_trait
from personatune.training.reward_terms import repeated_share
from personatune.training.rollouts import Rollouts
from personatune.words import words


def text_metrics(rollouts: Rollouts) -> dict[str, float]:
    """Distinct-2 over the batch (×100), the share of replies that repeat a persona sentence, and repeated triples."""
    bigrams = [pair for text in rollouts.texts for pair in zip(words(text), words(text)[1:], strict=False)]
    copies = [
        copies_trait(text, context.persona) for text, context in zip(rollouts.texts, rollouts.contexts, strict=True)
    ]
    repeated = list(map(repeated_share, rollouts.contexts, rollouts.texts))
    return {
        "distinct_2": 100 * len(set(bigrams)) / len(bigrams) if bigrams else 0.0,
        "copy_share": sum(copies) / len(copies),
        "repetition": math.fsum(repeated) / len(repeated),
    }


def scores_by_turn(scores_N: Tensor, rollouts: Rollouts) -> dict[str, float]:
    """Return the mean score of first replies, of second ones, and so on; nothing where all are first ones."""
    turns = torch.tensor(rollouts.turns)
    if not turns.any():
        return {}
    return {f"score_turn_{turn + 1}": float(scores_N[turns == turn].mean()) for turn in range(int(turns.max()) + 1)}
