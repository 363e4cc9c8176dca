"""The cache with room holds what the library's own holds, whatever is done to its rows in between."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from transformers import DynamicCache, LlamaConfig

from personatune.model.roomy_cache import roomy_cache

_CONFIG = LlamaConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=2, num_key_value_heads=2)


@pytest.mark.parametrize(
    "doings",
    [
        ("tokens", "tokens", "tokens"),
        ("tokens", "repeat", "tokens", "select", "tokens"),
        ("tokens", "repeat", "select", "tokens"),  # a reply that ends at its first token, before there is room
        ("tokens", "select", "repeat", "select", "select", "tokens"),
    ],
)
def test_rows_and_tokens_are_those_of_the_librarys_cache(doings: Sequence[str]) -> None:
    torch.manual_seed(0)
    plain, roomy = DynamicCache(config=_CONFIG), roomy_cache(_CONFIG)
    rows = 3
    for doing in doings:
        if doing == "tokens":
            keys, values = torch.randn(rows, 2, 70, 4), torch.randn(rows, 2, 70, 4)
            for cache in (plain, roomy):
                cache.update(keys, values, 0)
        elif doing == "repeat":
            rows *= 2
            plain.batch_repeat_interleave(2)
            roomy.batch_repeat_interleave(2)
        else:
            kept = torch.arange(1, rows)
            rows -= 1
            plain.batch_select_indices(kept)
            roomy.batch_select_indices(kept)
        assert torch.equal(plain.layers[0].keys, roomy.layers[0].keys)
        assert torch.equal(plain.layers[0].values, roomy.layers[0].values)
