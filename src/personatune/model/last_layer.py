"""The last layer's feed-forward part on the tokens that are read alone: nothing above looks at the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def only_at(part: nn.Module, places: Tensor) -> Iterator[None]:
    """Inside the block, let a layer's feed-forward part compute the given places among B · T, and give 0 elsewhere.

    It is most of a layer's work, and of a row with a long prompt few places are read.
    """
    needed = places.unique()

    def narrow(hidden_B_T_H: Tensor) -> Tensor:
        flat = hidden_B_T_H.flatten(0, 1)
        [found] = type(part).forward(part, flat[None, needed])
        return torch.zeros_like(flat).index_copy(0, needed, found).view_as(hidden_B_T_H)

    part.forward = narrow
    try:
        yield
    finally:
        del part.forward
