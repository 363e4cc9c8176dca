"""Where many dialogues wait between two passes: a list while they fit, a file when there may be millions.

Both are used alike (`Shelf`), so that what is done to a million dialogues is what is done to ten.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from personatune.dialogue import Dialogue, Perspective
from personatune.errors import UserError

T = TypeVar("T")

_BUFFER = 2**20  # bytes that are written together

# without the look for circles: what a shelf takes is made of dataclasses and holds none
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class Shelf(Protocol[T]):
    """What a list and a `FileShelf` have in common."""

    def append(self, item: T, /) -> None: ...

    def __getitem__(self, place: int, /) -> T: ...

    def __setitem__(self, place: int, item: T, /) -> None: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[T]: ...


class FileShelf(Generic[T]):
    """A sequence in a nameless file: 12 bytes of memory an item, and nothing is left behind, even by a kill.

    Args:
        folder: on whose disk the file lies.
        dump, load: turn an item into JSON values and back.
    """

    def __init__(self, folder: Path, dump: Callable[[T], Any], load: Callable[[Any], T]) -> None:
        self._folder = folder
        self._dump = dump
        self._load = load
        self._begins, self._sizes = array("Q"), array("L")
        with _telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = TemporaryFile(dir=folder, prefix=".shelf-", buffering=_BUFFER)  # noqa: SIM115  (see `close`)
        self._end = self._written = 0

    def append(self, item: T, /) -> None:
        begin, size = self._write(item)
        self._begins.append(begin)
        self._sizes.append(size)

    def __setitem__(self, place: int, item: T, /) -> None:
        self._begins[place], self._sizes[place] = self._write(item)

    def __getitem__(self, place: int, /) -> T:
        begin, size = self._begins[place], self._sizes[place]
        if begin + size > self._written:
            with _telling(self._folder):
                self._file.flush()
            self._written = self._end
        return self._load(json.loads(os.pread(self._file.fileno(), size, begin).decode("utf-8", "surrogatepass")))

    def __len__(self) -> int:
        return len(self._begins)

    def __iter__(self) -> Iterator[T]:
        for place in range(len(self)):
            yield self[place]

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()

    def _write(self, item: T) -> tuple[int, int]:
        line = _encode(self._dump(item)).encode("utf-8", "surrogatepass")
        with _telling(self._folder):
            self._file.write(line)
        begin, self._end = self._end, self._end + len(line)
        return begin, len(line)


class Shelves:
    """Makes shelves that are closed together: files below a folder, or lists where there is none."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._open: list[FileShelf[Any]] = []

    def dialogues(self) -> Shelf[Dialogue]:
        return self._made(Dialogue.to_json, Dialogue.from_json)

    def perspectives(self) -> Shelf[Perspective]:
        return self._made(Perspective.to_json, Perspective.from_json)

    def _made(self, dump: Callable[[T], Any], load: Callable[[Any], T]) -> Shelf[T]:
        if self.folder is None:
            return list[T]()
        self._open.append(FileShelf(self.folder, dump, load))
        return self._open[-1]

    def __enter__(self) -> Shelves:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for shelf in self._open:
            shelf.close()


class _telling:  # noqa: N801  (reads as the context manager it is)
    """Tell a full or broken disk as the user's to solve."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise UserError(
                f"{self.folder}: no room for the dialogues under preparation ({reason}); free some space or choose "
                "another place with --runs"
            ) from error
