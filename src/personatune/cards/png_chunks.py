"""PNG files as a list of chunks (PNG specification, third edition, section 5). No pixel is ever decoded.

A reader of our own, because imaging libraries decode what surrounds the text: that is the larger surface.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from personatune.cards.card_json import size
from personatune.cards.limits import MAX_PNG_BYTES, MAX_PNG_CHUNKS
from personatune.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">I4s")
_TEXT_KINDS = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk's four-letter kind and its content."""

    kind: bytes
    content: bytes

    @property
    def keyword(self) -> str | None:
        """What a text chunk is called; None for any other chunk."""
        return self.content.split(b"\0", 1)[0].decode("latin-1") if self.kind in _TEXT_KINDS else None


def read_chunks(data: bytes, place: str) -> list[Chunk]:
    """Return the chunks of a PNG from IHDR to IEND; what follows IEND is no part of it.

    Raises:
        UserError: no PNG, cut off, a damaged chunk (named, with its position), or beyond the limits.
    """
    if len(data) > MAX_PNG_BYTES:
        raise UserError(f"{place}: {size(len(data))}, expected a picture of at most {size(MAX_PNG_BYTES)}")
    if not data.startswith(SIGNATURE):
        raise UserError(f"{place}: not a PNG: it doesn't begin with PNG's signature")
    chunks: list[Chunk] = []
    for chunk in _walk(data, place):
        if not chunks and chunk.kind != b"IHDR":
            raise UserError(f"{place}: not a PNG: begins with {_named(chunk.kind)}, expected IHDR")
        chunks.append(chunk)
        if len(chunks) > MAX_PNG_CHUNKS:
            raise UserError(f"{place}: more than {MAX_PNG_CHUNKS:,} chunks, which no picture needs")
    return chunks


def _walk(data: bytes, place: str) -> Iterator[Chunk]:
    position = len(SIGNATURE)
    while True:
        if position + 12 > len(data):
            raise UserError(f"{place}: cut off after {size(len(data))}: no IEND; get the file again")
        length, kind = _HEADER.unpack_from(data, position)
        if not kind.isalpha():
            raise UserError(f"{place}: damaged at byte {position:,}: no chunk begins here; get the file again")
        if length > len(data) - position - 12:
            raise UserError(f"{place}: cut off inside {_named(kind)} at byte {position:,}; get the file again")
        content = data[position + 8 : position + 8 + length]
        (told,) = struct.unpack_from(">I", data, position + 8 + length)
        if zlib.crc32(content, zlib.crc32(kind)) != told:
            raise UserError(f"{place}: damaged: wrong checksum of {_named(kind)} at byte {position:,}; get it again")
        yield Chunk(kind, content)
        if kind == b"IEND":
            return
        position += 12 + length


def png_bytes(chunks: Iterable[Chunk]) -> bytes:
    """Write chunks as a PNG, each with its checksum."""
    parts = [SIGNATURE]
    for chunk in chunks:
        checksum = zlib.crc32(chunk.content, zlib.crc32(chunk.kind))
        parts += [_HEADER.pack(len(chunk.content), chunk.kind), chunk.content, struct.pack(">I", checksum)]
    return b"".join(parts)


def text_of(chunk: Chunk, limit: int, place: str) -> bytes:
    """Return the bytes of a tEXt, zTXt or iTXt chunk, unpacked up to a limit.

    Raises:
        UserError: packed by an unknown method, damaged, or longer than ``limit`` bytes.
    """
    _, _, rest = chunk.content.partition(b"\0")
    if chunk.kind == b"tEXt":
        text, packed = rest, False
    elif chunk.kind == b"zTXt":
        packed, method, text = True, rest[:1], rest[1:]
    else:
        packed, method = rest[:1] == b"\1", rest[1:2]
        text = rest[2:].split(b"\0", 2)[-1]  # language and translated keyword go before
    if packed:
        if method != b"\0":
            raise UserError(f"{place}: {_named(chunk.kind)}: packed in an unknown way; save it as tEXt")
        text = _unpacked(text, limit, f"{place}: {_named(chunk.kind)}")
    if len(text) > limit:
        raise UserError(f"{place}: {_named(chunk.kind)}: {size(len(text))}, expected at most {size(limit)}")
    return text


def text_chunk(keyword: str, text: bytes) -> Chunk:
    """Make a tEXt chunk."""
    return Chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text)


def plain_picture(width: int = 400, height: int = 600, grey: int = 200) -> list[Chunk]:
    """Return the chunks of a grey picture in a card's usual format, for cards without one of their own."""
    rows = (b"\0" + bytes([grey]) * width) * height  # each row: no filter, then one byte a pixel
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return [Chunk(b"IHDR", header), Chunk(b"IDAT", zlib.compress(rows, 9)), Chunk(b"IEND", b"")]


def _unpacked(text: bytes, limit: int, place: str) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(text, limit + 1)
    except zlib.error:
        raise UserError(f"{place}: damaged: can't be unpacked; get the file again") from None
    if len(unpacked) > limit:
        raise UserError(f"{place}: unpacks to more than {size(limit)}")
    if not unpacker.eof:
        raise UserError(f"{place}: damaged: its end is missing; get the file again")
    return unpacked


def _named(kind: bytes) -> str:
    return kind.decode("ascii", "replace") if kind.isalpha() else "a nameless chunk"
