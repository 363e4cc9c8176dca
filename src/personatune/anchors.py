"""A folder that is being written to must stay: whoever deletes it in the middle is not answered with half a new one.

Files are written with the folders they need. That is right at the beginning of a run, and wrong in its middle: when
somebody deletes or moves the folder, the next checkpoint would begin a new one that holds nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from personatune.errors import UserError

_standing: dict[Path, tuple[int, int]] = {}


@contextmanager
def standing(folder: Path) -> Iterator[None]:
    """Within the block, `require_standing` refuses to write into this folder once it was deleted, moved or replaced."""
    place = folder.absolute()
    before = _standing.get(place)
    _standing[place] = _identity(place)
    try:
        yield
    finally:
        if before is None:
            del _standing[place]
        else:
            _standing[place] = before


def require_standing(target: Path) -> None:
    """Check that the standing folder around ``target`` is the one it was; nothing to check where there is none.

    Raises:
        UserError: it is gone, or another folder has taken its place.
    """
    place = target.absolute()
    for folder, identity in _standing.items():
        if (folder == place or folder in place.parents) and _identity_or_none(folder) != identity:
            raise UserError(gone(folder))


def gone(folder: Path) -> str:
    """Return what is said when a standing folder isn't there any more."""
    shown = os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else folder
    return (
        f"{shown}: deleted, moved or replaced while it was being written to; nothing was written in its place; "
        "put it back and the same command goes on where its last checkpoint is"
    )


def has_gone(folder: Path) -> bool:
    """Say whether a standing folder was deleted, moved or replaced."""
    place = folder.absolute()
    return place in _standing and _identity_or_none(place) != _standing[place]


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _identity_or_none(folder: Path) -> tuple[int, int] | None:
    try:
        return _identity(folder)
    except OSError:
        return None
