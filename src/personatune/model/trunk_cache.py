"""The trunk's output of prompts and replies: computed once a token, read by every branch in every epoch.

Replies to one prompt share a row, so the prompt is computed and stored once (`shared_prompts`). What doesn't fit
under the limit goes to safetensors files, which are memory-mapped when they are read. A file carries the fingerprints
of the model that made it and of the tokens in it: an interrupted run finds its files and goes on, another model's are
refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from personatune.errors import UserError
from personatune.model.branches import SplitModel, Trunk
from personatune.model.shared_replies import Piece, SharedReplies
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
        if split.trunk_layers:
            self._fill(advance)

    def batch(self, numbers: Sequence[int]) -> Trunk:
        """Return the replies ``numbers``, in this order, each prompt once; no number may come twice."""
        chosen = self.chosen(numbers)
        rows = self.rows(chosen)
        if self.split.trunk_layers == 0:
            return Trunk(rows, None)
        parts = [_part(piece, list(places)) for piece, places in chosen]
        hidden = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
        return Trunk(rows, hidden.to(self.split.device))

    @property
    def in_memory(self) -> bool:
        """Say whether nothing lies in files: `clear` then takes nothing away."""
        return all(piece.file is None for piece in self.pieces)

    def clear(self) -> None:
        """Remove the files."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _fill(self, advance: Callable[[int], None]) -> None:
        """Compute every piece's trunk output, those of like length together."""
        used = 0.0
        for number, numbers in enumerate(self.buckets()):
            used += sum(piece.tokens for piece, _ in self.chosen(numbers)) * self.split.token_bytes
            if self.folder is None or used <= self.split.trunk_memory:
                for (piece, _), hidden in zip(self.chosen(numbers), self._compute(numbers), strict=True):
                    piece.hidden = hidden
            else:
                self._spill(numbers, self.folder / f"trunk-{number:06d}.safetensors")
            advance(len(numbers))

    def _compute(self, numbers: Sequence[int]) -> list[Tensor]:
        """Return the trunk's output of whole pieces, tokens × H each."""
        chosen = self.chosen(numbers)
        hidden_B_T_H = self.split.trunk(self.rows(chosen)).hidden
        assert hidden_B_T_H is not None  # there are trunk layers
        return [row[: piece.tokens].to("cpu", copy=True) for row, (piece, _) in zip(hidden_B_T_H, chosen, strict=True)]

    def _spill(self, numbers: Sequence[int], file: Path) -> None:
        """Write a batch to a file, unless an interrupted run left the same one."""
        from safetensors.torch import save_file

        pieces = [piece for piece, _ in self.chosen(numbers)]
        marks = {"format": "pt", "model": self.split.fingerprint, "tokens": _tokens_fingerprint(pieces)}
        found = _marks(file) if file.is_file() else {}
        if found and found.get("model") != marks["model"]:
            raise UserError(
                f"{file}: a trunk cache from another model (made by {found.get('model', 'an unknown one')[:12]}, "
                f"this one is {marks['model'][:12]}); delete {file.parent} to have it made again"
            )
        if found.get("tokens") != marks["tokens"]:
            with replacing(file) as temporary:
                save_file({str(place): hidden for place, hidden in enumerate(self._compute(numbers))}, temporary, marks)
        for place, piece in enumerate(pieces):
            piece.file, piece.name = file, str(place)


def _part(piece: Piece, numbers: Sequence[int]) -> Tensor:
    """Return the trunk's output of a piece's prompt and of some of its replies, tokens × H."""
    if piece.hidden is not None:
        hidden = piece.hidden
    else:
        from safetensors import safe_open

        assert piece.file is not None
        with safe_open(piece.file, framework="pt") as tensors:  # memory-mapped
            hidden = tensors.get_tensor(piece.name)
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
