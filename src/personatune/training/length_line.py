"""What a reply's length alone adds to a reward model's scores, as a line: fitted after training, taken out since.

Post-hoc reward calibration (Huang et al. 2024, arXiv 2409.17407) with one line where they fit locally: there are some
hundred replies of few words. The loss of pairs of equal length says nothing about how scores follow length, so this
line is an accident of the training and not learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_INSIDE = (
    0.05,
    0.95,
)  # quantiles of the lengths that the line is fitted and used between: beyond them nothing is known


@dataclass(frozen=True, slots=True)
class LengthLine:
    """A line over the tokens of a reply (end marker included), flat outside the lengths it was fitted on.

    Attributes:
        slope: score a token; 0 takes nothing out.
        mean: tokens at which nothing is taken out.
        low, high: shorter and longer replies count as these.
    """

    slope: float = 0.0
    mean: float = 0.0
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def fit(cls, tokens_N: Tensor, scores_N: Tensor) -> LengthLine:
        """Return the least-squares line of scores over lengths."""
        tokens = tokens_N.double()
        low, high = torch.quantile(tokens, torch.tensor(_INSIDE, dtype=torch.float64)).tolist()
        inside = tokens.clamp(low, high)
        around = inside - inside.mean()
        slope = (around * scores_N.double()).sum() / around.square().sum().clamp(min=1e-9)
        return cls(float(slope), float(inside.mean()), low, high)

    def __call__(self, tokens_N: Tensor) -> Tensor:
        """Return what length alone adds to the scores of replies of these lengths, N."""
        return self.slope * (tokens_N.clamp(self.low, self.high) - self.mean)
