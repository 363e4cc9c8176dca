"""Persona consistency by keywords: single replies, and probe dialogues with the headline `probe_consistency`.

All figures are shares from 0 to 1 (`reply_words` counts words); the items of the intervals are dialogues or replies.
Definitions and blind spots: docs/measures.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from personatune.copying import copies_trait, copy_share
from personatune.dialogue import Persona
from personatune.evaluation.quality import tokens
from personatune.intervals import Estimate, bootstrap
from personatune.judging.keywords import (
    Verdict,
    contradicted_traits,
    expressed_traits,
    trait_coverage,
)
from personatune.judging.probes import ProbeDialogue
from personatune.words import words

_REPEATED_NGRAM = 3


class PersonaEvaluator:
    """Judges replies and probe dialogues against the personas they should keep to."""

    def __init__(self, bootstrap_samples: int = 1000, seed: int = 0) -> None:
        self.bootstrap_samples = bootstrap_samples
        self.seed = seed

    def evaluate_consistency(self, reply: str, persona: Persona) -> dict[str, Any]:
        """Judge one reply: its trait coverage, which traits it expresses or turns round, and whether it copies one."""
        return {
            "trait_coverage": trait_coverage(reply, persona),
            "expressed": expressed_traits(reply, persona),
            "contradicted": contradicted_traits(reply, persona),
            "copies_trait": copies_trait(reply, persona),
        }

    def evaluate_batch_responses(self, replies: Sequence[str], personas: Sequence[Persona]) -> dict[str, Estimate]:
        """Judge replies one by one, each against its persona; the items are replies.

        Raises:
            ValueError: no replies, or not one persona for each.
        """
        judged = [self.evaluate_consistency(*pair) for pair in zip(replies, personas, strict=True)]
        return {
            "trait_coverage": self._estimate([row["trait_coverage"] for row in judged]),
            "expressing_share": self._estimate([float(bool(row["expressed"])) for row in judged]),
            "contradicting_share": self._estimate([float(bool(row["contradicted"])) for row in judged]),
            "copy_share": self._estimate([float(row["copies_trait"]) for row in judged]),
        }

    def compute_multi_turn_consistency(self, dialogues: Sequence[ProbeDialogue]) -> dict[str, Estimate]:
        """Return ``overall`` and, for each turn 1…k, the share of consistent answers among the probes of that turn.

        A turn in which no dialogue asks (the opening) is absent. The items of a turn are the dialogues that ask there.
        """
        figures = {"overall": self._estimate([_verdict_share(dialogue, "consistent") for dialogue in dialogues])}
        for turn in range(max(len(dialogue.verdicts) for dialogue in dialogues)):
            asked = [dialogue.verdicts[turn] for dialogue in dialogues if turn < len(dialogue.verdicts)]
            hits = [float(verdict == "consistent") for verdict in asked if verdict is not None]
            if hits:
                figures[str(turn + 1)] = self._estimate(hits)
        return figures

    def evaluate_dialogues(self, dialogues: Sequence[ProbeDialogue]) -> dict[str, Estimate]:
        """Return every figure of probe dialogues; the items are dialogues.

        Raises:
            ValueError: no dialogues.
        """
        if not dialogues:
            raise ValueError("no probe dialogues to evaluate")
        turns = self.compute_multi_turn_consistency(dialogues)
        figures = {
            "probe_consistency": turns.pop("overall"),
            "contradiction_rate": self._estimate([_verdict_share(item, "contradicting") for item in dialogues]),
            "neutral_rate": self._estimate([_verdict_share(item, "neutral") for item in dialogues]),
            "trait_coverage": self._estimate([_mean_coverage(item) for item in dialogues]),
            "copy_share": self._estimate([copy_share(item.replies, item.script.persona) for item in dialogues]),
            "repetition": self._estimate([repetition(item.replies) for item in dialogues]),
            "reply_words": self._estimate([_mean_words(item.replies) for item in dialogues]),
        }
        return figures | {f"multi_turn_consistency_{turn}": figure for turn, figure in turns.items()}

    def _estimate(self, values: Sequence[float]) -> Estimate:
        return bootstrap(values, self.bootstrap_samples, self.seed)


def repetition(replies: Sequence[str]) -> float:
    """Return the share of the word 3-grams of one speaker's replies that were said before in the same dialogue.

    1 - unique / total over all replies (seq-rep-3 of Welleck et al. 2020, arXiv 1908.04319); 0 without any 3-gram.
    """
    grams = [
        tuple(said[start : start + _REPEATED_NGRAM])
        for said in map(words, replies)
        for start in range(len(said) - _REPEATED_NGRAM + 1)
    ]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _verdict_share(dialogue: ProbeDialogue, verdict: Verdict) -> float:
    asked = [found for found in dialogue.verdicts if found is not None]
    if not asked:
        raise ValueError("a probe dialogue without a probe has no consistency")
    return asked.count(verdict) / len(asked)


def _mean_coverage(dialogue: ProbeDialogue) -> float:
    persona = dialogue.script.persona
    return sum(trait_coverage(reply, persona) for reply in dialogue.replies) / len(dialogue.replies)


def _mean_words(replies: Sequence[str]) -> float:
    return sum(len(tokens(reply)) for reply in replies) / len(replies)
