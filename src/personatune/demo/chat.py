"""A chat of the demo: one reply at a time, that can be stopped, retried, edited, taken back and rated."""

from __future__ import annotations

import random
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from personatune.cards.character import CardCharacter
from personatune.chat.session import ChatSession
from personatune.demo.ballots import Ballots, Ratings
from personatune.demo.reading import Reader, ReplyReading
from personatune.demo.shelf import Shelf
from personatune.dialogue import Context, Persona
from personatune.errors import UserError
from personatune.plain_text import plain_text

MAX_LINE_CHARACTERS = 1_000
"""Of one line that a person says: beyond it the persona and the turns before would be pushed out of sight."""

BUSY = "a reply is being written; wait for its end, or press Stop"


@dataclass(frozen=True, slots=True)
class Voice:
    """Who made a reply.

    Attributes:
        seed: of its draws.
    """

    model: str
    rerank: bool
    seed: int

    def __str__(self) -> str:
        return f"{self.model}+critic" if self.rerank else self.model


class Speaker:
    """What chat and side by side share: one reply at a time, that can be stopped, with draws of its own."""

    def __init__(self, shelf: Shelf, seed: int | None = None) -> None:
        self.shelf = shelf
        self._seed = secrets.randbits(31) if seed is None else seed
        self.draws = random.Random(self._seed)
        self._writing = Lock()
        self._stopped = False

    @property
    def busy(self) -> bool:
        return self._writing.locked()

    def stop(self) -> None:
        """End the reply that is being written, if there is one, after its next piece."""
        self._stopped = True

    def voice(self, model: str, rerank: bool) -> Voice:
        """Return who makes the next reply, with a seed that no other reply of this tab has."""
        self._seed += 1
        return Voice(model, rerank, self._seed)

    def pieces(self, voice: Voice, context: Context) -> Iterator[str]:
        """Yield a reply's pieces until its end, or until it is stopped."""
        pieces = self.shelf.stream(voice.model, context, seed=voice.seed, rerank=voice.rerank)
        while not self._stopped and (piece := next(pieces, None)) is not None:
            yield plain_text(piece)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the pen.

        Raises:
            UserError: another reply is being written.
        """
        if not self._writing.acquire(blocking=False):
            raise UserError(BUSY)
        self._stopped = False
        try:
            yield
        finally:
            self._writing.release()

    def require_idle(self) -> None:
        """Refuse what would change the conversation under a reply that is being written.

        Raises:
            UserError: one is.
        """
        if self.busy:
            raise UserError(BUSY)


class Chat(Speaker):
    """A chat with one model.

    Args:
        ballots: where likes and dislikes are saved.
        reader: reads replies against the persona.
        seed: of the first reply's draws; None: another one for every tab.
    """

    def __init__(
        self,
        shelf: Shelf,
        ballots: Ballots,
        reader: Reader,
        persona: Persona | CardCharacter,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(shelf, seed)
        self.model = shelf.names[0]
        self.rerank = False
        self.voices: list[Voice] = []
        self._reader = reader
        self._ratings = Ratings(ballots)
        self.session = ChatSession(persona, self._answer)

    def change_persona(self, persona: Persona | CardCharacter) -> None:
        """Begin anew with somebody else."""
        self.require_idle()
        self.session.change_persona(persona)
        self.voices = []

    def forget(self) -> None:
        """Begin anew with the same persona."""
        self.require_idle()
        self.session.reset()
        self.voices = []

    def say(self, text: str) -> Generator[str, None, None]:
        """Yield the reply so far, each time longer; what was shown is kept when it is stopped or fails.

        Raises:
            UserError: nothing said, too much said, or another reply is being written.
        """
        checked = line_said(text)
        with self.writing():
            shown = ""
            pieces = self.session.say(checked)
            try:
                for piece in pieces:
                    shown += piece
                    yield shown.lstrip()
            finally:
                pieces.close()
                self.voices = self.voices[: len(self.session.exchanges)]
            if not shown.strip():
                why = "stopped before the first word" if self._stopped else "the model ended at once"
                raise UserError(f"no reply: {why}; say it again, or another way")

    def retry(self, exchange: int = -1) -> Generator[str, None, None]:
        """Take a reply back, with all after it, and answer the same words again with other draws.

        Where no new reply comes (a mistake, an interrupt before the first word), all is as it was.

        Raises:
            UserError: there is none, or another reply is being written.
        """
        return self._instead(exchange, None)

    def edit(self, exchange: int, text: str) -> Generator[str, None, None]:
        """Say something else instead of what was said; for the rest see `retry`."""
        return self._instead(exchange, text)

    def _instead(self, exchange: int, text: str | None) -> Generator[str, None, None]:
        checked = None if text is None else line_said(text)
        exchanges, voices = self.session.exchanges, self.voices
        said = self.rewind(exchange)
        kept = len(self.session.exchanges)
        try:
            yield from self.say(said if checked is None else checked)
        finally:
            if len(self.session.exchanges) == kept:
                for old in exchanges[kept:]:
                    self.session.record(old.context, old.reply)
                self.voices = voices

    def rewind(self, exchange: int = -1) -> str:
        """Take an exchange back with all that came after; return what was said.

        Raises:
            UserError: there is none, or a reply is being written.
        """
        self.require_idle()
        said = self.session.rewind(exchange)
        self.voices = self.voices[: len(self.session.exchanges)]
        return said

    def rate(self, exchange: int, liked: bool | None) -> str:
        """Like or dislike a reply, or take that back (None); return what was saved, in words.

        Raises:
            UserError: there is no such reply, or the file can't be written.
        """
        if not -len(self.session.exchanges) <= exchange < len(self.session.exchanges):
            raise UserError("nothing to vote on: no reply there yet")
        found = self.session.exchanges[exchange]
        pairs = self._ratings.rate(found.context, found.reply, liked, str(self.voices[exchange]))
        if liked is None:
            return "Taken back."
        if pairs:
            return f"Saved: {pairs} preference pair{'s' if pairs > 1 else ''} with your other ratings of this turn."
        if liked:
            return "Saved. Dislike another reply to the same words, and the two make a preference pair."
        return "Saved. Retry, and like a better reply: the two make a preference pair."

    def ratings(self) -> list[bool | None]:
        """Return for each reply whether it is liked; None where nobody said."""
        return [self._ratings.of(one.context, one.reply) for one in self.session.exchanges]

    def readings(self) -> list[ReplyReading]:
        """Read all replies so far; the critic judges every pair of sentences once."""
        return self._reader.read(self.session.exchanges)

    @property
    def judge(self) -> str:
        return self._reader.judge

    def _answer(self, context: Context) -> Iterator[str]:
        voice = self.voice(self.model, self.rerank)
        self.voices.append(voice)
        return self.pieces(voice, context)


def line_said(text: str) -> str:
    """Return a line that a person says, as plain text.

    Raises:
        UserError: it is blank or too long.
    """
    line = plain_text(text or "").strip()
    if not line:
        raise UserError("nothing said: type some words first")
    if len(line) > MAX_LINE_CHARACTERS:
        raise UserError(f"{len(line):,} characters at once, expected at most {MAX_LINE_CHARACTERS:,}; say it in parts")
    return line
