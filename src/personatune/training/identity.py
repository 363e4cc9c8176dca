"""What a checkpoint was made from, in a few words: enough to tell another training's and to say how it differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

_SAMPLED = 256
"""Numbers of each weight that tell one model from another of the same shape."""


@torch.no_grad()
def model_mark(model: nn.Module) -> str:
    """Return a short mark of a model: names, shapes and the signs of some numbers of every weight.

    Signs outlive a change of the number type, so that a run begun on a GPU may go on elsewhere.
    """
    found = hashlib.sha256()
    for name, weight in model.named_parameters():
        found.update(f"{name} {tuple(weight.shape)}".encode())
        some = weight.detach().flatten()[:_SAMPLED].cpu()
        plain = torch.signbit(some).to(torch.uint8) if some.is_floating_point() else some.view(torch.uint8)
        found.update(plain.numpy().tobytes())
    return found.hexdigest()[:16]


def rows_mark(rows: Iterable[Any]) -> str:
    """Return a short mark of rows of JSON values: other rows or another order, another mark."""
    found = hashlib.sha256()
    for row in rows:
        found.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return found.hexdigest()[:16]


def first_difference(found: Any, wanted: Mapping[str, Any]) -> str | None:
    """Return where settings differ, as ``settings.epochs: 1, expected 2``; None where they don't."""
    before, after = (_leaves(json.loads(json.dumps(tree))) for tree in (found or {}, wanted))
    for key in dict.fromkeys([*after, *before]):
        if before.get(key) != after.get(key):
            return f"{key}: {before.get(key)!r}, expected {after.get(key)!r}"
    return None


def _leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {prefix.removesuffix("."): tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _leaves(value, f"{prefix}{key}.")
    return leaves
