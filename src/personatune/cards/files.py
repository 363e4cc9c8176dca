"""Cards as files: what a file holds is told by its first bytes, what is written by the name it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from personatune.cards.card_json import json_text, parse_object, size
from personatune.cards.charx import (
    assets_in_archive,
    card_in_archive,
    picture_in_archive,
    write_archive,
)
from personatune.cards.limits import MAX_JSON_BYTES, MAX_PNG_BYTES
from personatune.cards.png_card import assets_in_png, card_in_png, png_with_card
from personatune.cards.png_chunks import SIGNATURE, Chunk, plain_picture, png_bytes, read_chunks
from personatune.cards.schema import CharacterCard, Version, card_of
from personatune.cards.versions import as_version
from personatune.errors import UserError
from personatune.storage import replacing, write_text

SUFFIXES = (".json", ".png", ".charx")
Container = Literal["JSON", "PNG", "CHARX"]

_ICON = "assets/icon/images/main.png"
_OTHER_KINDS = {b"\xff\xd8\xff": "a JPEG", b"RIFF": "a WebP picture", b"GIF8": "a GIF", b"%PDF": "a PDF"}


@dataclass(frozen=True, slots=True)
class CardFile:
    """A card and the file it came in.

    Attributes:
        chunks: of a PNG, for its picture.
        assets: the names of the other files that came with it.
    """

    path: Path
    container: Container
    card: CharacterCard
    chunks: Sequence[Chunk] = ()
    assets: tuple[str, ...] = ()


def looks_like_card_file(text: str) -> bool:
    """Say whether what a user gave as a persona is meant as a file: it ends as one and holds no ``|`` or line break."""
    return text.strip().lower().endswith(SUFFIXES) and "|" not in text and "\n" not in text


def is_card_file(path: Path) -> bool:
    """Say whether a file is a card rather than dialogues, which JSON files hold too."""
    if path.suffix.lower() != ".json":
        return path.suffix.lower() in SUFFIXES
    try:
        document = parse_object(_read(path, MAX_JSON_BYTES + 1), str(path)).document
    except UserError:
        return False
    return str(document.get("spec")).startswith("chara_card") or {"name", "description", "first_mes"} <= set(document)


def read_card(path: Path) -> CardFile:
    """Read a card from a JSON file, a PNG or an archive.

    Raises:
        UserError: no such file, another kind of file, damaged, no card, or beyond the limits (`cards.limits`).
    """
    start = _read(path, 8)
    if start == SIGNATURE:
        chunks = read_chunks(_read(path, MAX_PNG_BYTES + 1), str(path))
        return CardFile(path, "PNG", card_in_png(chunks, str(path)), chunks, tuple(assets_in_png(chunks)))
    if start.startswith(b"PK") or path.suffix.lower() == ".charx":
        return CardFile(path, "CHARX", card_in_archive(path), assets=tuple(assets_in_archive(path)))
    for magic, kind in _OTHER_KINDS.items():
        if start.startswith(magic):
            raise UserError(f"{path}: {kind}, expected a card as {', '.join(SUFFIXES)}; export it again as one of them")
    if path.suffix.lower() == ".png":
        raise UserError(f"{path}: not a PNG: it doesn't begin with PNG's signature; get the file again")
    parsed = parse_object(_read(path, MAX_JSON_BYTES + 1), str(path))
    return CardFile(path, "JSON", card_of(parsed.document, str(path), parsed.notes))


def write_card(
    target: Path, card: CharacterCard, source: CardFile | None = None, image: Path | None = None
) -> list[str]:
    """Write a card, all or nothing, in the container that the target's name asks for.

    Args:
        source: where the card came from, for its picture and its other files.
        image: a PNG to put it in.

    Returns:
        What happened to pictures and files, one line each.

    Raises:
        UserError: another ending, a folder in the way, an archive of a card that isn't V3, or no PNG as image.
    """
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{target}: a card ends in {', '.join(SUFFIXES)}; found {target.suffix or 'no ending'!r}")
    if target.is_dir():
        raise UserError(f"{target}: a folder stands there; choose another name")
    if image is not None and suffix == ".json":
        raise UserError(f"{target}: JSON holds no picture; leave --image out or write a .png")
    if suffix == ".json":
        write_text(target, json_text(card.document))
        return _left_behind(source)
    if suffix == ".png":
        chunks, told = _picture(source, image)
        content = png_with_card(chunks, card)
        with replacing(target) as temporary:
            temporary.write_bytes(content)
        return told
    if card.version != "v3":
        raise UserError(f"{target}: a .charx holds a V3 card, this one is {card.version.upper()}; give --to v3")
    return _write_archive(target, card, source, image)


def _write_archive(target: Path, card: CharacterCard, source: CardFile | None, image: Path | None) -> list[str]:
    archive = source.path if source is not None and source.container == "CHARX" else None
    added: dict[str, bytes] = {}
    told: list[str] = []
    if image is not None or (source is not None and source.container == "PNG"):
        chunks, told = _picture(source, image)
        added[_ICON] = png_bytes(chunk for chunk in chunks if chunk.keyword is None)
        card = _with_icon(card)
        if image is None and source is not None and source.assets:
            told.append(f"left out: {len(source.assets)} files in text chunks of the PNG")
    with replacing(target) as temporary:
        write_archive(temporary, card, archive, added)
    return told


def _with_icon(card: CharacterCard) -> CharacterCard:
    """Return the card with its main icon in the archive."""
    own = {"type": "icon", "uri": f"embeded://{_ICON}", "name": "main", "ext": "png"}  # the specification's spelling
    assets = card.document["data"].get("assets")
    others = [
        asset
        for asset in (assets if isinstance(assets, list) else [])
        if not (isinstance(asset, dict) and (asset.get("type"), asset.get("name")) == ("icon", "main"))
    ]
    document = {**card.document, "data": {**card.document["data"], "assets": [own, *others]}}
    return card_of(document, "the card with its icon", card.notes)


def _picture(source: CardFile | None, image: Path | None) -> tuple[Sequence[Chunk], list[str]]:
    """Return the PNG to write a card into, and what was done for it."""
    if image is not None:
        return read_chunks(_read(image, MAX_PNG_BYTES + 1), str(image)), _left_behind(source)
    if source is not None and source.container == "PNG":
        return source.chunks, []
    if source is not None and source.container == "CHARX":
        picture = picture_in_archive(source.path)
        if picture is not None:
            return read_chunks(picture, f"{source.path}, its icon"), _left_behind(source, 1)
    return plain_picture(), ["no picture of its own: a plain grey one was made; give --image", *_left_behind(source)]


def _left_behind(source: CardFile | None, taken: int = 0) -> list[str]:
    count = len(source.assets) - taken if source is not None else 0
    return [f"left out: {count} files that came with the card (pictures, sounds)"] if count > 0 else []


def _read(path: Path, limit: int) -> bytes:
    """Read at most ``limit`` bytes; whoever asks for one more than allowed sees that there are too many."""
    try:
        if path.exists() and not path.is_file():  # a pipe or a device would never end
            raise UserError(f"{path}: not a file; expected a card as {', '.join(SUFFIXES)}")
        with path.open("rb") as stream:
            content = stream.read(limit)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: can't be read ({reason})") from None
    if not content:
        raise UserError(f"{path}: an empty file ({size(0)}); expected a card")
    return content


def convert(source: CardFile, target: Path, version: Version | None, image: Path | None) -> tuple[Version, list[str]]:
    """Write a card in another version or container.

    Args:
        version: without one the card's own, but V3 for an archive.

    Returns:
        The version written, and what was lost or made on the way.
    """
    wanted = version or ("v3" if target.suffix.lower() == ".charx" else source.card.version)
    conversion = as_version(source.card, wanted)
    told = [f"left out: {', '.join(conversion.lost)} (V1 has no place for it)"] if conversion.lost else []
    return wanted, told + write_card(target, conversion.card, source, image)
