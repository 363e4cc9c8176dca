"""What held-out preference pairs say about a policy: does it find the better reply likelier, and at what price?"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from personatune.dialogue import PreferencePair
from personatune.intervals import bootstrap


@dataclass(frozen=True)
class PairLikelihood:
    """A held-out pair under the policy and the reference.

    Attributes:
        loss: the training loss of the pair.
        lead: beta times the difference of the implicit rewards.
        chosen, rejected: mean log-probability of the reply's tokens, in nats; ``ref_…`` under the reference.
    """

    loss: float
    lead: float
    chosen: float
    rejected: float
    ref_chosen: float
    ref_rejected: float

    @property
    def right(self) -> bool:
        """Say whether the implicit reward ranks the pair right; a tie is wrong."""
        return self.lead > 0

    @property
    def likelier(self) -> bool:
        """Say whether the better reply has the lower mean token loss, which is what ranking by likelihood goes by."""
        return self.chosen > self.rejected

    @property
    def ref_likelier(self) -> bool:
        """Say the same of the reference."""
        return self.ref_chosen > self.ref_rejected


def look_figures(found: Sequence[PairLikelihood], pairs: Sequence[PreferencePair]) -> dict[str, float]:
    """Return means over pairs for the curve: loss, accuracy, and how far the likelihood of both replies has moved."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    for pair, likelihood in zip(pairs, found, strict=True):
        kinds[pair.kind].append(likelihood.likelier)

    def mean(value: Callable[[PairLikelihood], float]) -> float:
        return sum(map(value, found)) / len(found)

    return {
        "loss": mean(lambda pair: pair.loss),
        "accuracy": mean(lambda pair: pair.right),
        "likelihood_accuracy": mean(lambda pair: pair.likelier),
        "chosen_change": mean(lambda pair: pair.chosen - pair.ref_chosen),
        "rejected_change": mean(lambda pair: pair.rejected - pair.ref_rejected),
        **{f"likelihood_accuracy_{kind}": sum(values) / len(values) for kind, values in sorted(kinds.items())},
    }


def report(
    pairs: Sequence[PreferencePair], found: Sequence[PairLikelihood], bootstrap_samples: int, seed: int
) -> dict[str, Any]:
    """Return the report on held-out pairs, 95 % bootstrap intervals over pairs.

    ``accuracy``: share of pairs that the implicit reward ranks right (a tie is wrong), all and by kind.
    ``likelihood_accuracy``, ``reference_likelihood_accuracy``: share of pairs whose better reply has the lower mean
    token loss under the policy, and before the training.
    ``chosen_change``, ``rejected_change``: nats a token by which the replies became likelier; a chosen reply that
    became less likely is the known price of DPO (Pal et al. 2024, arXiv 2402.13228).
    """

    def by_kind(value: Callable[[PairLikelihood], float]) -> dict[str, Any]:
        values: dict[str, list[float]] = {"all": []}
        for pair, likelihood in zip(pairs, found, strict=True):
            values["all"].append(float(value(likelihood)))
            values.setdefault(pair.kind, []).append(float(value(likelihood)))
        return {kind: bootstrap(own, samples=bootstrap_samples, seed=seed).to_json() for kind, own in values.items()}

    return {
        "n": len(pairs),
        "accuracy": by_kind(lambda pair: pair.right),
        "likelihood_accuracy": by_kind(lambda pair: pair.likelier),
        "reference_likelihood_accuracy": by_kind(lambda pair: pair.ref_likelier),
        "chosen_change": by_kind(lambda pair: pair.chosen - pair.ref_chosen)["all"],
        "rejected_change": by_kind(lambda pair: pair.rejected - pair.ref_rejected)["all"],
    }


def pairs_fingerprint(pairs: Sequence[PreferencePair]) -> str:
    """Return a SHA-256 of the pairs in their order."""
    content = json.dumps([pair.to_json() for pair in pairs], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
