"""Keys and values of many rows, each from slot 0 on: rows grow on their own, without padding between their turns.

`RowCache` is for dialogues (every row its own text); `SharedPromptCache` for several replies to each prompt, which is
encoded and kept once. Attention works on whole buffers, so finished rows are moved behind the others now and then
rather than taken out: a dialogue's next turn finds them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from personatune.model.lean_decoder import LeanDecoder

_ROOM = 128  # slots that are made room for at once
_PACKED = 512  # tokens encoded together: as fast as more, and what lies between the layers stays in the CPU's cache
_SPAN = 128  # tokens of one row whose attention is one call
_SPARSE = 0.75  # share of rows still going below which finished ones are moved out of the way


@dataclass(slots=True)
class _Span:
    """Tokens of one row within a packed batch: columns ``begin`` to ``end``, slots ``start`` on; G·n × slots mask."""

    slot: int
    begin: int
    end: int
    start: int
    mask: Tensor


class RowCache:
    """The cache of R rows. Attributes: ``lengths`` counts each row's filled slots; cut it to forget a row's end."""

    def __init__(self, lean: LeanDecoder, rows: int) -> None:
        self._lean = lean
        self._slots = list(range(rows))  # where each row lies in the buffers
        self._buffers: list[tuple[Tensor, Tensor]] = []  # of each layer: rows × K × slots × D
        self.lengths = [0] * rows

    @torch.inference_mode()
    def extend(self, tokens: Sequence[Sequence[int]], rows: Sequence[int] | None = None) -> Tensor:
        """Encode further tokens, one or more each, of these rows (all, if none are named).

        Returns the hidden state of each one's last token, R × H.
        """
        rows = range(len(self.lengths)) if rows is None else rows
        self._make_room(max(self.lengths[row] + len(new) for row, new in zip(rows, tokens, strict=True)))
        hidden: list[Tensor] = []
        for batch in _packed(tokens):
            spans: list[_Span] = []
            ends: list[int] = []
            for index in batch:
                spans += self._causal_spans(rows[index], ends[-1] if ends else 0, len(tokens[index]))
                ends.append(spans[-1].end)
            last = torch.tensor(ends) - 1
            hidden.append(self._run(spans, [token for index in batch for token in tokens[index]], None, last))
            for index in batch:
                self.lengths[rows[index]] += len(tokens[index])
        return torch.cat(hidden)

    @torch.inference_mode()
    def read_tree(self, row: int, tokens: Sequence[int], depths: Sequence[int], seen: Tensor) -> Tensor:
        """Return the hidden states, (N + M) × H, of N tokens in a row and a tree of M behind them.

        ``lengths`` stays as it is.

        Args:
            depths: M; position of each of the tree's tokens behind the others.
            seen: M × M, bool: which of the tree's tokens see which.
        """
        start, new = self.lengths[row], len(tokens) - len(depths)
        filled = start + new
        self._make_room(filled + len(depths))
        spans = self._causal_spans(row, 0, new)
        if len(depths):
            mask = torch.zeros(len(depths), filled + len(depths))
            mask[:, filled:].masked_fill_(~seen, -torch.inf)
            spans.append(_Span(self._slots[row], new, len(tokens), filled, mask.repeat(1, 1, self._group, 1)))
        positions = torch.cat([torch.arange(start, filled), torch.tensor(depths, dtype=torch.long) + filled])
        return self._run(spans, tokens, positions, None)

    @torch.inference_mode()
    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Encode one further token of each of these rows; returns their hidden states, R × H."""
        lengths = [self.lengths[row] for row in rows]
        self._make_room(max(lengths) + 1)
        self._gather(rows)
        slots, positions = torch.tensor([self._slots[row] for row in rows]), torch.tensor(lengths)
        used, width = int(slots.max()) + 1, max(lengths) + 1
        mask = torch.zeros(used, 1, 1, width)  # rows that are over see everything: nobody looks at their result
        behind = torch.arange(width) > positions[:, None]
        mask[slots, 0, 0] = torch.zeros(len(rows), width).masked_fill_(behind, -torch.inf)
        whole = slots.tolist() == list(range(used))
        kv_heads, room = self._buffers[0][0].shape[1:3]  # a buffer is rows x heads x slots lines of D numbers
        lines = ((slots[:, None] * kv_heads + torch.arange(kv_heads)) * room + positions[:, None]).flatten()

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self._buffers[layer]
            for buffer, new in ((keys, k), (values, v)):
                buffer.view(-1, buffer.shape[-1]).index_copy_(0, lines, new.permute(2, 0, 1).flatten(0, 1))
            queries = self._queries(q)
            if not whole:
                spread = queries.new_zeros(used, *queries.shape[1:])
                spread[slots] = queries
                queries = spread
            heads, _ = _flash(queries, keys[:used, :, :width], values[:used, :, :width], mask)
            return (heads if whole else heads[slots]).flatten(1).t()

        hidden = self._lean.run(torch.tensor(tokens), positions, attend)
        for row in rows:
            self.lengths[row] += 1
        return hidden

    @property
    def _group(self) -> int:
        return self._lean.heads // self._lean.kv_heads

    def _queries(self, q_A_D_R: Tensor) -> Tensor:
        """Return queries as R × K × G × D: those that share a key are read as one sequence."""
        width, rows = q_A_D_R.shape[1:]
        # contiguous: the attention kernel takes for granted that the last dimension is
        return q_A_D_R.permute(2, 0, 1).contiguous().view(rows, self._lean.kv_heads, self._group, width)

    def _causal_spans(self, row: int, begin: int, new: int) -> list[_Span]:
        """Return spans over ``new`` tokens of a row; short ones, so that few of the scores are masked out."""
        spans = []
        for first in range(0, new, _SPAN):
            count, start = min(_SPAN, new - first), self.lengths[row] + first
            mask = torch.full((count, start + count), -torch.inf).triu_(start + 1).repeat(1, 1, self._group, 1)
            spans.append(_Span(self._slots[row], begin + first, begin + first + count, start, mask))
        return spans

    def _run(self, spans: list[_Span], tokens: Sequence[int], positions: Tensor | None, last: Tensor | None) -> Tensor:
        if positions is None:
            positions = torch.cat([torch.arange(one.start, one.start + one.end - one.begin) for one in spans])
        kv_heads, group, width = self._lean.kv_heads, self._group, self._lean.head_width
        wanted = set() if last is None else set(last.tolist())

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self._buffers[layer]
            short = last is not None and layer + 1 == self._lean.layers
            q_K_G_N_D = q.view(kv_heads, group, width, -1).transpose(2, 3).contiguous()
            k_K_N_D, v_K_N_D = k.transpose(1, 2).contiguous(), v.transpose(1, 2).contiguous()
            heads = q.new_empty(kv_heads, group, width, len(wanted) if short else q.shape[-1])
            column = 0
            for one in spans:
                stop = one.start + one.end - one.begin
                keys[one.slot, :, one.start : stop] = k_K_N_D[:, one.begin : one.end]
                values[one.slot, :, one.start : stop] = v_K_N_D[:, one.begin : one.end]
                if short and one.end - 1 not in wanted:
                    continue
                begin, mask = (one.end - 1, None) if short else (one.begin, one.mask)
                result, _ = _flash(
                    q_K_G_N_D[:, :, begin : one.end].reshape(1, kv_heads, -1, width),
                    keys[one.slot : one.slot + 1, :, :stop],
                    values[one.slot : one.slot + 1, :, :stop],
                    mask,
                )
                result = result.view(kv_heads, group, -1, width)
                heads[..., column : column + result.shape[2]] = result.transpose(2, 3)
                column += result.shape[2]
            return heads.view(kv_heads * group * width, -1)

        return self._lean.run(torch.tensor(tokens), positions, attend, last)

    def _make_room(self, longest: int) -> None:
        shape = (len(self._slots), self._lean.kv_heads, longest + _ROOM, self._lean.head_width)
        if not self._buffers:
            self._buffers = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(self._lean.layers)]
        elif self._buffers[0][0].shape[2] < longest:
            filled = max(self.lengths)
            for layer, pair in enumerate(self._buffers):
                wider = (torch.zeros(shape), torch.zeros(shape))
                for new, old in zip(wider, pair, strict=True):
                    new[:, :, :filled] = old[:, :, :filled]
                self._buffers[layer] = wider

    def _gather(self, rows: Sequence[int]) -> None:
        """Exchange finished rows that lie before rows still going, once these are few among them."""
        if len(rows) > _SPARSE * (max(self._slots[row] for row in rows) + 1):
            return
        row_at = {slot: row for row, slot in enumerate(self._slots)}
        going = set(rows)
        far = [row for row in rows if self._slots[row] >= len(rows)]
        near = [row_at[slot] for slot in range(len(rows)) if row_at[slot] not in going]
        here, there = torch.tensor([self._slots[r] for r in far]), torch.tensor([self._slots[r] for r in near])
        filled = max(self.lengths)
        for pair in self._buffers:
            for buffer in pair:
                kept = buffer[here, :, :filled]
                buffer[here, :, :filled] = buffer[there, :, :filled]
                buffer[there, :, :filled] = kept
        for one, other in zip(far, near, strict=True):
            self._slots[one], self._slots[other] = self._slots[other], self._slots[one]


