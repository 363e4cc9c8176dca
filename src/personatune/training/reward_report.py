"""Does a reward model deserve trust? Its report on held-out pairs, and the targets it has to reach before any PPO."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from personatune.config import RewardTargets
from personatune.dialogue import Context, PreferencePair
from personatune.errors import UserError
from personatune.intervals import Estimate, bootstrap


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
    ``calibration``: expected gap between σ(difference) and the share right, over ten equal bins of confidence.
    ``length_correlation``: Pearson correlation of score with words in the reply, over all replies.
    ``persona_sensitivity``: share of pairs whose chosen reply scores lower under another persona (``swapped``).
    """

    def share(values: Sequence[bool]) -> Estimate:
        return bootstrap([float(value) for value in values], samples=bootstrap_samples, seed=seed)

    right: dict[str, list[bool]] = defaultdict(list)
    for pair, better, worse in zip(pairs, chosen, rejected, strict=True):
        right["all"].append(better > worse)
        right[pair.kind].append(better > worse)
    lengths = [len(pair.chosen.split()) for pair in pairs] + [len(pair.rejected.split()) for pair in pairs]
    table = torch.tensor([lengths, [*chosen, *rejected]], dtype=torch.float64)
    margins = torch.tensor(chosen, dtype=torch.float64) - torch.tensor(rejected, dtype=torch.float64)
    falls = [own > other for own, other in zip(chosen, swapped, strict=True)]
    return {
        "n": len(pairs),
        "accuracy": {kind: share(values).to_json() for kind, values in right.items()},
        "calibration_error": calibration_error(margins),
        "length_correlation": float(torch.corrcoef(table)[0, 1].nan_to_num()),
        "persona_sensitivity": share(falls).to_json(),
    }


def calibration_error(margins_N: Tensor) -> float:
    """Return the expected calibration error of σ(|margin|) as confidence that the higher score is right.

    Guo et al. 2017, arXiv 1706.04599, equation 3, with ten bins between 0.5 and 1.
    """
    confidence = torch.sigmoid(margins_N.abs())
    right = (margins_N > 0).double()
    bins = ((confidence - 0.5) * 20).long().clamp(max=9)
    error = 0.0
    for index in bins.unique():
        inside = bins == index
        gap = (right[inside].mean() - confidence[inside].mean()).abs()
        error += float(gap) * float(inside.double().mean())
    return error


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

    The value decides, not its interval: small sets of pairs decide by luck, so their ``n`` is told.
    """
    found = []
    for kind, share in figures["accuracy"].items():
        name, target = (
            ("accuracy", targets.accuracy) if kind == "all" else (f"accuracy of {kind}", targets.kind_accuracy)
        )
        found.append(Check(name, "≥", target, share["value"], share["n"]))
    correlation, limit = abs(figures["length_correlation"]), targets.length_correlation
    found.append(Check("|correlation of score and length|", "≤", limit, correlation, 2 * figures["n"]))
    sensitivity = figures["persona_sensitivity"]
    target = targets.persona_sensitivity
    found.append(Check("persona sensitivity", "≥", target, sensitivity["value"], sensitivity["n"]))
    return found
