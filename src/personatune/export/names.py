"""Names made of what strangers wrote, safe as a file's, a model's or a URL's: nothing but a-z, 0-9 and hyphens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from personatune.cards.character import CardCharacter
from personatune.dialogue import Persona

MAX_NAME_CHARACTERS = 40
_RESERVED = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")  # names that Windows keeps for devices
_NAMED = re.compile(r"my name is ([^.,;!?|]{1,60})", re.IGNORECASE)


def safe_name(text: str, otherwise: str) -> str:
    """Return ``text`` as lower-case letters, digits and hyphens, at most 40; ``otherwise`` where nothing is left.

    Letters with accents lose them; scripts without Latin letters leave nothing.
    """
    latin = unicodedata.normalize("NFKD", text[:1000]).encode("ascii", "ignore").decode("ascii").lower()
    name = re.sub(r"[^a-z0-9]+", "-", latin)[:MAX_NAME_CHARACTERS].strip("-")
    return f"{name}-1" if _RESERVED.fullmatch(name) else name or otherwise


def names_of(people: Sequence[Persona | CardCharacter]) -> list[str]:
    """Return a safe name for each persona, no two alike: a card's or a told name, else "persona-1" and so on."""
    told: list[str] = []
    for place, person in enumerate(people, start=1):
        name = own = safe_name(_name_of(person), f"persona-{place}")
        number = 1
        while own in told:
            number += 1
            own = f"{name}-{number}"
        told.append(own)
    return told


def _name_of(person: Persona | CardCharacter) -> str:
    if isinstance(person, CardCharacter):
        return person.name
    told = next((found[1] for trait in person.traits if (found := _NAMED.search(trait))), "")
    return person.name or told
