"""A key-value cache with room to grow: a decoded token is written into it, not everything before it copied.

The library's own dynamic cache joins the old and the new tensor at every token; with many rows and long prompts that
copying takes longer than the layers themselves (benchmarks/decoding.py).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

_ROOM = 64  # tokens that are made room for at once: most replies


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # the library is read untyped
    """`keys` and `values` are the filled beginning of larger buffers, rows × heads × tokens × width."""

    _buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new tokens behind the old ones and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old = self.get_seq_length()
        filled = old + key_states.shape[-2]
        if self._buffers is None or filled > self._buffers[0].shape[-2]:
            self._buffers = (
                _with_room(self.keys, key_states, old, filled + _ROOM),
                _with_room(self.values, value_states, old, filled + _ROOM),
            )
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, old:filled] = new
        self._show(filled)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows only, with their room, if there is any yet."""
        if self._buffers is None:
            super().batch_select_indices(indices)
            return
        filled = self.get_seq_length()
        self._buffers = (self._buffers[0].index_select(0, indices), self._buffers[1].index_select(0, indices))
        self._show(filled)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row; room is made at the next token."""
        super().batch_repeat_interleave(repeats)
        self._buffers = None

    def reset(self) -> None:
        """Forget everything."""
        self._buffers = None
        super().reset()

    def _show(self, filled: int) -> None:
        assert self._buffers is not None
        self.keys, self.values = (buffer[:, :, :filled] for buffer in self._buffers)


def roomy_cache(config: PretrainedConfig) -> Any:
    """Return an empty cache for a model; layers that forget (sliding windows) stay the library's own."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if not cache.layers:
        cache.layer_class_to_replicate = RoomyLayer
    return cache


def _with_room(old: Tensor, new: Tensor, filled: int, size: int) -> Tensor:
    rows, heads, _, width = new.shape
    buffer = new.new_empty((rows, heads, size, width))
    if filled:
        buffer[:, :, :filled] = old
    return buffer
