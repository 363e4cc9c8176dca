"""A card inside a PNG: base64 of its JSON in the text chunk ``ccv3`` (V3) or ``chara`` (V1, V2)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from personatune.cards.card_json import json_text, parse_object, size
from personatune.cards.limits import MAX_JSON_BYTES
from personatune.cards.png_chunks import Chunk, png_bytes, text_chunk, text_of
from personatune.cards.schema import CharacterCard, card_of
from personatune.cards.versions import as_version
from personatune.errors import UserError

_KEYWORDS = ("ccv3", "chara")  # in order of preference, as SPEC_V3.md asks
_ASSET_PREFIX = "chara-ext-asset_:"
_MAX_BASE64 = 2 * MAX_JSON_BYTES  # a third longer than what it holds, and line breaks


@dataclass(frozen=True, slots=True)
class _Found:
    keyword: str
    chunk: Chunk


def card_in_png(chunks: Sequence[Chunk], place: str) -> CharacterCard:
    """Return the card that a PNG's chunks carry: the V3 one where there are two.

    Raises:
        UserError: there is none, or it is damaged.
    """
    found = _card_chunks(chunks)
    if not found:
        raise UserError(f"{place}: a picture without a card: no text chunk named {' or '.join(_KEYWORDS)}")
    found.sort(key=lambda entry: _KEYWORDS.index(entry.keyword))  # stable: the first of a name stays the first
    first = found[0]
    where = f"{place}, chunk {first.keyword}"
    parsed = parse_object(_from_base64(text_of(first.chunk, _MAX_BASE64, where), where), where)
    notes = list(parsed.notes)
    if first.chunk.kind != b"tEXt":
        notes.append(f"the card is in {first.chunk.kind.decode()}, which other programs don't read; convert mends it")
    if sum(entry.keyword == first.keyword for entry in found) > 1:
        notes.append(f"there are several chunks {first.keyword}; the first one counts")
    return card_of(parsed.document, where, tuple(notes))


def png_with_card(chunks: Sequence[Chunk], card: CharacterCard) -> bytes:
    """Return a PNG with the picture of ``chunks`` and the card instead of any it had.

    A V3 card gets a V2 copy beside it, with a line in its notes as SPEC_V3.md asks: most programs read only that.
    """
    others = [entry.chunk for entry in _card_chunks(chunks)]
    kept = [chunk for chunk in chunks if not any(chunk is other for other in others)]
    own = [_card_chunk("chara", card)] if card.version != "v3" else []
    if card.version == "v3":
        own = [_card_chunk("chara", as_version(card, "v2", backfill=True).card), _card_chunk("ccv3", card)]
    return png_bytes([*kept[:-1], *own, kept[-1]])


def assets_in_png(chunks: Sequence[Chunk]) -> list[str]:
    """Name the files that ride in text chunks of their own."""
    names = (chunk.keyword for chunk in chunks)
    return [name.removeprefix(_ASSET_PREFIX) for name in names if name and name.startswith(_ASSET_PREFIX)]


def _card_chunks(chunks: Sequence[Chunk]) -> list[_Found]:
    named = ((chunk.keyword, chunk) for chunk in chunks)
    return [_Found(name.lower(), chunk) for name, chunk in named if name is not None and name.lower() in _KEYWORDS]


def _card_chunk(keyword: str, card: CharacterCard) -> Chunk:
    return text_chunk(keyword, base64.b64encode(json_text(card.document).encode()))


def _from_base64(text: bytes, place: str) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        raise UserError(f"{place}: {size(len(text))} that are no base64; expected the card's JSON so") from None
