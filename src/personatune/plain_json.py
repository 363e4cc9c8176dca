"""JSON of strangers: whatever is wrong with it is one kind of error, and its texts are texts that a file can hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from personatune.plain_text import whole_characters

MAX_NESTING = 200
"""Levels of lists and objects. Dialogues need five; what is deeper breaks whoever writes or prints it later."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # one half of a surrogate pair, as an escape


def parse_json(text: str) -> Any:
    """Return the JSON value of ``text``; half a surrogate pair in a text of it is U+FFFD.

    Raises:
        json.JSONDecodeError: no JSON, nested deeper than `MAX_NESTING`, or a number of more digits than Python reads.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", text, 0) from None
    except ValueError:  # Python's limit on the digits of a whole number
        raise json.JSONDecodeError("a number with too many digits", text, 0) from None
    if text.count("[") + text.count("{") > MAX_NESTING and _deeper_than(value, MAX_NESTING):
        raise json.JSONDecodeError("nested too deeply", text, 0)
    return _whole(value) if _HALF.search(text) else value


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [inner for outer in level for inner in _containers(outer)]
        if not level:
            return False
    return True


def _containers(value: Any) -> Iterable[Any]:
    inside: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (inner for inner in inside if isinstance(inner, (dict, list)))


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, list):
        return [_whole(part) for part in value]
    if isinstance(value, dict):
        return {whole_characters(key): _whole(part) for key, part in value.items()}
    return value
