"""The decoding loop, over the lean layers where they fit a model and over the library's own elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from personatune.model.draws import Draws
from personatune.model.kept_prompts import KeptPrompts
from personatune.model.lean_decoder import LeanDecoder, lean_decoder
from personatune.model.row_cache import SharedPromptCache
from personatune.model.sampling import Sampling, Spoken, choose_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Said = Sequence[Sequence[Sequence[int]]]


class _Layers(Protocol):
    def begin(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Encode P prompts; returns the hidden state at the end of each, P × H."""

    def step(self, rows: list[int], tokens: list[int]) -> Tensor:
        """Encode one token of each of these replies, once begun a subset of the call before; returns R × H."""

    def logits(self, hidden_R_H: Tensor) -> Tensor:
        """Return R × V."""


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    sampling: Sampling,
    *,
    replies_per_prompt: int = 1,
    generator: torch.Generator | Draws | None = None,
    kept: KeptPrompts | None = None,
    said: Said | None = None,
    with_logprobs: bool = True,
) -> Iterator[list[tuple[int, int, float]]]:
    """Yield one list of (row, token, log-probability) for each step, over the rows still going.

    Row ``r`` is a reply to prompt ``r // replies_per_prompt``. To be called in inference mode.
    """
    layers = _layers_for(model, prompts, sampling, replies_per_prompt, kept)
    logits = layers.logits(layers.begin(prompts)).float().cpu().repeat_interleave(replies_per_prompt, dim=0)
    rows = list(range(len(prompts) * replies_per_prompt))
    spoken = [Spoken(sampling.no_repeat_ngram, said[row // replies_per_prompt] if said else ()) for row in rows]
    for step in range(sampling.max_new_tokens):
        speaking = [spoken[row] for row in rows]
        tokens, logprobs = choose_tokens(logits, speaking, sampling, generator, rows=rows, with_logprobs=with_logprobs)
        yield list(zip(rows, tokens, logprobs, strict=True))
        for own, token in zip(speaking, tokens, strict=True):
            own.append(token)
        going = [(row, token) for row, token in zip(rows, tokens, strict=True) if token not in stop_ids]
        if step + 1 == sampling.max_new_tokens or not going:
            return
        rows, tokens = [row for row, _ in going], [token for _, token in going]
        logits = layers.logits(layers.step(rows, tokens)).float().cpu()


def _layers_for(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    replies_per_prompt: int,
    kept: KeptPrompts | None,
) -> _Layers:
    lean = lean_decoder(model)
    longest = max(map(len, prompts)) + sampling.max_new_tokens
    if lean is None or longest > lean.window:
        return _LibraryLayers(model, replies_per_prompt, kept or KeptPrompts())
    if replies_per_prompt > 1 and kept is None:
        return _SharedPrompts(lean, replies_per_prompt)
    if replies_per_prompt > 1:
        return _LibraryLayers(model, replies_per_prompt, kept or KeptPrompts())
    return _Rows(lean, kept or KeptPrompts())


class _Rows:
    """One reply a row."""

    def __init__(self, lean: LeanDecoder, kept: KeptPrompts) -> None:
        self._kept = kept
        self._lean = lean
        self.logits = lean.logits

    def begin(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        return self._kept.extend(prompts, self._lean)

    def step(self, rows: list[int], tokens: list[int]) -> Tensor:
        return self._kept.step(rows, tokens)


class _SharedPrompts:
    """Several replies to each prompt."""

    def __init__(self, lean: LeanDecoder, replies: int) -> None:
        self._lean = lean
        self._replies = replies
        self.logits = lean.logits

    def begin(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        self._cache = SharedPromptCache(self._lean, prompts, self._replies)
        return self._cache.hidden

    def step(self, rows: list[int], tokens: list[int]) -> Tensor:
        return self._cache.step(rows, tokens)


class _LibraryLayers:
    """The library's own layers and a cache with room: left-padded prompts, rows that end are dropped."""

    def __init__(self, model: PreTrainedModel, replies: int, kept: KeptPrompts) -> None:
        self._model = model
        self._decoder = model.get_decoder()
        self._device = next(model.parameters()).device
        self._replies = replies
        self._kept = kept

    def begin(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        self._cache, inputs = self._kept.continue_with(prompts, self._model.config, self._device)
        hidden = self._run(inputs)
        self._kept.keep(self._cache)
        self._mask = inputs["attention_mask"]
        if self._replies > 1:
            self._cache.batch_repeat_interleave(self._replies)
            self._mask = self._mask.repeat_interleave(self._replies, dim=0)
        self._position = self._mask.sum(dim=1)
        self._rows = list(range(len(self._mask)))
        return hidden

    def step(self, rows: list[int], tokens: list[int]) -> Tensor:
        if rows != self._rows:
            going = set(rows)
            keep = torch.tensor([place for place, row in enumerate(self._rows) if row in going], device=self._device)
            self._mask, self._position = self._mask[keep], self._position[keep]
            self._cache.batch_select_indices(keep)
            self._rows = rows
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(rows), 1)], dim=1)
        inputs = {
            "input_ids": torch.tensor(tokens, device=self._device)[:, None],
            "attention_mask": self._mask,
            "position_ids": self._position[:, None],
        }
        self._position = self._position + 1
        return self._run(inputs)

    def logits(self, hidden_R_H: Tensor) -> Tensor:
        return self._model.get_output_embeddings()(hidden_R_H)

    def _run(self, inputs: dict[str, Tensor]) -> Tensor:
        options: dict[str, Any] = {"past_key_values": self._cache, "use_cache": True}
        return self._decoder(**inputs, **options).last_hidden_state[:, -1]
