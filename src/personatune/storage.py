"""Plain files, written so that a reader never meets half of one.

Everything is written beside its target and renamed: an interrupt or a full disk leaves the old
file as it was.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from personatune.anchors import require_standing
from personatune.errors import UserError


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` (file or folder) and rename it over the target at the end.

    Raises:
        UserError: the disk is full or the place can't be written; the target is left untouched.
    """
    require_standing(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if target.is_dir():
            shutil.rmtree(target)
        temporary.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{target}: can't be written ({reason}); free some space or choose another place") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):  # a folder that isn't one was told above
                temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8, all or nothing."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, all or nothing; NaN and infinity are refused."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(source: Path) -> Any:
    """Read one JSON file.

    Raises:
        UserError: the file is missing, or is no JSON (names the line).
    """
    try:
        return json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{source}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{source}: not valid JSON ({error}); delete it to have it made again") from error


def write_jsonl(target: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line, all or nothing; return the number of rows."""
    count = 0
    with replacing(target) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def append_jsonl(target: Path, row: Mapping[str, Any]) -> None:
    """Add one JSON object as a line, all or nothing, also where other processes add theirs.

    Raises:
        UserError: the disk is full or the place can't be written; what was there before stays.
    """
    require_standing(target)
    line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab", buffering=0) as stream:
            before = stream.seek(0, os.SEEK_END)
            try:
                written = stream.write(line)
            except OSError:
                written = -1
            if written != len(line):
                with suppress(OSError):  # a device can't be cut back
                    stream.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{target}: can't be written ({reason}); free some space or choose another place") from error


def read_jsonl(source: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line that personatune itself wrote.

    Raises:
        UserError: the file is missing or a row is no JSON object (names the row).
    """
    rows: list[dict[str, Any]] = []
    try:
        with source.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise UserError(f"{source}, row {number}: found {type(row).__name__}, expected an object")
                rows.append(row)
    except FileNotFoundError:
        raise UserError(f"{source}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{source}, row {len(rows) + 1}: not valid JSON ({error})") from error
    return rows
