"""Padded batches of token lists, as every stage feeds them to a plain model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def right_padded(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return ``input_ids`` and ``attention_mask``, both B x T, the padding behind."""
    return _padded(rows, pad_id, left=False)


def left_padded(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return ``input_ids`` and ``attention_mask``, both B x T, the padding in front, as `generate` wants it."""
    return _padded(rows, pad_id, left=True)


def _padded(rows: Sequence[Sequence[int]], pad_id: int, *, left: bool) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, place] = torch.tensor(row)
        mask[index, place] = 1
    return ids, mask
