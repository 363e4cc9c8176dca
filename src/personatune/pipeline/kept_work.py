"""Replies, scores and losses, written chunk by chunk, so that an interrupted stage or evaluation goes on there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from personatune.dialogue import Context
from personatune.progress import Task
from personatune.storage import append_jsonl, write_jsonl

if TYPE_CHECKING:
    from personatune.model.generation import Chatbot

Chunk = list[int]
"""Indices of the items that are worked on together."""


class Drawing(Protocol):
    """Something that draws random numbers: its state says which come next."""

    draws: str


def key_of(value: Any) -> str:
    """Return a short name of a JSON value: other values, other names."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


def in_chunks(
    place: Path,
    head: Mapping[str, Any],
    items: int,
    chunk_size: int,
    work: Callable[[Chunk], Sequence[Any]],
    task: Task | None = None,
    drawing: Drawing | None = None,
) -> list[Any]:
    """Return one JSON value for each item; finished chunks are read from ``place``, the others worked out and added.

    Chunks are cut as the kept ones were, so an interrupted run and an uninterrupted one do the same work.

    Args:
        place: a JSON-lines file: the head, then one line a chunk.
        head: whose work it is; a file with another head is begun anew.
        work: gives one value for each index of a chunk.
        drawing: what the work draws with; it goes on with the numbers that the last kept chunk left.

    Raises:
        UserError: the disk is full or the place can't be written; what was kept before stays.
    """
    kept, size, draws = _read(place, head, items)
    size = size or max(1, chunk_size)
    chunks = [list(range(start, min(items, start + size))) for start in range(0, items, size)]
    if drawing is not None and draws is not None:
        drawing.draws = draws
    last = {} if draws is None else {"draws": draws}
    lines = [{"values": values, **(last if values is kept[-1] else {})} for values in kept]
    write_jsonl(place, [{**head, "chunk_size": size}, *lines])
    if task is not None:
        task.advance(sum(map(len, kept)))
    for chunk in chunks[len(kept) :]:
        values = list(work(chunk))
        if len(values) != len(chunk):
            raise ValueError(f"found {len(values)} values for {len(chunk)} items")
        append_jsonl(place, {"values": values, **({} if drawing is None else {"draws": drawing.draws})})
        kept.append(values)
        if task is not None:
            task.advance(len(chunk))
    return [value for values in kept for value in values]


class KeptSamples:
    """A chatbot's samples, kept batch by batch in a folder; the same calls in the same order get what they got before.

    Args:
        head: whose samples they are, as JSON values.
    """

    def __init__(self, bot: Chatbot, folder: Path, head: Mapping[str, Any]) -> None:
        self._bot = bot
        self._folder = folder
        self._head = head
        self._calls = 0

    def __call__(self, contexts: Sequence[Context], count: int) -> list[list[str]]:
        """Return ``count`` replies for each context, in order, as `Chatbot.sample` does."""
        self._calls += 1
        order = self._bot.by_length(contexts)
        asked = key_of([context.to_json() for context in contexts])
        texts: list[list[str]] = [[] for _ in contexts]
        found = in_chunks(
            self._folder / f"samples-{self._calls}.jsonl",
            {**self._head, "contexts": asked, "count": count},
            len(order),
            self._bot.width(count),
            lambda chunk: self._bot.sample([contexts[order[index]] for index in chunk], count),
            drawing=self._bot,
        )
        for index, replies in zip(order, found, strict=True):
            texts[index] = replies
        return texts


def _read(place: Path, head: Mapping[str, Any], items: int) -> tuple[list[list[Any]], int | None, str | None]:
    """Return the whole chunks of a file, the size they were cut to, and what they left to be drawn.

    Nothing where it is of another work.
    """
    try:
        lines = place.read_text(encoding="utf-8").split("\n")
        begin = json.loads(lines[0])
        size = begin.pop("chunk_size")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, AttributeError):
        return [], None, None
    if begin != json.loads(json.dumps(head)):
        return [], None, None
    kept: list[list[Any]] = []
    draws: str | None = None
    for line in lines[1:]:
        try:
            row = json.loads(line)
            values = row["values"]
            whole = len(values) == min(size, items - len(kept) * size)
        except (json.JSONDecodeError, KeyError, TypeError):
            break  # the line that was being written
        if not whole:
            break
        kept.append(values)
        draws = row.get("draws")
    return kept, size, draws
