"""The formats: what a card of each version holds, checked field by field.

The document itself is kept as it was read; `CardData` is only how its known fields are looked at. That is why unknown
fields and `extensions` survive a round trip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from personatune.cards.card_json import kind_of
from personatune.cards.limits import (
    MAX_BOOK_KEYS,
    MAX_GREETINGS,
    MAX_KEY_CHARACTERS,
    MAX_KEYS,
    MAX_LORE_ENTRIES,
    MAX_NAME_CHARACTERS,
    MAX_TEXT_CHARACTERS,
)
from personatune.errors import UserError, did_you_mean

Version = Literal["v1", "v2", "v3"]

SPECS: dict[str, Version] = {"chara_card_v2": "v2", "chara_card_v3": "v3"}
SPEC_VERSIONS: dict[Version, str] = {"v2": "2.0", "v3": "3.0"}
V1_FIELDS = ("name", "description", "personality", "scenario", "first_mes", "mes_example")

_EXPECTED = {
    "string_type": "text",
    "list_type": "a list",
    "bool_type": "true or false",
    "float_type": "a number",
    "finite_number": "a number",
    "dict_type": "an object",
    "model_type": "an object",
}


def _listed(value: Any) -> Any:
    """Some programs write keys as one text with commas."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _whole_characters(value: Any) -> Any:
    """JSON can hold half of a surrogate pair, which is no character: a question mark is seen instead."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _as_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PydanticCustomError("dict_type", "an object")
    return value


_Seen = BeforeValidator(_whole_characters)
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS), _Seen]
Name = Annotated[str, Field(max_length=MAX_NAME_CHARACTERS), _Seen]
Texts = Annotated[list[Text], Field(max_length=MAX_GREETINGS)]
Key = Annotated[str, Field(max_length=MAX_KEY_CHARACTERS), _Seen]
Keys = Annotated[list[Key], Field(max_length=MAX_KEYS), BeforeValidator(_listed)]
Extensions = Annotated[Any, BeforeValidator(_as_object)]


class _Part(BaseModel):
    """Fields of another type are refused; missing ones and null, which many programs write, take their default."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_and_given(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: value[key] for key in cls.model_fields if value.get(key) is not None}


class LoreEntry(_Part):
    """One entry of a lorebook: what is known where one of its keys is spoken of."""

    keys: Keys = []
    content: Text = ""
    enabled: bool = True
    insertion_order: float = 0
    case_sensitive: bool = False
    use_regex: bool = False
    constant: bool = False
    name: Text = ""
    comment: Text = ""
    priority: float | None = None
    selective: bool = False
    secondary_keys: Keys = []
    extensions: Extensions = {}

    @property
    def heeds_case(self) -> bool:
        """Whether capital letters count; SillyTavern writes that under `extensions`."""
        return self.case_sensitive or self.extensions.get("case_sensitive") is True


class Lorebook(_Part):
    """The card's own book of entries."""

    scan_depth: float | None = None
    token_budget: float | None = None
    recursive_scanning: bool = False
    extensions: Extensions = {}
    entries: Annotated[list[LoreEntry], Field(max_length=MAX_LORE_ENTRIES)] = []

    @field_validator("entries", mode="after")
    @classmethod
    def _few_keys(cls, entries: list[LoreEntry]) -> list[LoreEntry]:
        count = sum(len(entry.keys) + len(entry.secondary_keys) for entry in entries)
        if count > MAX_BOOK_KEYS:
            limits = {"actual_length": count, "max_length": MAX_BOOK_KEYS}
            raise PydanticCustomError("too_many_keys", "at most {max_length} keys", limits)
        return entries


class CardData(_Part):
    """The fields of a card that mean something here."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS), _Seen]
    description: Text = ""
    personality: Text = ""
    scenario: Text = ""
    first_mes: Text = ""
    mes_example: Text = ""
    creator_notes: Text = ""
    system_prompt: Text = ""
    post_history_instructions: Text = ""
    alternate_greetings: Texts = []
    group_only_greetings: Texts = []
    character_book: Lorebook | None = None
    tags: Texts = []
    creator: Text = ""
    character_version: Text = ""
    nickname: Name = ""
    extensions: Extensions = {}


@dataclass(frozen=True, slots=True)
class CharacterCard:
    """One card.

    Attributes:
        document: the JSON object as it was read, nothing added, nothing left out.
        version: the format it is in.
        data: its known fields, checked.
        notes: what was odd about it, one line each.
    """

    document: dict[str, Any]
    version: Version
    data: CardData
    notes: tuple[str, ...] = ()


def card_of(document: dict[str, Any], place: str, notes: tuple[str, ...] = ()) -> CharacterCard:
    """Look at a JSON object as a card.

    Raises:
        UserError: another format, or a field of the wrong type or beyond its limit (names the field).
    """
    version = _version(document, place)
    content, prefix = (document, "") if version == "v1" else (document.get("data"), "data.")
    if not isinstance(content, Mapping):
        raise UserError(f"{place}: data: found {kind_of(content)}, expected an object with the card's fields")
    try:
        data = CardData.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{place}: {prefix}{_told(error.errors(include_url=False)[0])}") from None
    if not data.name.strip():
        raise UserError(f"{place}: {prefix}name: found only blanks, expected the character's name")
    return CharacterCard(document, version, data, (*notes, *_about_version(document, version)))


def _version(document: dict[str, Any], place: str) -> Version:
    spec = document.get("spec")
    if spec is None:
        if "name" in document and any(field in document for field in V1_FIELDS[1:]):
            return "v1"
        raise UserError(f"{place}: no character card: neither a spec nor the fields {', '.join(V1_FIELDS[:3])}, …")
    if not isinstance(spec, str):
        raise UserError(f"{place}: spec: found {kind_of(spec)}, expected {' or '.join(SPECS)}")
    if spec not in SPECS:
        raise UserError(f"{place}: spec: found {spec[:40]!r}, expected {' or '.join(SPECS)}{did_you_mean(spec, SPECS)}")
    return SPECS[spec]


def _about_version(document: dict[str, Any], version: Version) -> tuple[str, ...]:
    if version == "v1" or document.get("spec_version") == SPEC_VERSIONS[version]:
        return ()
    found = str(document.get("spec_version"))[:20]
    return (f"spec_version is {found!r}, known is {SPEC_VERSIONS[version]!r}; what is new in it isn't used",)


def _told(found: ErrorDetails) -> str:
    place = ".".join(str(part) for part in found["loc"])
    kind, limits = found["type"], found.get("ctx", {})
    if kind == "missing":
        return f"{place}: missing, expected the character's name"
    if kind == "string_too_short":
        return f"{place}: empty, expected the character's name"
    if kind == "string_too_long":
        return f"{place}: {len(found['input']):,} characters, expected at most {limits['max_length']:,}"
    if kind == "too_many_keys":
        return f"{place}: {limits['actual_length']:,} keys, expected at most {limits['max_length']:,}"
    if kind == "too_long":
        return f"{place}: {limits['actual_length']:,} of them, expected at most {limits['max_length']:,}"
    return f"{place}: found {kind_of(found['input'])}, expected {_EXPECTED.get(kind, found['msg'].lower())}"
