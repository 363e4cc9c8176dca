"""What an architecture can do, found out on a few tokens: each check compares a short cut with plain forward passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from personatune.model.shared_prompts import lay_out

if TYPE_CHECKING:
    from personatune.model.branches import SplitModel

# What architectures raise whose layers take or give something else than expected.
_MISFITS = (TypeError, AttributeError, RuntimeError, ValueError, KeyError, IndexError, NotImplementedError)


@torch.no_grad()
def splits_exactly(split: SplitModel) -> bool:
    """Compare trunk and top in a row with the whole model, from both heights at which branches begin.

    Where it fails, the model runs whole.
    """
    raised = split.total_layers - split.critic_layers
    if raised == 0:
        return True
    ids = _some_tokens(split.backbone.config.vocab_size, 12)
    rows = lay_out([(ids[:7], {}), (ids[7:], {})], 0, split.device)
    mask = (rows.segments >= 0).long()
    try:
        trunk = split.trunk(rows)
        with split.raising(trunk, raised) as above:
            halves = split.top(trunk)
        upper = split.top(above[0])
        decoder = split.backbone.get_decoder()
        whole = decoder(input_ids=rows.input_ids, attention_mask=mask, use_cache=False).last_hidden_state
    except _MISFITS:
        return False
    seen = mask.bool()
    return _alike(halves[seen], whole[seen]) and _alike(upper[seen], whole[seen])


@torch.no_grad()
def shares_exactly(split: SplitModel) -> bool:
    """Compare rows of several replies with rows of one; where it fails, every reply gets a row of its own."""
    ids = _some_tokens(split.backbone.config.vocab_size, 24)
    first, second = ids[:7], ids[7:12]
    replies = [ids[12:16], ids[16:18], ids[18:21], ids[21:24]]
    shared = lay_out([(first, dict(enumerate(replies[:3]))), (second, {3: replies[3]})], 0, split.device)
    single = [(first, {place: reply}) for place, reply in enumerate(replies[:3])]
    plain = lay_out([*single, (second, {3: replies[3]})], 0, split.device)
    try:
        found, expected = (
            split.top(split.trunk(rows)).flatten(0, 1)[torch.cat([rows.reading, rows.ends])] for rows in (shared, plain)
        )
    except _MISFITS:
        return False
    return _alike(found, expected)


@torch.no_grad()
def narrows_exactly(split: SplitModel) -> bool:
    """Compare the last layer on the places that are read with the whole; where it fails, it computes all places."""
    ids = _some_tokens(split.backbone.config.vocab_size, 12)
    rows = lay_out([(ids[:5], {0: ids[5:8]}), (ids[8:10], {1: ids[10:]})], 0, split.device)
    try:
        trunk = split.trunk(rows)
        found, expected = split.at(trunk, rows.reading), split.top(trunk).flatten(0, 1)[rows.reading]
    except _MISFITS:
        return False
    return _alike(found, expected)


def _alike(found: Tensor, expected: Tensor) -> bool:
    """Compare hidden states: rounding passes, a layer left out or a mask not honoured does not."""
    tolerance = 1e-3 if found.dtype == torch.float32 else 3e-2
    return bool((found.float() - expected.float()).norm() <= tolerance * expected.float().norm())


def _some_tokens(vocabulary: int, count: int) -> list[int]:
    return torch.randint(0, vocabulary, (count,), generator=torch.Generator().manual_seed(0)).tolist()
