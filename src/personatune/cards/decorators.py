"""Decorators: lines ``@@name value`` at the head of a lorebook entry's content (SPEC_V3.md, "Decorators")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from personatune.cards.limits import MAX_KEYS

_LINE = re.compile(r"(@@@?)([A-Za-z_]+)[ \t]*(.*)")
_NUMBERS = frozenset({"scan_depth", "activate_only_after", "activate_only_every", "is_greeting"})
_LISTS = frozenset({"additional_keys", "exclude_keys"})
_FLAGS = frozenset({"activate", "dont_activate"})
_MAX_LINES = 50


@dataclass(frozen=True, slots=True)
class Decorated:
    """Content without its decorators, and those that are known.

    Attributes:
        numbers, lists, flags: the decorators by the kind of their value; the first of a name counts.
        ignored: the names of those that aren't known here or whose value makes no sense.
    """

    content: str
    numbers: Mapping[str, int]
    lists: Mapping[str, tuple[str, ...]]
    flags: frozenset[str]
    ignored: tuple[str, ...]


def read_decorators(content: str) -> Decorated:
    """Take the decorators off the head of an entry's content.

    A fallback (``@@@name``) counts only when the decorators it stands for were all ignored.
    """
    numbers: dict[str, int] = {}
    lists: dict[str, tuple[str, ...]] = {}
    flags: set[str] = set()
    ignored: list[str] = []
    lines = content.strip().splitlines()
    taken = 0
    covered = True  # the decorator that a fallback would stand for is heeded
    for line in lines[:_MAX_LINES]:
        match = _LINE.fullmatch(line.strip())
        if match is None:
            if line.strip():
                break
            taken += 1
            continue
        taken += 1
        marks, name, value = match[1], match[2].lower(), match[3].strip()
        if marks == "@@@" and covered:
            continue
        covered = True
        if name in _NUMBERS and re.fullmatch(r"[0-9]{1,9}", value):
            numbers.setdefault(name, int(value))
        elif name in _LISTS and value:
            lists.setdefault(name, tuple(part.strip() for part in value.split(",") if part.strip())[:MAX_KEYS])
        elif name in _FLAGS:
            flags.add(name)
        else:
            ignored.append(name)
            covered = False
    return Decorated("\n".join(lines[taken:]).strip(), numbers, lists, frozenset(flags), tuple(ignored))
