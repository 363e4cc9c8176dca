"""Random numbers for sampling that belong to a reply, not to the batch it is decoded in.

A generator that is shared by a batch gives a reply other numbers when other rows stand before it. Here every prompt
has a seed, and a reply's numbers are a function of it: the same replies come out whatever is decoded together, in one
process or spread over several.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Draws:
    """One uniform number for every token that may be drawn.

    Args:
        seeds: of each prompt.
        replies: to each prompt.
        tokens: of a reply at most.
    """

    def __init__(self, seeds: Sequence[int], replies: int, tokens: int) -> None:
        numbers = [
            torch.rand(replies, tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
        self._numbers_N_R = torch.cat(numbers)

    def numbers(self, replies_B: Tensor, token: int) -> Tensor:
        """Return the numbers for the ``token``-th token of some replies, B, float64 in [0, 1)."""
        return self._numbers_N_R[replies_B, token]
