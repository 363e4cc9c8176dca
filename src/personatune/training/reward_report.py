"""Does a reward model deserve trust? Its report on held-out pairs, and the targets it has to reach before any PPO."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from personatune.dialogue import VOTE, Context, PreferencePair
from personatune.errors import UserError
from personatune.intervals import Array, Estimate, bootstrap
from personatune.settings import RewardTargets

FEWEST_VOTES = 30
"""Held-out votes that a target is set on: people vote as much as they like, and three of them decide by luck."""


def swap_personas(contexts: Sequence[Context]) -> list[Context]:
    """Give each context the persona of the next one that has another; needs two different personas.

    Raises:
        UserError: all personas are the same.
    """
    swapped = []
    for index, context in enumerate(contexts):
        others = (contexts[(index + shift) % len(contexts)].persona for shift in range(1, len(contexts)))
        other = next((persona for persona in others if not set(persona.traits) & set(context.persona.traits)), None)
        if other is None:
            raise UserError("persona sensitivity needs held-out pairs of at least two different personas")
        swapped.append(Context(other, context.history))
    return swapped


def report(
    pairs: Sequence[PreferencePair],
    chosen: Sequence[float],
    rejected: Sequence[float],
    swapped: Sequence[float],
    bootstrap_samples: int,
    seed: int,
) -> dict[str, Any]:
    """Return the reward model's report, from the scores of every pair's replies.

    ``accuracy``: share of pairs ranked right, all and by kind, 95 % bootstrap intervals over pairs (a tie is wrong).
    ``calibration_error``: expected gap between σ(difference) and the share right, over ten equal bins of confidence.
    ``length_correlation``: Pearson correlation of score with words in the reply, over all replies.
    ``persona_sensitivity``: share of pairs whose chosen reply scores lower under another persona (``swapped``).
    """

    def share(values: Sequence[bool]) -> Estimate:
        return bootstrap([float(value) for value in values], samples=bootstrap_samples, seed=seed)

    right: dict[str, list[bool]] = defaultdict(list)
    for pair, better, worse in zip(pairs, chosen, rejected, strict=True):
        right["all"].append(better > worse)
        right[pair.kind].append(better > worse)
    lengths = [(len(pair.chosen.split()), len(pair.rejected.split())) for pair in pairs]
    rows = [[*row, better, worse] for row, better, worse in zip(lengths, chosen, rejected, strict=True)]
    margins = [better - worse for better, worse in zip(chosen, rejected, strict=True)]
    falls = [own > other for own, other in zip(chosen, swapped, strict=True)]
    return {
        "n": len(pairs),
        "accuracy": {kind: share(values).to_json() for kind, values in right.items()},
        "calibration_error": bootstrap(margins, bootstrap_samples, seed, _calibration_errors).to_json(),
        "length_correlation": bootstrap(rows, bootstrap_samples, seed, _length_correlations).to_json(),
        "persona_sensitivity": share(falls).to_json(),
    }


def calibration_error(margins: Sequence[float]) -> float:
    """Return the expected calibration error of σ(|margin|) as confidence that the higher score is right.

    Guo et al. 2017, arXiv 1706.04599, equation 3, with ten bins between 0.5 and 1.
    """
    return float(_calibration_errors(np.asarray(margins, dtype=np.float64)))


def _calibration_errors(margins: Array) -> Array:
    """Map margins (..., n) to one error for each leading index."""
    confidence = 1 / (1 + np.exp(-np.abs(margins)))
    bins = np.minimum(((confidence - 0.5) * 20).astype(int), 9)
    gaps = [np.abs(((margins > 0) - confidence).sum(axis=-1, where=bins == index)) for index in range(10)]
    return np.asarray(sum(gaps) / margins.shape[-1])


def _length_correlations(rows: Array) -> Array:
    """Map pairs (..., n, 4) of words chosen, words rejected and both scores to one correlation; 0 for equal lengths."""
    lengths, scores = (np.concatenate([rows[..., first], rows[..., first + 1]], axis=-1) for first in (0, 2))
    lengths, scores = (values - values.mean(axis=-1, keepdims=True) for values in (lengths, scores))
    spread = np.sqrt((lengths**2).sum(axis=-1) * (scores**2).sum(axis=-1))
    products = (lengths * scores).sum(axis=-1)
    return np.divide(products, spread, out=np.zeros_like(products), where=spread > 1e-12)


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of a reward model's report against its target.

    Attributes:
        name: what is checked, in words; ``comparison`` is "≥" or "≤".
        n: pairs or replies that the figure stands on.
    """

    name: str
    comparison: str
    target: float
    value: float
    n: int

    @property
    def met(self) -> bool:
        return self.value >= self.target if self.comparison == "≥" else self.value <= self.target

    def __str__(self) -> str:
        def shown(value: float) -> str:
            return f"{100 * value:.0f} %" if self.comparison == "≥" else f"{value:.2f}"

        return f"{self.name} {shown(self.value)} (target {self.comparison} {shown(self.target)}, n = {self.n})"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def checks(figures: Mapping[str, Any], targets: RewardTargets) -> list[Check]:
    """Hold what `report` returned against the targets: accuracy of all pairs and of each kind, length, persona.

    The value decides, not its interval: small sets of pairs decide by luck, so their ``n`` is told. Fewer than
    `FEWEST_VOTES` votes are no kind of their own here; they count among all pairs.
    """
    found = []
    for kind, share in figures["accuracy"].items():
        if kind == VOTE and share["n"] < FEWEST_VOTES:
            continue
        name, target = (
            ("accuracy", targets.accuracy) if kind == "all" else (f"accuracy of {kind}", targets.kind_accuracy)
        )
        found.append(Check(name, "≥", target, share["value"], share["n"]))
    length = figures["length_correlation"]  # a report of an older version has the bare number
    correlation = abs(length["value"] if isinstance(length, Mapping) else length)
    limit = targets.length_correlation
    found.append(Check("|correlation of score and length|", "≤", limit, correlation, 2 * figures["n"]))
    sensitivity = figures["persona_sensitivity"]
    target = targets.persona_sensitivity
    found.append(Check("persona sensitivity", "≥", target, sensitivity["value"], sensitivity["n"]))
    return found
