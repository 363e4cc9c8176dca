"""Whom one can talk with: the packaged training personas, the characters of cards, and what people write."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path

from personatune.cards.character import CardCharacter
from personatune.cards.files import read_card
from personatune.cards.limits import MEBIBYTE
from personatune.cards.macros import DEFAULT_USER
from personatune.chat.session import parse_persona
from personatune.dialogue import Persona
from personatune.errors import UserError
from personatune.judging.persona_probes import load_persona_probes

MAX_UPLOAD_BYTES = 64 * MEBIBYTE
"""Of a file that a browser sends; cards in the wild stay below a tenth of it."""


@lru_cache(maxsize=1)
def built_in_personas() -> dict[str, Persona]:
    """Return the training personas of PersonaProbes by the name that a list shows.

    Those of the other splits stay out: votes on them would be votes on what models are tested on.
    """
    return {f"{one.name} ({one.id})": one.persona() for one in load_persona_probes("train")}


def first_persona() -> Persona:
    """Return the one that a tab begins with."""
    return next(iter(built_in_personas().values()))


def character_from(upload: Path, user: str = "") -> CardCharacter:
    """Read an uploaded card.

    Args:
        upload: where the server keeps it; messages name the file alone, the server's folders are nobody's business.
        user: what the card calls whom it talks with.

    Raises:
        UserError: no card, damaged, or beyond the limits of `cards.limits`.
    """
    try:
        return CardCharacter(read_card(upload).card, user or DEFAULT_USER)
    except UserError as error:
        raise UserError(str(error).replace(str(upload), upload.name)) from None


def as_text(persona: Persona) -> str:
    """Return a persona as it is edited: one sentence a line."""
    return "\n".join(persona.traits)


def written_persona(text: str, character: CardCharacter | None = None) -> Persona | CardCharacter:
    """Return the persona of edited sentences: of a card's character, or of nobody in particular.

    A character keeps its name, greetings, example dialogues and lorebook; only what it is told about itself changes.

    Raises:
        UserError: no sentence, too many, or one that is too long.
    """
    persona = parse_persona(text or "")
    if character is None:
        known = {one.traits: one for one in built_in_personas().values()}
        return known.get(persona.traits, persona)
    edited = copy.copy(character)
    edited.persona = persona
    return edited


def about_card(character: CardCharacter) -> str:
    """Return what became of a card, in one line."""
    left_out = len(character.told.left_out)
    parts = [f"{character.name}: {len(character.persona.traits)} persona sentences"]
    if left_out:
        parts.append(f"{left_out} pieces of the card became none (personatune cards show tells why)")
    if character.greetings:
        parts.append(f"{len(character.greetings)} greeting{'s' if len(character.greetings) > 1 else ''}")
    return "; ".join(parts) + ". Edit the sentences if you like, then begin."
