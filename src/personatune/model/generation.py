"""Batched decoding: replies with their log-probabilities for training, texts for evaluation, a stream for the chat.

Logits are computed for the last position only, a prompt is encoded once for all its replies, and rows that
are finished leave the batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from personatune.dialogue import Context, Respond
from personatune.model.decoding import Said, decode
from personatune.model.draws import Draws
from personatune.model.kept_prompts import KeptPrompts
from personatune.model.prompts import PromptFormat
from personatune.model.sampling import Sampling
from personatune.model.streaming import ReplyStream

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Chatbot", "Reply", "Sampling", "generate_replies"]


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


@torch.inference_mode()
def generate_replies(
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
) -> list[list[Reply]]:
    """Generate replies to token prompts as one batch; returns ``replies_per_prompt`` replies for each prompt.

    Args:
        generator: one for the batch, or numbers that belong to each reply (`Draws`).
        kept: what earlier turns of the same dialogues left, row for row; only what is new is encoded.
        said: for each prompt the speaker's earlier replies as tokens, for ``sampling.no_repeat_ngram``.
        with_logprobs: otherwise the log-probabilities are NaN, and greedy decoding is a little faster.
    """
    groups = [[Reply() for _ in range(replies_per_prompt)] for _ in prompts]
    options: dict[str, Any] = {"generator": generator, "kept": kept, "said": said, "with_logprobs": with_logprobs}
    for step in decode(model, prompts, stop_ids, sampling, replies_per_prompt=replies_per_prompt, **options):
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
        self.seed = seed
        self.tokens_generated = 0
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def decoding(self) -> dict[str, Any]:
        """How replies are drawn, as printed with figures of them."""
        return {**self.sampling.to_json(), **self.prompts.told}

    def __call__(self, contexts: Sequence[Context]) -> list[str]:
        """Return one reply a context, in order; contexts of like length share a batch."""
        return [replies[0] for replies in self.sample(contexts, 1)]

    @property
    def draws(self) -> str:
        """The state of what it draws with, in hexadecimal digits; set, it goes on from there."""
        return self._generator.get_state().numpy().tobytes().hex()

    @draws.setter
    def draws(self, state: str) -> None:
        self._generator.set_state(torch.frombuffer(bytearray.fromhex(state), dtype=torch.uint8))

    def by_length(self, contexts: Sequence[Context]) -> list[int]:
        """Return the numbers of contexts in the order in which they are answered: shorter prompts first."""
        lengths = [len(self.prompts.encode_prompt(context, self.sampling.max_new_tokens)) for context in contexts]
        return sorted(range(len(lengths)), key=lambda index: lengths[index])

    def width(self, count: int) -> int:
        """Return how many contexts are answered together with ``count`` replies each."""
        return max(1, self.batch_size // count)

    def sample(self, contexts: Sequence[Context], count: int) -> list[list[str]]:
        """Return ``count`` replies for each context, in order."""
        encoded = [self.prompts.encode_prompt(context, self.sampling.max_new_tokens) for context in contexts]
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        texts: list[list[str]] = [[] for _ in encoded]
        width = self.width(count)
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
                with_logprobs=False,
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
                    with_logprobs=False,
                )
                self.tokens_generated += sum(len(reply.ids) for [reply] in groups)
                texts += [self.prompts.decode_reply(reply.ids) for [reply] in groups]
            return texts

        return respond

    def stream(self, context: Context) -> Iterator[str]:
        """Yield the reply to one context in pieces of text as they are generated."""
        yield from self.begin(context)

    def begin(
        self, context: Context, sampling: Sampling | None = None, generator: torch.Generator | None = None
    ) -> ReplyStream:
        """Return the reply to one context, to be iterated over; nothing is generated before that.

        Args:
            sampling: for this reply alone; the chatbot's own by default.
            generator: random numbers for this reply alone, whatever is drawn for others meanwhile.

        Raises:
            UserError: the persona and the last turn alone don't fit.
        """
        return ReplyStream(self.model, self.prompts, context, sampling or self.sampling, generator or self._generator)

    def _said(self, context: Context) -> list[list[int]]:
        return [self.prompts.encode_reply(turn.text) for turn in context.history if turn.speaker == "self"]
