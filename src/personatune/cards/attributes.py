"""Attribute lists of cards: W++ (``Age("34")``), brackets (``[Age: 34; Likes: tea]``), lines (``Age: 34``)."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attribute:
    """A key in lower case and its values, cleaned of quotes."""

    key: str
    values: tuple[str, ...]


_KEY = r"[A-Za-z][A-Za-z /&'’()-]{0,40}?"
_QUOTED = re.compile(r"[\"“]([^\"”\n]*)[\"”]")
_WPP = re.compile(
    r"([A-Za-z][A-Za-z /'’-]{0,40}?)\s{0,3}\(\s{0,3}"
    r"([\"“][^\"”\n]{0,500}[\"”](?:\s{0,3}[+,]\s{0,3}[\"“][^\"”\n]{0,500}[\"”]){0,60})\s{0,3}\)"
)
_BRACKETED = re.compile(r"\[([^\[\]]{1,5000})\]")
_PAIR = re.compile(rf"\s*[-*•+~]*\s*({_KEY})\s*[:=]\s*(\S.*)", re.DOTALL)
_HEADING = re.compile(rf"\s*[-•+~]*\s*({_KEY})\s*:\s*")
_NEXT_PAIR = re.compile(r"[;\n|]|,(?=\s*[A-Z][A-Za-z ]{0,30}\s?[:=])")
_OWNER = re.compile(r"^.{1,60}?['’]s\s+(?=\S)")
_NO_KEY = re.compile(r"(?:i|he|she|they|it|you|we|there|this|that|the|a|an|my|his|her|their|your|when|if|as)\b", re.I)


def take_attributes(text: str) -> tuple[list[Attribute], str]:
    """Take W++ and bracketed lists out of a text.

    Returns:
        The attributes in order, and the text without them.
    """
    found: list[Attribute] = []

    def wpp(match: re.Match[str]) -> str:
        values = tuple(value for value in map(_clean, _QUOTED.findall(match[2])) if value)
        found.append(Attribute(_key(match[1]), values))
        return "\n"

    rest = _WPP.sub(wpp, text)
    if found:  # the frame around them: [Character("Mara"){ … }]
        rest = re.sub(r"^[\s\[\]{}()+,;]+$", "", rest, flags=re.MULTILINE)

    def bracketed(match: re.Match[str]) -> str:
        pairs = [line_attribute(part) for part in _NEXT_PAIR.split(match[1]) if part.strip()]
        known = [pair for pair in pairs if pair is not None]
        if not known or len(known) < len(pairs):
            return match[0]
        found.extend(known)
        return "\n"

    return found, _BRACKETED.sub(bracketed, rest)


def line_attribute(line: str) -> Attribute | None:
    """Read a line ``Key: value, value``; None for any other line."""
    match = _PAIR.fullmatch(line)
    if match is None or _NO_KEY.match(_OWNER.sub("", match[1])) or len(match[1].split()) > 4:
        return None
    values = tuple(value for value in map(_clean, split_values(match[2])) if value)
    return Attribute(_key(match[1]), values) if values else None


def heading_of(line: str) -> str | None:
    """Return the key that a line alone announces for the lines below it ("Likes:"), in lower case."""
    match = _HEADING.fullmatch(line)
    return None if match is None or _NO_KEY.match(match[1]) else _key(match[1])


def split_values(value: str) -> list[str]:
    """Split a value at its commas, semicolons and bars; inside parentheses and numbers they stay."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(value):
        depth += (character == "(") - (character == ")")
        if depth <= 0 and character in ",;+|" and not (character == "," and value[at + 1 : at + 2].isdigit()):
            parts.append(value[start:at])
            start = at + 1
    return [*parts, value[start:]]


def _key(text: str) -> str:
    return " ".join(_OWNER.sub("", text).replace("’", "'").lower().split())


def _clean(value: str) -> str:
    return re.sub(r"^(?:and|or)\s+", "", " ".join(value.split()).strip(" \"“”'.-*~[]{}"))