class SharedPromptCache:
    """Prompts that are kept once, and what their replies add: reply ``r`` belongs to prompt ``r // replies``.

    All replies begin together; those that are over are no longer given to `step`.
    """

    def __init__(self, lean: LeanDecoder, prompts: Sequence[Sequence[int]], replies: int) -> None:
        self._lean = lean
        self._replies = replies
        self._prompts = RowCache(lean, len(prompts))
        self.hidden = self._prompts.extend(prompts)
        self._filled = 0
        self._own: list[tuple[Tensor, Tensor]] = []

    @torch.inference_mode()
    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Encode the next token of each of these replies; returns their hidden states, R × H."""
        lengths = torch.tensor(self._prompts.lengths)
        longest, prompts, filled = int(lengths.max()), len(lengths), self._filled
        index = torch.tensor(rows)
        every = len(rows) == prompts * self._replies
        mask = torch.zeros(prompts, 1, 1, longest)
        mask.masked_fill_((torch.arange(longest) >= lengths[:, None])[:, None, None], -torch.inf)
        self._make_room(filled + 1)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            own_keys, own_values = self._own[layer]
            keys, values = self._prompts._buffers[layer]
            queries = self._prompts._queries(q)
            if every:
                own_keys[:, :, filled], own_values[:, :, filled] = k.permute(2, 0, 1), v.permute(2, 0, 1)
            else:
                own_keys[index, :, filled], own_values[index, :, filled] = k.permute(2, 0, 1), v.permute(2, 0, 1)
                spread = queries.new_zeros(len(own_keys), *queries.shape[1:])
                spread[index] = queries
                queries = spread
            _, kv_heads, group, width = queries.shape
            grouped = queries.view(prompts, self._replies, kv_heads, group, width).transpose(1, 2)
            read, read_weight = _flash(
                grouped.reshape(prompts, kv_heads, -1, width), keys[:, :, :longest], values[:, :, :longest], mask
            )
            read = read.view(prompts, kv_heads, self._replies, group, width).transpose(1, 2)
            read_weight = read_weight.reshape(prompts, kv_heads, self._replies, group).transpose(1, 2)
            said, said_weight = _flash(queries, own_keys[:, :, : filled + 1], own_values[:, :, : filled + 1], None)
            share = torch.sigmoid(read_weight.reshape(said_weight.shape) - said_weight)[..., None]
            heads = torch.lerp(said, read.reshape(said.shape), share).flatten(1)
            return (heads if every else heads[index]).t()

        positions = lengths.repeat_interleave(self._replies)[index] + filled
        hidden = self._lean.run(torch.tensor(tokens), positions, attend)
        self._filled += 1
        return hidden

    def _make_room(self, longest: int) -> None:
        if self._own and self._own[0][0].shape[2] >= longest:
            return
        rows = len(self._prompts.lengths) * self._replies
        shape = (rows, self._lean.kv_heads, longest + _ROOM // 4, self._lean.head_width)
        own = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(self._lean.layers)]
        for wider, old in zip(own, self._own, strict=False):
            for new, buffer in zip(wider, old, strict=True):
                new[:, :, : buffer.shape[2]] = buffer
        self._own = own


def _flash(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return attention, and the logarithm of the sum over what was attended to, by which two parts are weighted.

    The kernel is called by its name: `scaled_dot_product_attention` takes the slow way, with copies of all keys, where
    one line of a mask holds for all queries of a row.
    """
    result, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, False, attn_mask=mask)
    return result, weight


def _packed(tokens: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the indices of token lists in order, cut into batches of few tokens."""
    batches: list[list[int]] = []
    count = 0
    for row, new in enumerate(tokens):
        if not batches or count + len(new) > _PACKED:
            batches.append([])
            count = 0
        batches[-1].append(row)
        count += len(new)
    return batches
