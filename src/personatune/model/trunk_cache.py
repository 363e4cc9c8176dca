"""The trunk's output of prompts and replies: computed once a token, read by every branch in every epoch.

Replies to one prompt share a row, so the prompt is computed and stored once (`shared_prompts`). A branch that begins
higher than the others finds its input here too, once `TrunkCache.keep` was given it. What doesn't fit under the limit
goes to safetensors files, which are memory-mapped when they are read. A file carries the fingerprints of the model
that made it and of the tokens in it: an interrupted run finds its files and goes on, another model's are refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from personatune.errors import UserError
from personatune.model.branches import SplitModel, Trunk
from personatune.model.shared_prompts import SharedRows
from personatune.model.shared_replies import Filed, Piece, SharedReplies
from personatune.storage import replacing


class TrunkCache(SharedReplies):
    """`SharedReplies` whose trunk output is computed once, on construction.

    Args:
        folder: where files go when more than ``split.trunk_memory`` bytes are needed; None keeps all in memory.
        advance: told the number of replies whenever a batch of them is done.

    Raises:
        UserError: ``folder`` holds the trunk cache of another model, or can't be written.
    """

    def __init__(
        self,
        split: SplitModel,
        items: Sequence[tuple[Sequence[int], Sequence[int]]],
        pad_id: int,
        *,
        own: Sequence[int] | None = None,
        folder: Path | None = None,
        advance: Callable[[int], None] = lambda _count: None,
    ) -> None:
        super().__init__(split, items, pad_id, own)
        self.folder = folder
        self._bytes = 0
        self._batches: Counter[int] = Counter()
        if split.trunk_layers:
            for numbers in self.buckets():
                self._keep(numbers, split.trunk_layers, lambda rows: split.trunk(rows).hidden)
                advance(len(numbers))

    def batch(self, numbers: Sequence[int], below: int | None = None) -> Trunk:
        """Return the replies ``numbers``, in this order, each prompt once; no number may come twice.

        Args:
            below: how many layers they have gone through: those that `keep` was given, or None, the trunk's.
        """
        below = self.split.trunk_layers if below is None else below
        chosen = self.chosen(numbers)
        rows = self.rows(chosen)
        if below == 0:
            return Trunk(rows, None, 0)
        parts = [_part(piece, below, list(places)) for piece, places in chosen]
        hidden = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
        return Trunk(rows, hidden.to(self.split.device), below)

    def keep(self, numbers: Sequence[int], raised: Trunk) -> None:
        """Keep a batch of `buckets` as it is above more layers than the trunk's too (see `SplitModel.raising`)."""
        there = all(raised.below in piece.kept for piece, _ in self.chosen(numbers))
        if raised.hidden is not None and not there:
            self._keep(numbers, raised.below, lambda _rows: raised.hidden)

    @property
    def in_memory(self) -> bool:
        """Say whether nothing lies in files: `clear` then takes nothing away."""
        return not any(isinstance(kept, Filed) for piece in self.pieces for kept in piece.kept.values())

    def clear(self) -> None:
        """Remove the files."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _keep(self, numbers: Sequence[int], below: int, compute: Callable[[SharedRows], Tensor | None]) -> None:
        """Keep what whole pieces are above ``below`` layers, B × T × H, in memory or, beyond the limit, in a file."""
        chosen = self.chosen(numbers)
        pieces = [piece for piece, _ in chosen]

        def computed() -> list[Tensor]:
            hidden_B_T_H = compute(self.rows(chosen))
            assert hidden_B_T_H is not None  # there are layers below
            return [row[: piece.tokens].to("cpu", copy=True) for row, piece in zip(hidden_B_T_H, pieces, strict=True)]

        self._bytes += sum(piece.tokens for piece in pieces) * self.split.token_bytes
        if self.folder is None or self._bytes <= self.split.trunk_memory:
            for piece, hidden in zip(pieces, computed(), strict=True):
                piece.kept[below] = hidden
        else:
            self._spill(pieces, below, computed, self.folder / f"trunk-{below}-{self._batches[below]:06d}.safetensors")
        self._batches[below] += 1

    def _spill(self, pieces: Sequence[Piece], below: int, computed: Callable[[], list[Tensor]], file: Path) -> None:
        """Write a batch to a file, unless an interrupted run left the same one."""
        from safetensors.torch import save_file

        marks = {"format": "pt", "model": self.split.fingerprint(below), "tokens": _tokens_fingerprint(pieces)}
        found = _marks(file) if file.is_file() else {}
        if found and found.get("model") != marks["model"]:
            raise UserError(
                f"{file}: a trunk cache from another model (made by {found.get('model', 'an unknown one')[:12]}, "
                f"this one is {marks['model'][:12]}); delete {file.parent} to have it made again"
            )
        if found.get("tokens") != marks["tokens"]:
            with replacing(file) as temporary:
                save_file({str(place): hidden for place, hidden in enumerate(computed())}, temporary, marks)
        for place, piece in enumerate(pieces):
            piece.kept[below] = Filed(file, str(place))


def _part(piece: Piece, below: int, numbers: Sequence[int]) -> Tensor:
    """Return what a piece's prompt and some of its replies are above ``below`` layers, tokens × H."""
    kept = piece.kept[below]
    if isinstance(kept, Filed):
        from safetensors import safe_open

        with safe_open(kept.file, framework="pt") as tensors:  # memory-mapped
            hidden = tensors.get_tensor(kept.name)
    else:
        hidden = kept
    if numbers == list(piece.replies):
        return hidden
    spans: dict[int, tuple[int, int]] = {}
    begin = len(piece.prompt)
    for number, reply in piece.replies.items():
        spans[number] = (begin, begin + len(reply))
        begin += len(reply)
    return torch.cat([hidden[: len(piece.prompt)], *(hidden[slice(*spans[number])] for number in numbers)])


def _marks(file: Path) -> dict[str, str]:
    """Return what a file says of itself; nothing when it is damaged (it is then made again)."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:
            return dict(tensors.metadata() or {})
    except SafetensorError:
        return {}


def _tokens_fingerprint(batch: Sequence[Piece]) -> str:
    content = [[list(piece.prompt), [list(reply) for reply in piece.replies.values()]] for piece in batch]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
