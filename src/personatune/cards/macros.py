"""Macros in a card's text: ``{{char}}``, ``{{user}}``, ``{{original}}`` and those of SPEC_V3.md.

One pass, so that a name holding a macro expands nothing. Macros that aren't known stay as they are.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

DEFAULT_USER = "User"  # spec_v1.md: "A default value for the user's name MUST exist"; this one is SillyTavern's

_MACRO = re.compile(r"\{\{([^{}]{0,2000})\}\}|<(BOT|CHAR|USER)>", re.IGNORECASE)
_ANY_MARKER = re.compile(r"\{\{|\}\}|\{%|%\}|<%|\$\{")
_CHOICE = re.compile(r"(random|pick)::?(.*)", re.IGNORECASE | re.DOTALL)
_ROLL = re.compile(r"roll:+\s*d?([1-9][0-9]{0,8})\s*", re.IGNORECASE)
_REVERSE = re.compile(r"reverse:(.*)", re.IGNORECASE | re.DOTALL)
_HIDDEN = re.compile(r"(?://|hidden_key:|comment:).*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Macros:
    """What the macros of one card stand for.

    Attributes:
        char: the character's nickname or name.
        user: who talks with it.
        original: what `{{original}}` is in a system prompt: the program's own.
        seed: of ``{{random:…}}``, ``{{pick:…}}`` and ``{{roll:…}}``, which give one answer for one text.
    """

    char: str
    user: str = DEFAULT_USER
    original: str = ""
    seed: int = 0

    def expand(self, text: str) -> str:
        """Return the text with every known macro replaced, in whatever case it is written."""
        rng = random.Random(f"{self.seed}{text}")
        names: dict[str, str] = {"char": self.char, "bot": self.char, "user": self.user, "original": self.original}

        def value(match: re.Match[str]) -> str:
            inside = match[1] if match[1] is not None else match[2]
            name = inside.strip().lower()
            return names[name] if name in names else _computed(inside, rng, match[0])

        return _MACRO.sub(value, text)


def has_marker(text: str) -> bool:
    """Say whether a macro or a mark of another template language is left in an expanded text."""
    return _ANY_MARKER.search(text) is not None


def _computed(inside: str, rng: random.Random, whole: str) -> str:
    if _HIDDEN.fullmatch(inside.strip()):
        return ""
    rules: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
        (_CHOICE, lambda match: rng.choice(_alternatives(match[2]))),
        (_ROLL, lambda match: str(rng.randint(1, int(match[1])))),
        (_REVERSE, lambda match: match[1][::-1]),
    )
    for pattern, compute in rules:
        match = pattern.fullmatch(inside.strip())
        if match:
            return compute(match)
    return whole


def _alternatives(text: str) -> list[str]:
    """Split at commas (or, as SillyTavern writes it, at ``::``); a backslash keeps a comma."""
    if "::" in text:
        return text.split("::")
    return [part.replace("\\,", ",") for part in re.split(r"(?<!\\),", text)]
