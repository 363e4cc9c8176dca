"""Names made of what strangers wrote, safe as a file's, a model's or a URL's: nothing but a-z, 0-9 and hyphens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_NAME_CHARACTERS = 40
_RESERVED = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")  # names that Windows keeps for devices


def safe_name(text: str, otherwise: str) -> str:
    """Return ``text`` as lower-case letters, digits and hyphens, at most 40; ``otherwise`` where nothing is left.

    Letters with accents lose them; scripts without Latin letters leave nothing.
    """
    latin = unicodedata.normalize("NFKD", text[:1000]).encode("ascii", "ignore").decode("ascii").lower()
    name = re.sub(r"[^a-z0-9]+", "-", latin)[:MAX_NAME_CHARACTERS].strip("-")
    return f"{name}-1" if _RESERVED.fullmatch(name) else name or otherwise


def unlike_each_other(names: Iterable[str]) -> list[str]:
    """Return the names in order, each that came before with a number behind it: "max", "max-2", "max-3"."""
    told: list[str] = []
    for name in names:
        own, number = name, 1
        while own in told:
            number += 1
            own = f"{name}-{number}"
        told.append(own)
    return told
