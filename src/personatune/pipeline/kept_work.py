"""Replies, scores and losses of an evaluation, written chunk by chunk, so that an interrupted one goes on there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from personatune.progress import Task
from personatune.storage import write_jsonl

Chunk = list[int]
"""Indices of the items that are worked on together."""


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
) -> list[Any]:
    """Return one JSON value for each item; finished chunks are read from ``place``, the others worked out and added.

    Chunks are cut as the kept ones were, so an interrupted run and an uninterrupted one do the same work.

    Args:
        place: a JSON-lines file: the head, then one line a chunk.
        head: whose work it is; a file with another head is begun anew.
        work: gives one value for each index of a chunk.
    """
    kept, size = _read(place, head, items)
    size = size or max(1, chunk_size)
    chunks = [list(range(start, min(items, start + size))) for start in range(0, items, size)]
    write_jsonl(place, [{**head, "chunk_size": size}, *({"values": values} for values in kept)])
    if task is not None:
        task.advance(sum(map(len, kept)))
    with place.open("a", encoding="utf-8") as stream:
        for chunk in chunks[len(kept) :]:
            values = list(work(chunk))
            if len(values) != len(chunk):
                raise ValueError(f"found {len(values)} values for {len(chunk)} items")
            stream.write(json.dumps({"values": values}, ensure_ascii=False) + "\n")
            stream.flush()
            kept.append(values)
            if task is not None:
                task.advance(len(chunk))
    return [value for values in kept for value in values]


def _read(place: Path, head: Mapping[str, Any], items: int) -> tuple[list[list[Any]], int | None]:
    """Return the whole chunks of a file, and the size they were cut to; nothing where it is of another work."""
    try:
        lines = place.read_text(encoding="utf-8").split("\n")
        begin = json.loads(lines[0])
        size = begin.pop("chunk_size")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, AttributeError):
        return [], None
    if begin != json.loads(json.dumps(head)):
        return [], None
    kept: list[list[Any]] = []
    for line in lines[1:]:
        try:
            values = json.loads(line)["values"]
        except (json.JSONDecodeError, KeyError, TypeError):
            break  # the line that was being written
        if len(values) != min(size, items - len(kept) * size):
            break
        kept.append(values)
    return kept, size
