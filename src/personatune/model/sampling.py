"""How the next token is chosen from the logits."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from personatune.model.draws import Draws

_BLOCK = 64  # tokens whose probabilities are added up before one of them is chosen


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn. ``temperature`` 0 is greedy; 1 with no penalty is the model's own distribution."""

    max_new_tokens: int
    temperature: float = 0.0
    repetition_penalty: float = 1.0  # of tokens of the reply itself (Keskar et al. 2019, arXiv 1909.05858)
    no_repeat_ngram: int = 0  # tokens in a row that the speaker may not say twice in a dialogue; 0 allows all
    top_p: float = 1.0  # the likeliest tokens that reach this share together (Holtzman et al. 2020, arXiv 1904.09751)

    def to_json(self) -> dict[str, float]:
        told: dict[str, float] = {
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "repetition_penalty": self.repetition_penalty,
            "no_repeat_ngram": self.no_repeat_ngram,
        }
        return told if self.top_p == 1.0 else {**told, "top_p": self.top_p}


class Spoken:
    """What one speaker has said in a dialogue, asked for the tokens that would say ``size`` of them in a row again.

    The persona and the partner's lines may be taken up freely; only the speaker's own words count.
    """

    def __init__(self, size: int, earlier: Sequence[Sequence[int]] = ()) -> None:
        self.written: list[int] = []
        self._size = size
        self._followers: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
        for reply in earlier if size else ():
            for end in range(size, len(reply) + 1):
                self._remember(reply[end - size : end])

    def append(self, token: int) -> None:
        """Add a token of the reply that is being written."""
        self.written.append(token)
        if self._size and len(self.written) >= self._size:
            self._remember(self.written[-self._size :])

    def forbidden(self) -> list[int]:
        """Return the tokens that may not come next."""
        begun = len(self.written) - self._size + 1
        return list(self._followers.get(tuple(self.written[begun:]), ())) if self._size and begun >= 0 else []

    def _remember(self, words: Sequence[int]) -> None:
        self._followers[tuple(words[:-1])].add(words[-1])


def choose_tokens(
    logits_R_V: Tensor,
    spoken: Sequence[Spoken],
    sampling: Sampling,
    generator: torch.Generator | Draws | None,
    *,
    rows: Sequence[int] = (),
    with_logprobs: bool = True,
) -> tuple[list[int], list[float]]:
    """Return one token a row, and its log-probability under the model's own distribution where that is asked for.

    Args:
        logits_R_V: may be written over.
        rows: the replies' numbers in the batch, for `Draws`.
        with_logprobs: otherwise they are NaN: greedy choice then needs no sum over the vocabulary.
    """
    greedy = math.isclose(sampling.temperature, 0.0)
    altered = sampling.repetition_penalty != 1.0 or sampling.no_repeat_ngram > 0
    as_sampled = not greedy and not altered and sampling.temperature == sampling.top_p == 1.0
    own = logits_R_V.clone() if altered and with_logprobs else logits_R_V
    if altered:
        _forbid_and_damp(logits_R_V, spoken, sampling.repetition_penalty)
    if greedy:
        tokens_R_1 = logits_R_V.argmax(dim=-1, keepdim=True)
    else:
        scaled = logits_R_V if sampling.temperature == 1.0 else logits_R_V / sampling.temperature
        probabilities_R_V = torch.softmax(scaled, dim=-1)
        if sampling.top_p < 1.0:
            probabilities_R_V = _nucleus(probabilities_R_V, sampling.top_p)
        if isinstance(generator, Draws):
            random_R_1 = generator.numbers(torch.tensor(rows), len(spoken[0].written))[:, None]
        else:
            random_R_1 = torch.rand(len(logits_R_V), 1, generator=generator, dtype=torch.float64)
        tokens_R_1 = _draw(probabilities_R_V, random_R_1)
    tokens = tokens_R_1.squeeze(1).tolist()
    if not with_logprobs:
        return tokens, [math.nan] * len(tokens)
    if as_sampled:
        return tokens, probabilities_R_V.gather(1, tokens_R_1).log_().squeeze(1).tolist()
    logprobs_R_1 = own.gather(1, tokens_R_1) - own.logsumexp(dim=-1, keepdim=True)
    return tokens, logprobs_R_1.squeeze(1).tolist()


def _forbid_and_damp(logits_R_V: Tensor, spoken: Sequence[Spoken], penalty: float) -> None:
    for row, own in enumerate(spoken):
        if penalty != 1.0 and own.written:
            seen = torch.tensor(sorted(set(own.written)))
            logits = logits_R_V[row, seen]
            logits_R_V[row, seen] = torch.where(logits > 0, logits / penalty, logits * penalty)
        forbidden = own.forbidden()
        if forbidden:
            logits_R_V[row, forbidden] = -math.inf


def _nucleus(probabilities_R_V: Tensor, share: float) -> Tensor:
    """Return the probabilities with 0 for all but the likeliest tokens that reach ``share`` together.

    The token that crosses the share is kept, so one always is. The sum is no longer 1; `_draw` needs none.
    """
    sorted_R_V, index_R_V = probabilities_R_V.sort(dim=-1, descending=True)
    before_R_V = sorted_R_V.cumsum(dim=-1) - sorted_R_V
    sorted_R_V[before_R_V >= share] = 0.0
    return torch.zeros_like(sorted_R_V).scatter_(1, index_R_V, sorted_R_V)


def _draw(probabilities_R_V: Tensor, random_R_1: Tensor) -> Tensor:
    """Draw one token a row, R × 1, by the inverse of the distribution function: one random number a row.

    Sums are in float64, first over blocks of tokens, then within the block that was met. `torch.multinomial` draws a
    number for every token of the vocabulary: 320 ms for 64 rows of 49,152 where this takes 13.
    """
    words = probabilities_R_V.shape[1]
    whole = words // _BLOCK
    if whole < _BLOCK:
        return _meet(probabilities_R_V.double(), random_R_1)[0]
    blocks_R_W = probabilities_R_V[:, : whole * _BLOCK].unflatten(1, (whole, _BLOCK)).sum(dim=-1).double()
    rest_R_1 = probabilities_R_V[:, whole * _BLOCK :].sum(dim=-1, keepdim=True).double()
    block_R_1, share_R_1 = _meet(torch.cat([blocks_R_W, rest_R_1], dim=1), random_R_1)
    index_R_L = block_R_1 * _BLOCK + torch.arange(_BLOCK)
    inside_R_L = probabilities_R_V.gather(1, index_R_L.clamp(max=words - 1)).double()
    inside_R_L.masked_fill_(index_R_L >= words, 0.0)
    return block_R_1 * _BLOCK + _meet(inside_R_L, share_R_1)[0]


def _meet(weights_R_W: Tensor, random_R_1: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index that a number between 0 and 1 meets in each row, never one of weight 0, and how far into it."""
    below_R_W = weights_R_W.cumsum(dim=-1)
    point_R_1 = random_R_1.clamp(max=1 - 1e-12) * below_R_W[:, -1:]
    index_R_1 = torch.searchsorted(below_R_W, point_R_1, right=True)
    weight_R_1 = weights_R_W.gather(1, index_R_1)
    return index_R_1, 1 - (below_R_W.gather(1, index_R_1) - point_R_1) / weight_R_1
