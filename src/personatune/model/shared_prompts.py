"""Rows in which a prompt stands once, with all its replies behind it: the one place that lays out such rows and masks.

A row reads ``prompt reply₁ reply₂ …``. Every reply's positions go on where the prompt's end, and a mask lets a reply's
token see the prompt and its own reply, so each reply is computed (and trained) as if it stood alone behind the prompt,
with gradients right through the shared prompt. A row of one reply is the plain layout: an ordinary causal row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PROMPT = 0
PADDING = -1


@dataclass(frozen=True)
class SharedRows:
    """Right-padded rows: B rows of T tokens with N replies of M tokens in all, R the longest.

    Attributes:
        input_ids, positions: B × T.
        segments: B × T; 0 in the prompt, n in the row's n-th reply, -1 in padding.
        reading: M; of each reply token the place, among the B · T, of the hidden state that predicts it.
        tokens: M; the replies' tokens, reply by reply.
        ends: N; the place of each reply's last token among the B · T.
        lengths: N.
    """

    input_ids: Tensor
    positions: Tensor
    segments: Tensor
    reading: Tensor
    tokens: Tensor
    ends: Tensor
    lengths: tuple[int, ...]

    @property
    def seen(self) -> Tensor:
        """Return which token (second axis) sees which (third), B × T × T; padding sees the prompt, nobody sees it."""
        earlier_T_T = torch.ones(2 * self.segments.shape[1:], dtype=torch.bool, device=self.segments.device).tril()
        of_B_1_T, by_B_T_1 = self.segments[:, None, :], self.segments[:, :, None]
        return earlier_T_T & ((of_B_1_T == PROMPT) | ((of_B_1_T == by_B_T_1) & (of_B_1_T != PADDING)))

    def inputs(self, dtype: torch.dtype) -> dict[str, Any]:
        """Return what a decoder needs beside the tokens; plain rows get the plain mask."""
        if int(self.segments.max()) <= 1:
            return {"attention_mask": (self.segments != PADDING).long()}
        return {"attention_mask": additive_mask(self.seen, dtype), "position_ids": self.positions}

    def reply_mask(self) -> Tensor:
        """Return N × R, True on a reply's own tokens."""
        lengths_N = torch.tensor(self.lengths, device=self.tokens.device)
        return torch.arange(max(self.lengths), device=self.tokens.device) < lengths_N[:, None]

    def by_reply(self, values_M: Tensor) -> Tensor:
        """Return values of reply tokens, M, as N × R, 0 behind a reply's end."""
        mask_N_R = self.reply_mask()
        return torch.zeros(mask_N_R.shape, dtype=values_M.dtype, device=values_M.device).masked_scatter(
            mask_N_R, values_M
        )


def lay_out(
    rows: Sequence[tuple[Sequence[int], Mapping[int, Sequence[int]]]], pad_id: int, device: torch.device
) -> SharedRows:
    """Lay out rows, each a prompt and its replies; a reply's key is its place among the N replies of the result.

    A prompt needs a token at least where replies stand behind it: it predicts their first ones.
    """
    width = max(len(prompt) + sum(map(len, replies.values())) for prompt, replies in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    positions = torch.zeros((len(rows), width), dtype=torch.long)
    segments = torch.full((len(rows), width), PADDING, dtype=torch.long)
    spans: dict[int, tuple[int, int, int]] = {}
    for row, (prompt, replies) in enumerate(rows):
        begin, last_of_prompt = len(prompt), row * width + len(prompt) - 1
        ids[row, :begin] = torch.tensor(prompt, dtype=torch.long)
        positions[row, :begin] = torch.arange(begin)
        segments[row, :begin] = PROMPT
        for segment, (place, reply) in enumerate(replies.items(), start=1):
            end = begin + len(reply)
            ids[row, begin:end] = torch.tensor(reply, dtype=torch.long)
            positions[row, begin:end] = torch.arange(len(prompt), len(prompt) + len(reply))
            segments[row, begin:end] = segment
            spans[place] = (last_of_prompt, row * width + begin, len(reply))
            begin = end
    reading: list[int] = []
    for place in range(len(spans)):
        last_of_prompt, begin, length = spans[place]
        reading += [last_of_prompt, *range(begin, begin + length - 1)][:length]
    lengths = tuple(spans[place][2] for place in range(len(spans)))
    places = [
        begin + step for place in range(len(spans)) for begin in [spans[place][1]] for step in range(lengths[place])
    ]
    ends = [spans[place][1] + spans[place][2] - 1 for place in range(len(spans))]
    tokens = ids.flatten()[torch.tensor(places, dtype=torch.long)]
    return SharedRows(
        ids.to(device),
        positions.to(device),
        segments.to(device),
        torch.tensor(reading, dtype=torch.long, device=device),
        tokens.to(device),
        torch.tensor(ends, dtype=torch.long, device=device),
        lengths,
    )


def additive_mask(seen_B_T_T: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mask as B × 1 × T × T numbers to add to attention scores: every implementation takes these."""
    mask = torch.zeros(seen_B_T_T.shape, dtype=dtype, device=seen_B_T_T.device)
    return mask.masked_fill_(~seen_B_T_T, torch.finfo(dtype).min)[:, None]


def look_back(config: Any) -> float:
    """Return how many tokens a layer can look back on; beyond them a mask of shared rows would see too much."""
    return getattr(config, "sliding_window", None) or float("inf")
