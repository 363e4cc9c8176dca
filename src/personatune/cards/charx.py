"""``.charx``: a zip archive with ``card.json`` and the pictures it speaks of. Nothing is ever unpacked to disk."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from personatune.cards.card_json import json_text, parse_object, size
from personatune.cards.limits import (
    MAX_ARCHIVE_BYTES,
    MAX_ARCHIVE_ENTRIES,
    MAX_DIRECTORY_BYTES,
    MAX_JSON_BYTES,
    MAX_PNG_BYTES,
    MAX_UNPACKED_BYTES,
)
from personatune.cards.schema import CharacterCard, card_of
from personatune.errors import UserError

CARD_NAME = "card.json"

_END = struct.Struct("<4s4H2LH")  # end of central directory record: APPNOTE.TXT 4.3.16
_END_SIGNATURE, _ZIP64_SIGNATURE = b"PK\x05\x06", b"PK\x06\x07"
_ZIP64_LOCATOR_BYTES = 20
_MAX_COMMENT_BYTES = 65_535
_ENCRYPTED = 0x1
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others' unpackers can't be told to stop
_BLOCK = 2**20


def card_in_archive(path: Path) -> CharacterCard:
    """Read the card of an archive.

    Raises:
        UserError: no archive, damaged, encrypted, without a card, or anything that smells of a trap.
    """
    with _opened(path) as archive:
        listed = {info.filename: info for info in archive.infolist()}
        if CARD_NAME not in listed:
            raise UserError(f"{path}: no {CARD_NAME} in the archive; expected a .charx with one at its top")
        where = f"{path}, {CARD_NAME}"
        parsed = parse_object(_unpacked(archive, listed[CARD_NAME], MAX_JSON_BYTES, where), where)
        return card_of(parsed.document, where, parsed.notes)


def assets_in_archive(path: Path) -> list[str]:
    """Name the files beside the card."""
    with _opened(path) as archive:
        return [info.filename for info in archive.infolist() if info.filename != CARD_NAME and not info.is_dir()]


def picture_in_archive(path: Path) -> bytes | None:
    """Return the first PNG of the card's icons, or None."""
    with _opened(path) as archive:
        pictures = (
            info for info in archive.infolist() if re.fullmatch(r"assets/icon/.*\.png", info.filename, re.IGNORECASE)
        )
        first = next(pictures, None)
        return None if first is None else _unpacked(archive, first, MAX_PNG_BYTES, f"{path}, {first.filename}")


def write_archive(target: Path, card: CharacterCard, assets_of: Path | None, added: Mapping[str, bytes]) -> None:
    """Write a card as an archive (to a temporary path that the caller renames).

    Args:
        assets_of: an archive whose other files are copied.
        added: further files by name.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CARD_NAME, json_text(card.document))
        for name, content in added.items():
            archive.writestr(name, content, zipfile.ZIP_STORED)
        if assets_of is not None:
            with _opened(assets_of) as source:
                for info in source.infolist():
                    if info.filename != CARD_NAME and info.filename not in added and not info.is_dir():
                        _copy(source, info, archive, assets_of)


def _copy(source: zipfile.ZipFile, info: zipfile.ZipInfo, target: zipfile.ZipFile, path: Path) -> None:
    plain = zipfile.ZipInfo(info.filename, info.date_time)  # neither links nor permissions come along
    plain.compress_type = info.compress_type
    with _told(f"{path}, {info.filename}"), source.open(info) as packed, target.open(plain, "w") as copied:
        while block := packed.read(_BLOCK):
            copied.write(block)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with _told(str(path)), path.open("rb") as stream:
        _check_directory(stream, path)
        with zipfile.ZipFile(stream) as archive:
            _check_entries(archive, path)
            yield archive


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Tell whatever a library says of a damaged archive in one line."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{place}: no such file") from None
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{place}: a damaged archive ({reason[:80]}); get the file again") from None


def _check_directory(stream: IO[bytes], path: Path) -> None:
    """Look at the archive's end before the library reads the list of files that it announces."""
    length = stream.seek(0, 2)
    if length > MAX_ARCHIVE_BYTES:
        raise UserError(f"{path}: {size(length)}, expected an archive of at most {size(MAX_ARCHIVE_BYTES)}")
    stream.seek(max(0, length - _MAX_COMMENT_BYTES - _END.size - _ZIP64_LOCATOR_BYTES))
    tail = stream.read()
    # As the library does: the record without a comment at the very end, else the last one found.
    at = len(tail) - _END.size
    if at < 0 or tail[at : at + 4] != _END_SIGNATURE or tail[-2:] != b"\0\0":
        at = tail.rfind(_END_SIGNATURE)
    if at < 0 or len(tail) - at < _END.size:
        raise UserError(f"{path}: not an archive, or its end is missing; expected a .charx (zip with {CARD_NAME})")
    _, _, _, here, total, directory_bytes, _, _ = _END.unpack_from(tail, at)
    entries = max(here, total)
    if tail[max(0, at - _ZIP64_LOCATOR_BYTES) : at].startswith(_ZIP64_SIGNATURE):
        raise UserError(f"{path}: an archive in the form for more than 4 GiB, expected a plain .charx")
    if directory_bytes > MAX_DIRECTORY_BYTES or entries > MAX_ARCHIVE_ENTRIES:
        raise UserError(f"{path}: lists {entries:,} files or more, expected at most {MAX_ARCHIVE_ENTRIES:,}")


def _check_entries(archive: zipfile.ZipFile, path: Path) -> None:
    infos = archive.infolist()
    if len(infos) > MAX_ARCHIVE_ENTRIES:
        raise UserError(f"{path}: {len(infos):,} files, expected at most {MAX_ARCHIVE_ENTRIES:,}")
    names: set[str] = set()
    for info in infos:
        name = info.filename
        if _is_trick(name) or name in names:
            why = "stands twice" if name in names else "leads out of the archive or can't be a file's name"
            raise UserError(f"{path}: the file name {name[:60]!r} {why}; this archive isn't to be trusted")
        names.add(name)
        if info.flag_bits & _ENCRYPTED:
            raise UserError(f"{path}: {name[:60]!r} is encrypted; save the archive without a password")
        if info.compress_type not in _PACKINGS:
            raise UserError(f"{path}: {name[:60]!r} is packed in a way .charx doesn't use; expected stored or deflated")
    total = sum(info.file_size for info in infos)
    if total > MAX_UNPACKED_BYTES:
        raise UserError(f"{path}: unpacks to {size(total)}, expected at most {size(MAX_UNPACKED_BYTES)}")


def _is_trick(name: str) -> bool:
    parts = name.rstrip("/").split("/")
    odd = not name.isprintable() or "\\" in name or ":" in name or len(name) > 255
    return odd or any(part in ("", ".", "..") for part in parts)


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int, place: str) -> bytes:
    if info.file_size > limit:
        raise UserError(f"{place}: unpacks to {size(info.file_size)}, expected at most {size(limit)}")
    with _told(place), archive.open(info) as packed:
        return packed.read(limit + 1)  # the library stops at the announced size and checks the checksum there
