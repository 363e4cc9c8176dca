"""The cells of a record: persona sentences and speeches in whatever way a dataset writes them down."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from personatune.plain_json import parse_json

Speech = tuple[str, str]  # speaker, text

SILENCE = "__SILENCE__"
_SPEAKER_KEYS = ("speaker", "role", "from", "sender", "name")
_TEXT_KEYS = ("text", "content", "value", "utterance", "message")
# Who a lone persona belongs to when turns carry names; otherwise it is the second speaker's, as in ConvAI2.
PERSONA_SPEAKERS = frozenset({"assistant", "bot", "self", "me", "gpt", "model", "character", "agent", "system_bot"})
PARTNER_SPEAKERS = frozenset({"user", "human", "partner", "you", "them", "other"})


class UnusableRowError(ValueError):
    """A record without what a dialogue needs; its text is the reason that is counted."""


def sentences(value: Any) -> tuple[str, ...]:
    """Return the persona sentences of a cell: a list, or text split by lines, " | " or sentence ends."""
    value = decoded(value)
    if value is None:
        return ()
    if isinstance(value, Mapping):
        return sentences(value.get("traits", value.get("persona", value.get("personas"))))
    if isinstance(value, str):
        for separator in ("\n", "|", ";"):
            if separator in value:
                return tuple(part.strip() for part in value.split(separator) if part.strip())
        return tuple(part.strip() for part in re.split(r"(?<=[.!?])\s+", value) if part.strip())
    if isinstance(value, Sequence):
        return tuple(str(part).strip() for part in value if part is not None and str(part).strip())
    raise UnusableRowError("persona of an unknown form")


def speeches(value: Any) -> list[Speech]:
    """Return (speaker, text) in order from any of the ways dialogues are written; "" is a speaker without a name."""
    value = decoded(value)
    if value is None:
        return []
    if isinstance(value, str):
        return _prefixed(value.splitlines())
    if not isinstance(value, Sequence):
        raise UnusableRowError("dialogue of an unknown form")
    if all(isinstance(part, str) for part in value):
        return _prefixed(value)
    spoken = _speeches(value)
    if all(isinstance(part, Sequence) and not isinstance(part, str) for part in value) and not _are_names(spoken):
        # ConvAI2 JSON: [partner, self] pairs
        spoken = [(name, text) for pair in spoken for name, text in (("partner", pair[0]), ("self", pair[1]))]
    return [(name, text) for name, text in spoken if (said := text.strip()) and said != SILENCE]


def decoded(value: Any) -> Any:
    """Return the list or object that a cell holds as text, as JSON or as Python writes it; anything else as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text[:1] not in "[{" or text[-1:] not in "]}" or not text:
        return value
    try:
        decoded = parse_json(text)
    except json.JSONDecodeError:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd escapes in a stranger's text, on everybody's terminal
                decoded = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return value
    return decoded if isinstance(decoded, (list, dict)) else value


def _speeches(parts: Sequence[Any]) -> list[Speech]:
    """Do `_speech` for every part; where all are objects with the same keys, which they nearly always are, at once."""
    if set(map(type, parts)) == {dict} and len(set(map(tuple, parts))) == 1:
        name_key = next((key for key in _SPEAKER_KEYS if key in parts[0]), None)
        text_key = next((key for key in _TEXT_KEYS if key in parts[0]), None)
        names, texts = [part.get(name_key) for part in parts], [part.get(text_key) for part in parts]
        if set(map(type, names)) == set(map(type, texts)) == {str}:
            return list(zip(names, texts, strict=True))
    return list(map(_speech, parts))


def _speech(part: Any) -> Speech:
    if isinstance(part, Mapping):
        name = next((part[key] for key in _SPEAKER_KEYS if part.get(key) is not None), "")
        text = next((part[key] for key in _TEXT_KEYS if part.get(key) is not None), "")
        return str(name), str(text)
    if isinstance(part, Sequence) and not isinstance(part, str) and len(part) == 2:
        return str(part[0]), str(part[1])
    if isinstance(part, str):
        return "", part
    raise UnusableRowError("turn of an unknown form")


def _are_names(spoken: Sequence[Speech]) -> bool:
    """Say whether the first parts of pairs are speaker names: few, short and recurring."""
    firsts = {name for name, _ in spoken}
    if SILENCE in firsts or not firsts:
        return False
    if firsts <= PERSONA_SPEAKERS | PARTNER_SPEAKERS:
        return True
    return (len(firsts) < len(spoken) and len(firsts) <= 3) or all(len(name.split()) <= 2 for name in firsts)


_PREFIX = re.compile(r"\s*([A-Za-z][\w .'-]{0,29}?)\s*:\s*(?!//)(.*)", re.DOTALL)


def _prefixed(lines: Sequence[str]) -> list[Speech]:
    """Split "User 1: hi" lines; a line without a prefix goes on with the turn before."""
    lines = [line for line in lines if line.strip()]
    matches = [_PREFIX.match(line) for line in lines]
    names = {match[1].strip().lower() for match in matches if match}
    if (
        not lines
        or matches[0] is None
        or len(names) > max(2, len(lines) // 4)
        or sum(map(bool, matches)) * 2 < len(lines)
    ):
        return [("", line.strip()) for line in lines if line.strip() != SILENCE]
    spoken: list[Speech] = []
    for line, match in zip(lines, matches, strict=True):
        if match:
            spoken.append((match[1].strip(), match[2].strip()))
        elif spoken:
            spoken[-1] = (spoken[-1][0], f"{spoken[-1][1]} {line.strip()}")
    return [(name, text) for name, text in spoken if text]
