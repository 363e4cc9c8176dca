"""How many dialogues fit into memory together: the key-value cache is what grows with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SHARE = 0.25
"""Of the free memory that the cache may take: while it grows it is there twice, and the logits need room too."""
_FEWEST = 4


def rows_that_fit(model: PreTrainedModel, tokens: int, most: int) -> int:
    """Return how many sequences of ``tokens`` tokens can be decoded together: ``most``, or fewer, but at least 4."""
    free = _free_bytes(next(model.parameters()).device)
    return min(most, max(_FEWEST, int(free * _SHARE / (tokens * cache_bytes_per_token(model)))))


def cache_bytes_per_token(model: PreTrainedModel) -> int:
    """Return the bytes that one token leaves in the key-value cache."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * model.dtype.itemsize)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)
