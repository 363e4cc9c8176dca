"""A conversation with one persona: its history, its commands' meaning, and why a reply came out as it did.

Knows no terminal and no web page; both stand on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from personatune.dialogue import MAX_TRAIT_CHARACTERS, MAX_TRAITS, Context, Persona, Turn
from personatune.errors import UserError
from personatune.judging.keywords import contradicted_traits, expressed_traits
from personatune.plain_text import plain_text as plain_text

Stream = Callable[[Context], Iterator[str]]
"""Answers a context with the pieces of one reply, in order."""

def parse_persona(text: str) -> Persona:
    """Read a persona as people type it: sentences with ``|`` or a line break between them.

    Raises:
        UserError: no sentence at all, more than 20, or one longer than 200 characters.
    """
    traits = tuple(trait for part in re.split(r"[|\n]", plain_text(text)) if (trait := " ".join(part.split())))
    if not traits:
        raise UserError('persona: found no sentence, expected some, as in "I have two dogs. | I am a chef."')
    if len(traits) > MAX_TRAITS:
        raise UserError(f"persona: found {len(traits)} sentences, expected at most {MAX_TRAITS}; leave some out")
    for number, trait in enumerate(traits, start=1):
        if len(trait) > MAX_TRAIT_CHARACTERS:
            raise UserError(
                f"persona, sentence {number} ({trait[:30]!r}...): {len(trait)} characters, expected at most "
                f"{MAX_TRAIT_CHARACTERS}; split it with |"
            )
    return Persona(traits)


@dataclass(frozen=True, slots=True)
class Why:
    """What a reply has to do with the persona, by keywords.

    Attributes:
        used: the persona sentences the reply expresses.
        contradicted: the persona sentences it contradicts.
    """

    reply: str
    used: tuple[str, ...]
    contradicted: tuple[str, ...]


class ChatSession:
    """One person talking with one persona.

    Args:
        stream: answers a context (persona and turns, the partner's last) with the pieces of one reply.
    """

    def __init__(self, persona: Persona, stream: Stream) -> None:
        self._persona = persona
        self._stream = stream
        self._history: tuple[Turn, ...] = ()

    @property
    def persona(self) -> Persona:
        return self._persona

    @property
    def history(self) -> tuple[Turn, ...]:
        """The turns so far, "partner" (the person) and "self" (the persona) in alternation."""
        return self._history

    def say(self, text: str) -> Generator[str, None, None]:
        """Stream the reply to ``text``, then record both turns.

        What the person has seen counts: a reply that is interrupted (closed, Ctrl-C, an error) after some pieces is
        recorded as far as it came. Without any visible piece neither turn is recorded, so the same words can be said
        again.

        Raises:
            UserError: ``text`` is blank.
        """
        said = plain_text(text).strip()
        if not said:
            raise UserError("nothing said: type some words, or /help")
        turn = Turn("partner", said)
        pieces: list[str] = []
        try:
            for piece in self._stream(Context(self._persona, (*self._history, turn))):
                pieces.append(piece)
                yield piece
        finally:
            if reply := "".join(pieces).strip():
                self._history = (*self._history, turn, Turn("self", reply))

    def reset(self) -> None:
        """Forget the conversation; the persona stays."""
        self._history = ()

    def change_persona(self, persona: Persona) -> None:
        """Take another persona and begin anew: what was said before was said by someone else."""
        self._persona = persona
        self.reset()

    def why(self) -> Why:
        """Say which persona sentences the last reply used and which it contradicts.

        Raises:
            UserError: there is no reply yet.
        """
        if not self._history:
            raise UserError("no reply yet: say something first")
        reply, traits = self._history[-1].text, self._persona.traits
        return Why(
            reply,
            tuple(traits[index] for index in expressed_traits(reply, self._persona)),
            tuple(traits[index] for index in contradicted_traits(reply, self._persona)),
        )
