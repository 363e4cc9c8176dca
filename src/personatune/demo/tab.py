"""What one browser tab is about: its persona, its chat and its duel. Knows no web page."""

from __future__ import annotations

from pathlib import Path

from personatune.cards.character import CardCharacter
from personatune.demo.ballots import Ballots
from personatune.demo.chat import Chat
from personatune.demo.duel import Duel
from personatune.demo.personas import (
    about_card,
    as_text,
    built_in_personas,
    character_from,
    first_persona,
    written_persona,
)
from personatune.demo.reading import Reader
from personatune.demo.shelf import Shelf
from personatune.dialogue import Persona
from personatune.errors import UserError, did_you_mean

CRITIC = "+critic"


class Tab:
    """One tab; nothing in it is shared with another one but the models, the critic and the files of votes.

    Args:
        seed: of draws and sides; None: another one for every tab.
    """

    def __init__(self, shelf: Shelf, ballots: Ballots, reader: Reader, *, seed: int | None = None) -> None:
        persona = first_persona()
        self.chat = Chat(shelf, ballots, reader, persona, seed=seed)
        self.duel = Duel(shelf, ballots, reader, persona, seed=seed)
        self._draft: CardCharacter | None = None

    @property
    def persona(self) -> Persona:
        """Who is talked with."""
        return self.chat.session.persona

    @property
    def name(self) -> str | None:
        character = self.chat.session.character
        return character.name if character is not None else self.persona.name

    def pick(self, label: str | None) -> str:
        """Return a packaged persona's sentences for editing; a card that was imported is put away.

        Raises:
            UserError: there is none of that name.
        """
        known = built_in_personas()
        if label is None or label not in known:
            raise UserError(f"no persona {str(label)[:60]!r} in the list{did_you_mean(str(label), known)}")
        self._draft = None
        return as_text(known[label])

    def import_card(self, upload: Path, user: str) -> tuple[str, str]:
        """Return a card's sentences for editing, and what became of it in one line.

        Raises:
            UserError: no card, damaged, or beyond its limits; the draft before stays.
        """
        self._draft = character_from(upload, user)
        return as_text(self._draft.persona), about_card(self._draft)

    def begin(self, text: str) -> None:
        """Begin chat and duel anew with the edited sentences.

        Raises:
            UserError: no sentence, too many or too long ones, or a reply is being written; all stays as it was.
        """
        persona = written_persona(text, self._draft)
        self.chat.require_idle()
        self.duel.require_idle()
        self.chat.change_persona(persona)
        self.duel.change_persona(persona)

    def stop(self) -> None:
        """End whatever is being written."""
        self.chat.stop()
        self.duel.stop()


def sides(shelf: Shelf) -> list[str]:
    """Return what can stand on a side of a duel: each model, and each one re-ranked."""
    return [name + more for name in shelf.names for more in (("", CRITIC) if shelf.can_rerank else ("",))]


def side(name: str, shelf: Shelf) -> tuple[str, bool]:
    """Return model and re-ranking of a side's name; a model whose own name ends in ``+critic`` is that model."""
    if name in shelf.names or not name.endswith(CRITIC):
        return name, False
    return name.removesuffix(CRITIC), True
