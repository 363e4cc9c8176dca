"""Plain files, written so that a reader never meets half of one.

Everything is written beside its target, flushed to the disk and renamed: an interrupt, a kill, a full disk or a power
cut leaves the old file as it was.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from personatune.anchors import require_standing
from personatune.errors import UserError
from personatune.plain_json import parse_json
from personatune.plain_text import whole_characters

_ASIDE = re.compile(r"\..+\.(\d+)\.part")
"""Name of what is being written: the number is that of the process."""
_OLD = re.compile(r"\.(.+)\.old\.\d+\.part")
"""Name of a folder while another one takes its place."""


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` (file or folder), flush it to the disk and rename it over the target.

    Raises:
        UserError: the disk is full or the place can't be written; the target is left untouched.
    """
    require_standing(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)  # of a dead process with the same number
        yield temporary
        _flush(temporary)
        if target.is_dir():
            _swap(temporary, target)
        else:
            temporary.replace(target)
        flush_folder(target.parent)
    except _write_failures() as error:
        raise _cannot_be_written(target, error) from error
    finally:
        with suppress(OSError):  # a folder that isn't one was told above
            _remove(temporary)


def remove_leftovers(folder: Path) -> list[Path]:
    """Delete what dead processes were writing under a folder when they ended; return what was deleted.

    A folder that was about to be replaced, and whose successor never came, goes back to its place.
    """
    found = [place for place in folder.rglob(".*.part") if _left_over(place)]
    for place in found:
        old = _OLD.fullmatch(place.name)
        with suppress(OSError):
            if old and not place.with_name(old[1]).exists():
                place.rename(place.with_name(old[1]))
            else:
                _remove(place)
    return found


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it outlives a power cut."""
    with suppress(OSError):  # some file systems know no such thing
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _left_over(place: Path) -> bool:
    import psutil

    found = _ASIDE.fullmatch(place.name)
    return found is not None and (int(found[1]) == os.getpid() or not psutil.pid_exists(int(found[1])))


def _flush(place: Path) -> None:
    """Flush a file, or a folder and all in it, to the disk."""
    if place.is_dir():
        for inner in place.iterdir():
            _flush(inner)
        flush_folder(place)
    else:
        with place.open("rb") as stream:
            os.fsync(stream.fileno())


def _swap(temporary: Path, target: Path) -> None:
    """Put a folder in the place of an older one, which is whole until then: a rename can't replace a full folder."""
    old = target.with_name(f".{target.name}.old.{os.getpid()}.part")
    _remove(old)
    target.rename(old)
    try:
        temporary.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _write_failures() -> tuple[type[Exception], ...]:
    """Return the kinds of error that a full disk comes as: the writer of safetensors has one of its own."""
    tensors = sys.modules.get("safetensors")
    return (OSError, tensors.SafetensorError) if tensors is not None else (OSError,)


def _cannot_be_written(target: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    return UserError(f"{target}: can't be written ({reason}); free some space or choose another place")


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8, all or nothing."""
    with replacing(target) as temporary:
        temporary.write_text(whole_characters(text), encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, all or nothing; NaN and infinity are refused."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(source: Path) -> Any:
    """Read one JSON file.

    Raises:
        UserError: the file is missing, or is no JSON (names the line).
    """
    try:
        return parse_json(source.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{source}: not valid JSON ({error}); delete it to have it made again") from error
    except OSError as error:
        raise _unreadable(source, error) from error


def write_jsonl(target: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line, all or nothing; return the number of rows."""
    count = 0
    with replacing(target) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(whole_characters(json.dumps(row, ensure_ascii=False, allow_nan=False)) + "\n")
            count += 1
    return count


def append_jsonl(target: Path, row: Mapping[str, Any]) -> None:
    """Add one JSON object as a line, all or nothing, also where other processes add theirs.

    Raises:
        UserError: the disk is full or the place can't be written; what was there before stays.
    """
    append_text(target, json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def append_text(target: Path, text: str) -> None:
    """Add text at the end of a file, all or nothing.

    Raises:
        UserError: the disk is full or the place can't be written; what was there before stays.
    """
    require_standing(target)
    content = whole_characters(text).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab", buffering=0) as stream:
            before = stream.seek(0, os.SEEK_END)
            try:
                written = stream.write(content)
            except OSError:
                written = -1
            if written != len(content):
                with suppress(OSError):  # a device can't be cut back
                    stream.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise _cannot_be_written(target, error) from error


def read_jsonl(source: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line that personatune itself wrote.

    Raises:
        UserError: the file is missing or a row is no JSON object (names the row).
    """
    rows: list[dict[str, Any]] = []
    try:
        with source.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                row = parse_json(line)
                if not isinstance(row, dict):
                    raise UserError(f"{source}, row {number}: found {type(row).__name__}, expected an object")
                rows.append(row)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{source}, row {len(rows) + 1}: not valid JSON ({error})") from error
    except OSError as error:
        raise _unreadable(source, error) from error
    return rows


def _unreadable(source: Path, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{source}: no such file")
    return UserError(f"{source}: can't be read ({error.strerror or error})")
