"""Batched decoding: replies with their log-probabilities for training, texts for evaluation, a stream for the chat.

Logits are computed for the last position only, a prompt is encoded once for all its replies, and rows that
are finished leave the batch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from personatune.dialogue import Context, Respond
from personatune.model.draws import Draws
from personatune.model.kept_prompts import KeptPrompts
from personatune.model.prompts import PromptFormat

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn. ``temperature`` 0 is greedy; 1 with no penalty is the model's own distribution."""

    max_new_tokens: int
    temperature: float = 0.0
    repetition_penalty: float = 1.0  # of tokens of the reply itself (Keskar et al. 2019, arXiv 1909.05858)
    no_repeat_ngram: int = 0  # tokens in a row that the speaker may not say twice in a dialogue; 0 allows all

    def to_json(self) -> dict[str, float]:
        return {
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "repetition_penalty": self.repetition_penalty,
            "no_repeat_ngram": self.no_repeat_ngram,
        }


@dataclass(slots=True)
class Reply:
    """One generated reply.

    Attributes:
        ids: tokens, the stop token included when ``finished``.
        logprobs: log-probability of each token under the model's own distribution (temperature 1, no penalty).
        finished: False when the reply was cut at the token limit.
    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finished: bool = False


@torch.no_grad()
def generate_replies(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    sampling: Sampling,
    *,
    replies_per_prompt: int = 1,
    generator: torch.Generator | Draws | None = None,
    kept: KeptPrompts | None = None,
    said: Sequence[Sequence[Sequence[int]]] | None = None,
) -> list[list[Reply]]:
    """Generate replies to token prompts as one batch; returns ``replies_per_prompt`` replies for each prompt.

    Args:
        generator: one for the batch, or numbers that belong to each reply (`Draws`).
        kept: what earlier turns of the same dialogues left, row for row; only what is new is encoded.
        said: for each prompt the speaker's earlier replies as tokens, for ``sampling.no_repeat_ngram``.
    """
    groups = [[Reply() for _ in range(replies_per_prompt)] for _ in prompts]
    options: dict[str, Any] = {"replies_per_prompt": replies_per_prompt, "generator": generator, "kept": kept}
    for step in _decode(model, prompts, stop_ids, sampling, said=said, **options):
        for row, token, logprob in step:
            reply = groups[row // replies_per_prompt][row % replies_per_prompt]
            reply.ids.append(token)
            reply.logprobs.append(logprob)
            reply.finished = token in stop_ids
    return groups


class Chatbot:
    """A model that answers contexts in text: call it with a batch, or stream one reply."""

    def __init__(
        self, model: PreTrainedModel, prompts: PromptFormat, sampling: Sampling, *, batch_size: int = 16, seed: int = 0
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.sampling = sampling
        self.batch_size = batch_size
        self.tokens_generated = 0
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, contexts: Sequence[Context]) -> list[str]:
        """Return one reply a context, in order; contexts of like length share a batch."""
        return [replies[0] for replies in self.sample(contexts, 1)]

    def sample(self, contexts: Sequence[Context], count: int) -> list[list[str]]:
        """Return ``count`` replies for each context, in order."""
        encoded = [self.prompts.encode_prompt(context, self.sampling.max_new_tokens) for context in contexts]
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        texts: list[list[str]] = [[] for _ in encoded]
        width = max(1, self.batch_size // count)
        for start in range(0, len(order), width):
            chosen = order[start : start + width]
            batch = [encoded[index] for index in chosen]
            groups = generate_replies(
                self.model,
                batch,
                self.prompts.stop_ids,
                self.sampling,
                replies_per_prompt=count,
                generator=self._generator,
                said=[self._said(contexts[index]) for index in chosen],
            )
            for index, group in zip(chosen, groups, strict=True):
                texts[index] = [self.prompts.decode_reply(reply.ids) for reply in group]
                self.tokens_generated += sum(len(reply.ids) for reply in group)
        return texts

    def in_dialogues(self, seed: int | None = None) -> Respond:
        """Return a function that answers the turns of one set of dialogues, call by call, encoding only what is new.

        Every call gets the same dialogues in the same order, each one turn further on.

        Args:
            seed: draw these dialogues with a generator of their own, whatever was drawn before.
        """
        kept: dict[int, KeptPrompts] = defaultdict(KeptPrompts)
        generator = self._generator if seed is None else torch.Generator().manual_seed(seed)

        def respond(contexts: Sequence[Context]) -> list[str]:
            texts = []
            for start in range(0, len(contexts), self.batch_size):
                batch = contexts[start : start + self.batch_size]
                encoded = [self.prompts.encode_prompt(context, self.sampling.max_new_tokens) for context in batch]
                groups = generate_replies(
                    self.model,
                    encoded,
                    self.prompts.stop_ids,
                    self.sampling,
                    generator=generator,
                    kept=kept[start],
                    said=[self._said(context) for context in batch],
                )
                self.tokens_generated += sum(len(reply.ids) for [reply] in groups)
                texts += [self.prompts.decode_reply(reply.ids) for [reply] in groups]
            return texts

        return respond

    @torch.no_grad()
    def stream(self, context: Context) -> Iterator[str]:
        """Yield the reply to one context in pieces of text as they are generated."""
        prompt = self.prompts.encode_prompt(context, self.sampling.max_new_tokens)
        ids: list[int] = []
        shown = text = ""
        options: dict[str, Any] = {"replies_per_prompt": 1, "generator": self._generator, "said": [self._said(context)]}
        for step in _decode(self.model, [prompt], self.prompts.stop_ids, self.sampling, **options):
            ids += [token for _, token, _ in step]
            text = self.prompts.decode_reply(ids)
            if not text.endswith(("\ufffd", "\\")):  # half of a character or of an escape: wait for the rest
                yield text.removeprefix(shown)
                shown = text
        if text != shown:  # the rest never came
            yield text.removeprefix(shown)

    def _said(self, context: Context) -> list[list[int]]:
        return [self.prompts.encode_reply(turn.text) for turn in context.history if turn.speaker == "self"]


def _decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    sampling: Sampling,
    *,
    replies_per_prompt: int,
    generator: torch.Generator | Draws | None,
    kept: KeptPrompts | None = None,
    said: Sequence[Sequence[Sequence[int]]] | None = None,
) -> Iterator[list[tuple[int, int, float]]]:
    """Yield one list of (row, token, log-probability) for each step, over the rows still going."""
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    device = next(model.parameters()).device
    kept = kept or KeptPrompts()
    cache, inputs = kept.continue_with(prompts, model.config, device)
    mask = inputs["attention_mask"]
    hidden = _step(decoder, cache, **inputs)
    kept.keep(cache)
    if replies_per_prompt > 1:
        cache.batch_repeat_interleave(replies_per_prompt)
        mask = mask.repeat_interleave(replies_per_prompt, dim=0)
        hidden = hidden.repeat_interleave(replies_per_prompt, dim=0)
    rows = torch.arange(hidden.shape[0])
    position = mask.sum(dim=1)
    stops = torch.tensor(list(stop_ids))
    written = torch.empty((hidden.shape[0], 0), dtype=torch.long)
    for step in range(sampling.max_new_tokens):
        with _SkinnyLinear():
            logits = head(hidden[:, -1]).float().cpu()
        allowed = logits
        if sampling.no_repeat_ngram:
            earlier = [said[row // replies_per_prompt] if said else () for row in rows.tolist()]
            allowed = _without_repeats(logits, written, earlier, sampling.no_repeat_ngram)
        tokens = _choose(allowed, written, sampling, generator, rows)
        logprobs = torch.log_softmax(logits, dim=-1).gather(1, tokens[:, None]).squeeze(1)
        yield list(zip(rows.tolist(), tokens.tolist(), logprobs.tolist(), strict=True))
        going = torch.isin(tokens, stops, invert=True)
        if step + 1 == sampling.max_new_tokens or not bool(going.any()):
            return
        written = torch.cat([written, tokens[:, None]], dim=1)
        if not bool(going.all()):
            keep = going.nonzero().squeeze(1)
            rows, tokens, written = rows[keep], tokens[keep], written[keep]
            keep = keep.to(device)
            mask, position = mask[keep], position[keep]
            cache.batch_select_indices(keep)
        mask = torch.cat([mask, mask.new_ones(mask.shape[0], 1)], dim=1)
        inputs = {"input_ids": tokens[:, None].to(device), "attention_mask": mask, "position_ids": position[:, None]}
        with _SkinnyLinear():
            hidden = _step(decoder, cache, **inputs)
        position = position + 1


def _step(decoder: Any, cache: Any, **inputs: Tensor) -> Tensor:
    return decoder(**inputs, past_key_values=cache, use_cache=True).last_hidden_state[:, -1:]


class _SkinnyLinear(TorchFunctionMode):
    """Multiplies few rows the other way round: ``(W Xᵀ)ᵀ`` instead of ``X Wᵀ``.

    The CPU's matrix library is two to three times faster that way between 5 and 48 rows, which is where decoding
    lives (measured on AVX-512 with SmolLM2's shapes; see docs/experiments.md). Elsewhere nothing changes.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.linear and not kwargs:
            rows = args[0].numel() // args[0].shape[-1]
            plain = args[0].device.type == "cpu" and args[0].dtype == args[1].dtype == torch.float32
            if 5 <= rows <= 48 and plain:
                product = torch.mm(args[1], args[0].reshape(rows, -1).t()).t().reshape(*args[0].shape[:-1], -1)
                return product if len(args) < 3 or args[2] is None else product + args[2]
        return func(*args, **(kwargs or {}))


def _without_repeats(logits: Tensor, written: Tensor, earlier: Sequence[Sequence[Sequence[int]]], size: int) -> Tensor:
    """Forbid tokens that would complete ``size`` tokens in a row which the speaker has said already.

    The persona and the partner's lines may be taken up freely; only the speaker's own words count. Shapes: logits
    R × V, written R × t; ``earlier`` holds the earlier replies of each row.
    """
    if written.shape[1] < size - 1:
        return logits
    allowed = logits.clone()
    for row, (own, replies) in enumerate(zip(written.tolist(), earlier, strict=True)):
        ending = own[len(own) - size + 1 :]
        for reply in (own, *replies):
            for start in range(len(reply) - size + 1):
                if list(reply[start : start + size - 1]) == ending:
                    allowed[row, reply[start + size - 1]] = -math.inf
    return allowed


def _choose(
    logits: Tensor, written: Tensor, sampling: Sampling, generator: torch.Generator | Draws | None, rows: Tensor
) -> Tensor:
    """Return one token a row. Shapes: logits R × V, written R × t, rows (their numbers in the batch) and result R."""
    if sampling.repetition_penalty != 1.0 and written.shape[1]:
        logits = logits.clone()
        seen = logits.gather(1, written)
        damped = torch.where(seen > 0, seen / sampling.repetition_penalty, seen * sampling.repetition_penalty)
        logits.scatter_(1, written, damped)
    if math.isclose(sampling.temperature, 0.0):
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits / sampling.temperature, dim=-1)
    if isinstance(generator, Draws):
        return generator.choose(probabilities, rows, written.shape[1])
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)
