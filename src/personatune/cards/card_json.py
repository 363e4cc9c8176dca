"""JSON of a stranger to a Python object and back, with every value as it was."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from personatune.cards.limits import MAX_JSON_BYTES, MAX_NESTING
from personatune.errors import UserError


@dataclass(frozen=True, slots=True)
class ParsedJson:
    """A JSON object, and what is odd about it in words."""

    document: dict[str, Any]
    notes: tuple[str, ...]


class _FoundInJson(ValueError):  # noqa: N818  (its message is told as a UserError's)
    """Something JSON's grammar or this reader doesn't take."""


def parse_object(data: bytes, place: str) -> ParsedJson:
    """Read one JSON object from UTF-8 bytes, with or without a byte order mark.

    Args:
        place: where the bytes come from, for the message.

    Raises:
        UserError: too long, no UTF-8, no JSON, no object, nested too deeply, or a number no float can hold.
    """
    if len(data) > MAX_JSON_BYTES:
        raise UserError(f"{place}: {size(len(data))}, expected a card of at most {size(MAX_JSON_BYTES)}")
    repeated: dict[str, None] = {}

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            repeated.update((key, None) for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return found

    try:
        text = data.decode("utf-8-sig")
        document = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 text (byte {error.start}); expected a card as JSON") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{place}: not JSON (line {error.lineno}, column {error.colno}: {error.msg}); expected a card"
        ) from None
    except RecursionError:
        raise UserError(f"{place}: nested too deeply, expected at most {MAX_NESTING} levels") from None
    except ValueError as error:  # ours, and Python's own limit on the digits of a whole number
        reason = str(error) if isinstance(error, _FoundInJson) else "a number with too many digits"
        raise UserError(f"{place}: {reason}; expected a card as JSON") from None
    if not isinstance(document, dict):
        raise UserError(f"{place}: found {kind_of(document)}, expected a card: a JSON object")
    if _deeper_than(document, MAX_NESTING):
        raise UserError(f"{place}: nested too deeply, expected at most {MAX_NESTING} levels")
    return ParsedJson(document, tuple(f"{key[:40]!r} stands twice; the last one counts" for key in list(repeated)[:5]))


def json_text(document: dict[str, Any]) -> str:
    """Write a card as indented JSON; halves of surrogate pairs, which UTF-8 can't hold, stay escapes."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2, allow_nan=False)
    return text + "\n"


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count:,} bytes"


def kind_of(value: object) -> str:
    """Name the JSON type of a value."""
    kinds: dict[type, str] = {
        dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number",
    }  # fmt: skip
    return kinds.get(type(value), "null")


def _refuse(constant: str) -> NoReturn:
    raise _FoundInJson(f"found {constant}, which is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _FoundInJson(f"the number {digits[:20]} is too large")
    return value


def _deeper_than(document: Any, limit: int) -> bool:
    level: list[Any] = [document]
    for _ in range(limit):
        level = [inner for value in level for inner in _containers(value)]
        if not level:
            return False
    return True


def _containers(value: Any) -> Iterable[Any]:
    inside = value.values() if isinstance(value, dict) else value
    return (inner for inner in inside if isinstance(inner, (dict, list)))
