"""Replies behind their prompts as batches of rows: grouped by prompt, bucketed by length, in the order asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from personatune.model.branches import SplitModel, Trunk
from personatune.model.shared_prompts import SharedRows, lay_out

ROW_TOKENS = 1024
"""Most tokens of replies in a row: attention over a row grows with the square of its length."""
BATCH_TOKENS = 2048
"""Tokens, padding included, that go through the layers together: more are not faster and take more memory."""


@dataclass(frozen=True)
class Filed:
    """A tensor of a safetensors file."""

    file: Path
    name: str


@dataclass
class Piece:
    """A prompt with those of its replies that share a row.

    Attributes:
        replies: a reply's number and its tokens.
        kept: hidden states above so many layers, tokens × H, the prompt's, then every reply's; or where they lie.
    """

    prompt: tuple[int, ...]
    replies: dict[int, tuple[int, ...]]
    kept: dict[int, Tensor | Filed] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return len(self.prompt) + sum(map(len, self.replies.values()))

    @property
    def sizes(self) -> tuple[int, list[int]]:
        """Return the lengths of the prompt and of the replies, for counting operations."""
        return self.sizes_of(self.replies)

    def sizes_of(self, numbers: Iterable[int]) -> tuple[int, list[int]]:
        """Return the same of some of the replies."""
        return len(self.prompt), [len(self.replies[number]) for number in numbers]


class SharedReplies:
    """Replies behind their prompts; each batch's trunk output is computed when it is asked for.

    Args:
        items: prompt and reply of each, as tokens; equal prompts share a row.
        own: numbers of the items to keep, where other processes keep the others; None keeps all.
    """

    def __init__(
        self,
        split: SplitModel,
        items: Sequence[tuple[Sequence[int], Sequence[int]]],
        pad_id: int,
        own: Sequence[int] | None = None,
    ) -> None:
        self.split = split
        self.pad_id = pad_id
        numbers = range(len(items)) if own is None else own
        self.pieces = _pieces(split, {number: items[number] for number in numbers})
        self.piece_of = {number: piece for piece in self.pieces for number in piece.replies}

    def __len__(self) -> int:
        """Return the number of replies."""
        return len(self.piece_of)

    @property
    def tokens(self) -> int:
        """Return the number of tokens in all rows, a shared prompt counted once."""
        return sum(piece.tokens for piece in self.pieces)

    def batch(self, numbers: Sequence[int]) -> Trunk:
        """Return the replies ``numbers``, in this order, each prompt once; no number may come twice."""
        return self.split.trunk(self.rows(self.chosen(numbers)))

    def chosen(self, numbers: Sequence[int]) -> list[tuple[Piece, dict[int, int]]]:
        """Return the pieces of some replies, each with the replies' numbers and their places among ``numbers``."""
        found: dict[int, tuple[Piece, dict[int, int]]] = {}
        for place, number in enumerate(numbers):
            piece = self.piece_of[number]
            found.setdefault(id(piece), (piece, {}))[1][number] = place
        return list(found.values())

    def rows(self, chosen: Sequence[tuple[Piece, dict[int, int]]]) -> SharedRows:
        """Lay out what `chosen` returned, a row a piece."""
        rows = [
            (piece.prompt, {place: piece.replies[number] for number, place in places.items()})
            for piece, places in chosen
        ]
        return lay_out(rows, self.pad_id, self.split.device)

    def buckets(self, units: Sequence[Sequence[int]] | None = None, tokens: int = BATCH_TOKENS) -> list[list[int]]:
        """Group replies into batches of rows of like length, at most ``tokens`` tokens each, padding included.

        ``units`` are replies that must stay together; without them each prompt's replies do. A unit alone may be
        longer than ``tokens``.
        """
        units = [list(piece.replies) for piece in self.pieces] if units is None else units
        batches: list[list[int]] = []
        rows = longest = 0
        for unit in sorted(units, key=self._width):
            width, height = self._width(unit), len({id(self.piece_of[number]) for number in unit})
            if not batches or (rows + height) * max(longest, width) > tokens:
                batches.append([])
                rows = longest = 0
            batches[-1] += unit
            rows, longest = rows + height, max(longest, width)
        return batches

    def by_row(self, numbers: Sequence[int]) -> list[list[int]]:
        """Return the replies ``numbers`` as units of those that share a row."""
        units: dict[int, list[int]] = {}
        for number in numbers:
            units.setdefault(id(self.piece_of[number]), []).append(number)
        return list(units.values())

    def _width(self, unit: Sequence[int]) -> int:
        """Return the length of the longest row of a unit."""
        widths: dict[int, int] = {}
        for number in unit:
            piece = self.piece_of[number]
            widths[id(piece)] = widths.get(id(piece), len(piece.prompt)) + len(piece.replies[number])
        return max(widths.values())


def _pieces(split: SplitModel, items: Mapping[int, tuple[Sequence[int], Sequence[int]]]) -> list[Piece]:
    """Put replies to one prompt together, as many as a row may hold, where the model can share them."""
    pieces: list[Piece] = []
    # One row beyond the model's window keeps all rows plain: a batch of rows has one kind of mask.
    shares = split.shares(max((len(prompt) + len(reply) for prompt, reply in items.values()), default=0))
    open_ones: dict[tuple[int, ...], tuple[Piece, int]] = {}
    for number, (prompt, reply) in items.items():
        key = tuple(prompt)
        piece, room = open_ones.get(key, (None, 0))
        if piece is None or len(reply) > room or not shares:
            piece, room = Piece(key, {}), ROW_TOKENS
            pieces.append(piece)
        piece.replies[number] = tuple(reply)
        open_ones[key] = (piece, room - len(reply))
    return pieces
