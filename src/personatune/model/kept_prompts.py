"""What a batch of prompts left in the key-value cache, so that the next turn encodes only what is new.

In a dialogue, a turn's prompt is the last turn's prompt with a reply and a line behind it. Entries beyond the common
beginning (a reply that is tokenised otherwise, old turns that were dropped) are masked out, so the result is that of
encoding the whole prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from personatune.model.row_cache import RowCache

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from personatune.model.lean_decoder import LeanDecoder


class KeptPrompts:
    """The encoded prompts of one batch of dialogues; give the same one to every turn of these dialogues.

    It belongs to the weights that encoded it: begin with a fresh one after a change of the model.
    """

    def __init__(self) -> None:
        self._prompts: list[list[int]] = []
        self._slots: list[list[int]] = []  # for each row the cache slot of every token
        self._layers: list[tuple[Tensor, Tensor]] = []
        self._cache: RowCache | None = None
        self._encoded: list[list[int]] = []  # what the rows of that cache hold
        self._rows: list[int] = []  # of that cache, one for each prompt of the last call

    def extend(self, prompts: Sequence[Sequence[int]], lean: LeanDecoder) -> Tensor:
        """Encode what is new in these prompts; returns the hidden state at the end of each, P × H.

        Replies that were decoded in the cache are kept too: the next prompt holds them. Fewer prompts than the last
        time (some dialogues are over) are found among the old ones again.
        """
        if self._cache is None or len(prompts) > len(self._encoded):
            self._cache, self._encoded = RowCache(lean, len(prompts)), [[] for _ in prompts]
        self._rows = self._matching(prompts)
        new = []
        for row, prompt in zip(self._rows, prompts, strict=True):
            self._cache.lengths[row] = kept = _common(self._encoded[row], prompt)
            self._encoded[row] = list(prompt)
            new.append(prompt[kept:])
        return self._cache.extend(new, self._rows)

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Encode one further token of each of these prompts; returns their hidden states, R × H."""
        assert self._cache is not None
        own = [self._rows[row] for row in rows]
        for row, token in zip(own, tokens, strict=True):
            self._encoded[row].append(token)
        return self._cache.step(own, tokens)

    def _matching(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """Return the row of the cache that each prompt continues."""
        if len(prompts) == len(self._encoded):
            return list(range(len(prompts)))
        free = dict.fromkeys(range(len(self._encoded)))
        rows = []
        for prompt in prompts:
            best = max(free, key=lambda row: _common(self._encoded[row], prompt))
            free.pop(best)
            rows.append(best)
        return rows

    def continue_with(
        self, prompts: Sequence[Sequence[int]], config: PretrainedConfig, device: torch.device
    ) -> tuple[Any, dict[str, Tensor]]:
        """Return a cache with what is kept of these prompts, and the inputs that encode the rest (left-padded)."""
        from personatune.model.roomy_cache import roomy_cache

        cache = roomy_cache(config)
        if len(self._prompts) != len(prompts):
            self._prompts, self._slots, self._layers = [[] for _ in prompts], [[] for _ in prompts], []
        for layer, (keys, values) in enumerate(self._layers):
            cache.update(keys, values, layer)
        filled = self._layers[0][0].shape[2] if self._layers else 0
        common = [_common(old, new) for old, new in zip(self._prompts, prompts, strict=True)]
        width = max(len(prompt) - kept for prompt, kept in zip(prompts, common, strict=True))
        ids = torch.zeros((len(prompts), width), dtype=torch.long)
        positions = torch.zeros((len(prompts), width), dtype=torch.long)
        mask = torch.zeros((len(prompts), filled + width), dtype=torch.long)
        for row, (prompt, kept) in enumerate(zip(prompts, common, strict=True)):
            new = len(prompt) - kept
            slots = [*self._slots[row][:kept], *range(filled + width - new, filled + width)]
            ids[row, width - new :] = torch.tensor(prompt[kept:], dtype=torch.long)
            positions[row, width - new :] = torch.arange(kept, len(prompt))
            mask[row, slots] = 1
            self._slots[row] = slots
        self._prompts = [list(prompt) for prompt in prompts]
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        return cache, {name: tensor.to(device) for name, tensor in inputs.items()}

    def keep(self, cache: Any) -> None:
        """Remember what the prompts left in the cache; call it before the first token is decoded.

        Later tokens are written behind what is kept here, never over it. Caches that forget (sliding windows) are not
        kept: the next turn encodes its whole prompt.
        """
        from personatune.model.roomy_cache import RoomyLayer

        if not all(isinstance(layer, RoomyLayer) for layer in cache.layers):
            self._prompts = []
            return
        self._layers = [(layer.keys, layer.values) for layer in cache.layers]


def _common(old: Sequence[int], new: Sequence[int]) -> int:
    """Return how many tokens both begin with; the last new token is always encoded, its hidden state is needed."""
    limit = min(len(old), len(new) - 1)
    return next((index for index in range(limit) if old[index] != new[index]), limit)
