"""One card in another version: every value is kept where the other version has a place for it, the rest is told."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personatune.cards.schema import SPEC_VERSIONS, SPECS, V1_FIELDS, CharacterCard, Version, card_of

_SPEC_OF = {version: spec for spec, version in SPECS.items()}

V2_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(V1_FIELDS, ""),
    "creator_notes": "",
    "system_prompt": "",
    "post_history_instructions": "",
    "alternate_greetings": [],
    "tags": [],
    "creator": "",
    "character_version": "",
    "extensions": {},
}
"""What V2 demands of every card."""

V3_ONLY = (
    "assets",
    "nickname",
    "creator_notes_multilingual",
    "source",
    "group_only_greetings",
    "creation_date",
    "modification_date",
)
KEPT_V3 = "personatune/chara_card_v3"
"""The extension under which a V2 card carries the fields only V3 has, so that the way back restores them."""

BACKFILL_NOTICE = (
    "This character card is Character Card V3, but it is loaded as a Character Card V2. Please use a Character Card V3 "
    "compatible application to use this character card properly."
)
_KNOWN = {*V2_DEFAULTS, *V3_ONLY, "character_book"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """A card in another version, and the fields that version has no place for."""

    card: CharacterCard
    lost: tuple[str, ...]


def as_version(card: CharacterCard, version: Version, *, backfill: bool = False) -> Conversion:
    """Return the card in ``version``; the same version returns the same document.

    Args:
        backfill: the V2 card is the copy beside a V3 one and says so in its `creator_notes`.
    """
    if version == card.version:
        return Conversion(card, ())
    document = copy.deepcopy(card.document)
    outside = {key: value for key, value in document.items() if key not in ("spec", "spec_version", "data")}
    if card.version == "v1":
        content = {key: outside.pop(key) for key in V1_FIELDS if key in outside}
    else:
        content = document["data"]
    if version == "v1":
        lost = [key for key, value in content.items() if key not in V1_FIELDS and value not in ("", [], {}, None)]
        fields = {key: content[key] if content.get(key) is not None else "" for key in V1_FIELDS if key in content}
        made = {**outside, **dict.fromkeys(V1_FIELDS, ""), **fields}
    else:
        lost = []
        content = _with_defaults(content, V2_DEFAULTS)
        content = _upgraded(content) if version == "v3" else _downgraded(content, backfill=backfill)
        made = {"spec": _SPEC_OF[version], "spec_version": SPEC_VERSIONS[version], "data": content, **outside}
    return Conversion(card_of(made, f"the card as {version.upper()}", card.notes), tuple(lost))


def new_card(name: str, sentences: Sequence[str], version: Version) -> CharacterCard:
    """Return a card that describes a character by persona sentences, in the first person as they are."""
    content = _with_defaults({"name": name, "description": "\n".join(sentences)}, V2_DEFAULTS)
    document = {"spec": _SPEC_OF["v2"], "spec_version": SPEC_VERSIONS["v2"], "data": content}
    return as_version(card_of(document, "the new card"), version).card


def with_fields(card: CharacterCard, fields: Mapping[str, str]) -> CharacterCard:
    """Return the card with other texts in some of its fields."""
    document = dict(card.document)
    if card.version == "v1":
        document |= fields
    else:
        document["data"] = {**document["data"], **fields}
        document |= {key: value for key, value in fields.items() if key in document}  # V1 copies beside `data`
    return card_of(document, "the changed card", card.notes)


def unknown_fields(card: CharacterCard) -> list[str]:
    """Name the fields of a card that no version knows; they are kept and not used."""
    if card.version == "v1":
        return [key for key in card.document if key not in V1_FIELDS]
    outside = [key for key in card.document if key not in ("spec", "spec_version", "data", *V1_FIELDS)]
    return [*outside, *(f"data.{key}" for key in card.document["data"] if key not in _KNOWN)]


def _with_defaults(content: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what is missing or null: both versions ask for these fields."""
    missing = {key: copy.copy(value) for key, value in defaults.items() if content.get(key) is None}
    return {**content, **missing}


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    extensions = dict(content["extensions"])
    kept = extensions.pop(KEPT_V3, None)
    if isinstance(kept, Mapping) and set(kept) <= set(V3_ONLY):
        content = {**content, "extensions": extensions, **{key: kept[key] for key in kept if key not in content}}
    content = _with_defaults(content, {"group_only_greetings": []})
    book = content.get("character_book")
    if isinstance(book, Mapping):
        entries = [{**entry, "use_regex": entry.get("use_regex") or False} for entry in book.get("entries") or []]
        content["character_book"] = {**book, "entries": entries}
    return content


def _downgraded(content: dict[str, Any], *, backfill: bool) -> dict[str, Any]:
    only = {key: content.pop(key) for key in V3_ONLY if key in content}
    if backfill:
        notes = content["creator_notes"]
        content["creator_notes"] = f"{BACKFILL_NOTICE}\n\n{notes}" if notes else BACKFILL_NOTICE
    elif only not in ({}, {"group_only_greetings": []}):
        content["extensions"] = {**content["extensions"], KEPT_V3: only}
    return content
