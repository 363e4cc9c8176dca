"""A chatbot that thinks of several replies and says one: best-of-n, and re-ranking by whatever judge picks.

The first candidate is the reply that plain decoding gives; the others are drawn from the model's own distribution. What
picks one of them is given from outside: a reward model, an entailment judge, or anything else.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from personatune.dialogue import Context, Respond
from personatune.model.generation import Chatbot, Reply, Sampling, generate_replies
from personatune.model.kept_prompts import KeptPrompts
from personatune.model.prompts import PromptFormat

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Candidate:
    """A reply that may be said, and its mean token log-likelihood under the model (nats, end token included)."""

    text: str
    logprob: float


Pick = Callable[[Sequence[Context], Sequence[Sequence[Candidate]]], list[int]]
"""Returns for each context the place of the candidate to say."""


class PickingChatbot(Chatbot):
    """A `Chatbot` that draws candidates and says the one that is picked.

    Args:
        sampling: of the first candidate; the others are drawn at temperature 1, all else the same.
        pick: chooses among a context's candidates.
        candidates: how many each reply is chosen from, the plain one among them.
        name: of the strategy, printed with its figures.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: PromptFormat,
        sampling: Sampling,
        pick: Pick,
        *,
        candidates: int,
        name: str,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__(model, prompts, sampling, batch_size=batch_size, seed=seed)
        if candidates < 1:
            raise ValueError(f"{candidates} candidates: a reply is chosen from one at least")
        self.pick = pick
        self.candidates = candidates
        self.name = name
        self._wide = replace(sampling, temperature=1.0)

    @property
    def decoding(self) -> dict[str, Any]:
        return {**super().decoding, "strategy": self.name}

    def __call__(self, contexts: Sequence[Context]) -> list[str]:
        """Return one reply a context, in order; contexts of like length share a batch."""
        lengths = [len(self.prompts.encode_prompt(context, self.sampling.max_new_tokens)) for context in contexts]
        order = sorted(range(len(contexts)), key=lengths.__getitem__)
        texts = [""] * len(contexts)
        for start in range(0, len(order), self.batch_size):
            numbers = order[start : start + self.batch_size]
            said = self._say([contexts[number] for number in numbers], self._generator)
            for number, text in zip(numbers, said, strict=True):
                texts[number] = text
        return texts

    def in_dialogues(self, seed: int | None = None) -> Respond:
        """Return a function that answers the turns of one set of dialogues (see `Chatbot.in_dialogues`)."""
        kept: dict[int, KeptPrompts] = defaultdict(KeptPrompts)
        generator = self._generator if seed is None else torch.Generator().manual_seed(seed)

        def respond(contexts: Sequence[Context]) -> list[str]:
            starts = range(0, len(contexts), self.batch_size)
            parts = [(kept[start], contexts[start : start + self.batch_size]) for start in starts]
            return [text for own, batch in parts for text in self._say(batch, generator, own)]

        return respond

    def stream(self, context: Context) -> Iterator[str]:
        """Yield the reply in one piece: it is known when the last candidate is."""
        yield self._say([context], self._generator)[0]

    def propose(
        self, contexts: Sequence[Context], generator: torch.Generator, kept: KeptPrompts | None = None
    ) -> list[list[Candidate]]:
        """Return each context's candidates, the plain reply first."""
        encoded = [self.prompts.encode_prompt(context, self.sampling.max_new_tokens) for context in contexts]
        said = [self._said(context) for context in contexts]
        groups = generate_replies(
            self.model, encoded, self.prompts.stop_ids, self.sampling, generator=generator, kept=kept, said=said
        )
        more = self.candidates - 1
        width = max(1, self.batch_size // max(1, more))
        for start in range(0, len(encoded) if more else 0, width):
            part = slice(start, start + width)
            drawn = generate_replies(
                self.model,
                encoded[part],
                self.prompts.stop_ids,
                self._wide,
                replies_per_prompt=more,
                generator=generator,
                said=said[part],
            )
            for group, others in zip(groups[part], drawn, strict=True):
                group.extend(others)
        self.tokens_generated += sum(len(reply.ids) for group in groups for reply in group)
        return [[self._candidate(reply) for reply in group] for group in groups]

    def _say(
        self, contexts: Sequence[Context], generator: torch.Generator, kept: KeptPrompts | None = None
    ) -> list[str]:
        proposed = self.propose(contexts, generator, kept)
        places = self.pick(contexts, proposed)
        return [group[place].text for group, place in zip(proposed, places, strict=True)]

    def _candidate(self, reply: Reply) -> Candidate:
        return Candidate(self.prompts.decode_reply(reply.ids), math.fsum(reply.logprobs) / len(reply.logprobs))
