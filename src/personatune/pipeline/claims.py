"""One process at a time writes into a folder: a lock that the kernel frees when its holder ends, however it ends.

Who only reads (chat, serve, export, a report of finished stages) asks for none.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from personatune.errors import UserError
from personatune.storage import read_json, remove_leftovers, write_json

LOCK = ".lock"
HOLDER = ".lock.json"


@dataclass
class Claim:
    """A folder that this process alone writes into; ``depth`` counts how often it was asked for."""

    folder: Path
    since: str
    depth: int = 0

    def note(self, stage: str) -> None:
        """Tell whoever is refused what is under way."""
        write_json(self.folder / HOLDER, {**_this_process(self.since), "stage": stage})


_claims: dict[tuple[Path, int], Claim] = {}


@contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Hold a folder, made if needed, inside the block; a second claim in the same thread is the same one.

    What dead processes were writing there when they ended is deleted.

    Raises:
        UserError: another process holds it (names it), or it can't be written.
    """
    from filelock import FileLock, Timeout

    key = (folder.resolve(), threading.get_ident())
    known = _claims.get(key)
    if known is not None:
        known.depth += 1
        try:
            yield known
        finally:
            known.depth -= 1
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(folder / LOCK))
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder}: {_holder(folder)}; wait for it or end it") from None
    except OSError as error:
        raise UserError(f"{folder}: can't be written ({error.strerror or error}); choose another place") from error
    try:
        claim = _claims[key] = Claim(folder, datetime.now(UTC).isoformat(timespec="seconds"), 1)
        remove_leftovers(folder)
        write_json(folder / HOLDER, _this_process(claim.since))
        yield claim
    finally:
        _claims.pop(key, None)
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def _this_process(since: str) -> dict[str, Any]:
    words = [Path(sys.argv[0]).stem.replace("__main__", "personatune"), *sys.argv[1:2]]
    return {"pid": os.getpid(), "host": platform.node(), "command": " ".join(words)[:80], "since": since}


def _holder(folder: Path) -> str:
    """Say who holds a folder; its note is written just after it took the lock."""
    try:
        found = read_json(folder / HOLDER)
        stage = f", now at {found['stage']}" if "stage" in found else ""
        elsewhere = f" on {found['host']}" if found["host"] != platform.node() else ""
        who = f"process {int(found['pid'])}{elsewhere} ({found['command']}, since {found['since']}{stage})"
    except (UserError, TypeError, KeyError, ValueError):
        who = "another process"
    return f"{who} is writing here"
