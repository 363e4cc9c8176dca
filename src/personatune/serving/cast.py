"""Who can be talked with: one model id for each persona, and what a reply of theirs is given."""

from __future__ import annotations

from collections.abc import Sequence

from personatune.cards.character import CardCharacter
from personatune.cards.sentences import split_sentences
from personatune.chat.session import parse_persona
from personatune.dialogue import Context, Persona
from personatune.errors import UserError
from personatune.export.names import names_of
from personatune.model.prompts import read_instruction
from personatune.serving.errors import ApiError
from personatune.serving.requests import Order

_MAX_SYSTEM_CHARACTERS = 8000  # twice what 20 sentences of 200 have; more isn't even looked into


class Cast:
    """The personas that are served.

    Args:
        people: sentences, or characters of cards; each gets an id made of its name, "persona-1" without one.
        heed_system: whether a request's system message takes the place of the served persona.
    """

    def __init__(self, people: Sequence[Persona | CardCharacter], *, heed_system: bool = True) -> None:
        self._people = dict(zip(names_of(people), people, strict=True))
        self._heed_system = heed_system

    @property
    def ids(self) -> list[str]:
        return list(self._people)

    def require(self, model: str) -> Persona | CardCharacter:
        """Return who is behind an id.

        Raises:
            ApiError: 404.
        """
        if model not in self._people:
            known = ", ".join(self._people)
            raise ApiError(
                404, f"model {model[:80]!r} is not served here; there is {known}", param="model", code="model_not_found"
            )
        return self._people[model]

    def context(self, order: Order) -> Context:
        """Return what the reply is given: persona, example dialogues, lore of the last turns, and the turns.

        A persona of the request's own has none of the card's examples and lore: it is somebody else.

        Raises:
            ApiError: no such model, or a system message that is no persona.
        """
        served = self.require(order.model)
        if order.system is not None and self._heed_system:
            try:
                return Context(persona_of(order.system), order.turns)
            except UserError as error:
                raise ApiError(400, f"{order.system_field}: {error}", param=order.system_field) from None
        return served.context(order.turns) if isinstance(served, CardCharacter) else Context(served, order.turns)


def persona_of(system: str) -> Persona:
    """Read a system message as a persona: this project's own instruction, or any text by its sentences.

    Raises:
        UserError: more than 20 sentences, or one longer than 200 characters.
    """
    if len(system) > _MAX_SYSTEM_CHARACTERS:
        raise UserError(f"persona: found {len(system):,} characters, expected at most {_MAX_SYSTEM_CHARACTERS:,}")
    own = read_instruction(system)
    if own is not None:
        return own
    lines = (line.strip().removeprefix("- ") for part in system.split("|") for line in part.splitlines())
    return parse_persona("\n".join(sentence for line in lines for sentence in split_sentences(line)))
