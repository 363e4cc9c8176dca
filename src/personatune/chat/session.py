"""A conversation with one persona: its history, its commands' meaning, and why a reply came out as it did.

Knows no terminal and no web page; both stand on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from personatune.cards.character import CardCharacter
from personatune.cards.examples import SILENCE
from personatune.cards.files import looks_like_card_file, read_card
from personatune.cards.macros import DEFAULT_USER
from personatune.dialogue import MAX_TRAIT_CHARACTERS, MAX_TRAITS, Context, Persona, Turn
from personatune.errors import UserError
from personatune.judging.keywords import contradicted_traits, expressed_traits
from personatune.plain_text import plain_text

__all__ = ["ChatSession", "Exchange", "Stream", "Why", "parse_persona", "plain_text", "read_persona"]

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


def read_persona(text: str, user: str = DEFAULT_USER) -> Persona | CardCharacter:
    """Read a persona as users give it: a character card's file (``.json``, ``.png``, ``.charx``), or sentences.

    Args:
        user: what a card calls whom it talks with.

    Raises:
        UserError: no such file, no card, or no usable sentences.
    """
    if not looks_like_card_file(text):
        return parse_persona(text)
    path = Path(text.strip()).expanduser()
    if not path.exists() and " " in text.strip():
        raise UserError(f"{path}: no such file; to give sentences instead, end them with a full stop")
    return CardCharacter(read_card(path).card, user)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the person said and what was replied.

    Attributes:
        context: all that the reply was given, the person's words last: the persona with what a card's lorebook added,
            example dialogues, and the turns before.
    """

    context: Context
    reply: str

    @property
    def said(self) -> str:
        return self.context.history[-1].text


@dataclass(frozen=True, slots=True)
class Why:
    """What a reply has to do with the persona, by keywords.

    Attributes:
        used: the persona sentences the reply expresses.
        contradicted: the persona sentences it contradicts.
        persona: the persona as the reply was given it: with what a card's lorebook added to that turn.
    """

    reply: str
    used: tuple[str, ...]
    contradicted: tuple[str, ...]
    persona: Persona


class ChatSession:
    """One person talking with one persona.

    Args:
        persona: sentences, or the character of a card. A character opens the chat with its greeting, its example
            dialogues go before the chat (and are the first to go where the context gets long), and what its lorebook
            knows of the last turns joins the persona of the turn.
        stream: answers a context (persona and turns, the partner's last) with the pieces of one reply.
    """

    def __init__(self, persona: Persona | CardCharacter, stream: Stream) -> None:
        self._stream = stream
        self._exchanges: tuple[Exchange, ...] = ()
        self._greeting = 0
        self.change_persona(persona)

    @property
    def persona(self) -> Persona:
        return self._persona

    @property
    def character(self) -> CardCharacter | None:
        """The card's character, if it is one who is talked with."""
        return self._character

    @property
    def history(self) -> tuple[Turn, ...]:
        """The turns so far, "partner" (the person) and "self" (the persona) in alternation; a greeting is the first."""
        opening = (Turn("self", self.greeting),) if self.greeting is not None else ()
        said = (turn for one in self._exchanges for turn in (one.context.history[-1], Turn("self", one.reply)))
        return (*opening, *said)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What was said and replied so far, in order; a greeting is no part of it."""
        return self._exchanges

    @property
    def greeting(self) -> str | None:
        """What the character says first."""
        greetings = self._character.greetings if self._character is not None else ()
        return greetings[self._greeting] if greetings else None

    def say(self, text: str) -> Generator[str, None, None]:
        """Stream the reply to ``text``, then record both turns.

        What the person has seen counts: a reply that is interrupted (closed, Ctrl-C, an error) after some pieces is
        recorded as far as it came. Without any visible piece neither turn is recorded, so the same words can be said
        again.

        Raises:
            UserError: ``text`` is blank.
        """
        context = self.context(text)
        pieces: list[str] = []
        try:
            for piece in self._stream(context):
                pieces.append(piece)
                yield piece
        finally:
            if reply := "".join(pieces).strip():
                self.record(context, reply)

    def context(self, text: str) -> Context:
        """Return what a reply to ``text`` would be given now.

        Raises:
            UserError: ``text`` is blank.
        """
        said = plain_text(text).strip()
        if not said:
            raise UserError("nothing said: type some words, or /help")
        turns = (*self.history, Turn("partner", said))
        return Context(self._with_lore(turns), (*self._before(), *turns))

    def record(self, context: Context, reply: str) -> None:
        """Go on from a reply that was made to `context`, wherever it was made."""
        self._exchanges = (*self._exchanges, Exchange(context, reply))

    def rewind(self, exchange: int = -1) -> str:
        """Take back an exchange, counted from 0 or from the end, with all that came after; return what was said in it.

        Raises:
            UserError: there is no such exchange.
        """
        if not -len(self._exchanges) <= exchange < len(self._exchanges):
            raise UserError("nothing to take back: no reply there yet")
        said = self._exchanges[exchange].said
        self._exchanges = self._exchanges[:exchange]
        return said

    def reset(self) -> None:
        """Forget the conversation; the persona stays, and a character greets again."""
        self._exchanges = ()

    def change_persona(self, persona: Persona | CardCharacter) -> None:
        """Take another persona and begin anew: what was said before was said by someone else."""
        self._character = persona if isinstance(persona, CardCharacter) else None
        self._persona = persona.persona if isinstance(persona, CardCharacter) else persona
        self._greeting = 0
        self.reset()

    def greet(self, number: int) -> str:
        """Begin anew with another of the character's greetings, counted from 1.

        Raises:
            UserError: there is no such greeting.
        """
        count = len(self._character.greetings) if self._character is not None else 0
        if not 1 <= number <= count:
            raise UserError(f"greeting {number}: the persona has {count or 'none'}{', from 1 on' if count else ''}")
        self._greeting = number - 1
        self.reset()
        return self.greeting or ""

    def why(self) -> Why:
        """Say which persona sentences the last reply used and which it contradicts.

        Raises:
            UserError: there is no reply yet.
        """
        if not self.history:
            raise UserError("no reply yet: say something first")
        reply = self.history[-1].text
        told = self._exchanges[-1].context.persona if self._exchanges else self._persona
        return Why(
            reply,
            tuple(told.traits[index] for index in expressed_traits(reply, told)),
            tuple(told.traits[index] for index in contradicted_traits(reply, told)),
            told,
        )

    def _with_lore(self, history: tuple[Turn, ...]) -> Persona:
        """Return the persona with what the character's lorebook knows of the last turns."""
        lore = self._character.lore(history, self._greeting) if self._character is not None else ()
        return Persona((*self._persona.traits, *lore), self._persona.name) if lore else self._persona

    def _before(self) -> tuple[Turn, ...]:
        """Return the example dialogues, kept apart from a greeting by the partner's silence."""
        examples = self._character.examples if self._character is not None else ()
        return (*examples, SILENCE) if examples and self.greeting is not None else examples
