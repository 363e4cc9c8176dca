"""Two models answer the same words side by side; which side is which is told after the vote."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

from personatune.cards.character import CardCharacter
from personatune.chat.session import ChatSession
from personatune.demo.ballots import Ballots
from personatune.demo.chat import Speaker, Voice, line_said
from personatune.demo.reading import Reader, ReplyReading
from personatune.demo.shelf import Shelf
from personatune.dialogue import Context, Persona
from personatune.errors import UserError

Choice = Literal["A", "B", "tie", "neither"]


@dataclass
class Round:
    """What stands to be voted on.

    Attributes:
        voices: who is A and who is B; hidden until the vote.
        replies: as far as they are written.
        complete: whether both came to their end.
    """

    context: Context
    voices: tuple[Voice, Voice]
    replies: tuple[str, str] = ("", "")
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a vote did.

    Attributes:
        told: in words, with who was who.
        said: the person's words, to be said again, where neither reply was kept.
    """

    told: str
    said: str = ""


class Duel(Speaker):
    """A conversation that goes on from the reply that wins each vote.

    Args:
        seed: of the draws and of the sides; None: another one for every tab.
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
        self.models = (shelf.names[0], shelf.names[1] if len(shelf.names) > 1 else shelf.names[0])
        self.rerank = (False, False)
        self.round: Round | None = None
        self.session = ChatSession(persona, lambda context: iter(()))
        self._ballots = ballots
        self._reader = reader

    def change_persona(self, persona: Persona | CardCharacter) -> None:
        """Begin anew with somebody else."""
        self.require_idle()
        self.session.change_persona(persona)
        self.round = None

    def forget(self) -> None:
        """Begin anew with the same persona."""
        self.require_idle()
        self.session.reset()
        self.round = None

    def choose(self, first: str, second: str, rerank: tuple[bool, bool]) -> None:
        """Say who plays from the next words on.

        Raises:
            UserError: both sides would be the same.
        """
        if (first, rerank[0]) == (second, rerank[1]):
            raise UserError(f"both sides are {first}: choose two models, or re-rank one of them")
        self.models, self.rerank = (first, second), rerank

    def say(self, text: str) -> Generator[tuple[str, str], None, None]:
        """Yield both replies so far, each time longer; the two are written in turns, piece by piece.

        Raises:
            UserError: nothing said, no vote on the replies before, or these are being written.
        """
        line = line_said(text)
        if self.round is not None:
            raise UserError("vote first: A, B, a tie, or neither; or take your words back")
        self.choose(*self.models, self.rerank)
        with self.writing():
            voices = [self.voice(model, rerank) for model, rerank in zip(self.models, self.rerank, strict=True)]
            self.draws.shuffle(voices)
            now = Round(self.session.context(line), (voices[0], voices[1]))
            self.round = now
            try:
                yield from self._write(now)
            finally:
                if not all(map(str.strip, now.replies)):  # stopped or failed before both said something
                    self.round = None
            if self.round is None:
                raise UserError("no reply on one side; say it again, or another way")

    def vote(self, choice: Choice) -> Verdict:
        """Save a vote and go on from the better reply; tell who was who.

        A tie goes on from A and saves no pair; "neither" takes the words back to be said again.

        Raises:
            UserError: there is nothing to vote on yet, or the file can't be written.
        """
        if self.busy:
            raise UserError("the replies are still being written; vote when both have ended, or press Stop")
        if self.round is None:
            raise UserError("nothing to vote on yet: say something first")
        done, who = self.round, f"A was {self.round.voices[0]}, B was {self.round.voices[1]}."
        if choice == "neither":
            self.round = None
            return Verdict(f"{who} Neither was kept; no pair saved.", done.context.history[-1].text)
        winner = 1 if choice == "B" else 0
        saved = False
        if choice != "tie":
            better, worse = done.voices[winner], done.voices[1 - winner]
            saved = self._ballots.vote(
                done.context, done.replies[winner], done.replies[1 - winner], f"side by side | {better} > {worse}"
            )
        self.session.record(done.context, done.replies[winner])
        self.round = None
        if choice == "tie":
            return Verdict(f"{who} A tie saves no pair; the chat goes on from A.")
        told = "Saved as a preference pair." if saved else "Same words on both sides: no pair."
        return Verdict(f"{who} {told} The chat goes on from {choice}.")

    def take_back(self) -> str:
        """Take back what stands to be voted on, or else the last exchange; return what was said.

        Raises:
            UserError: there is nothing, or replies are being written.
        """
        self.require_idle()
        if self.round is not None:
            said = self.round.context.history[-1].text
            self.round = None
            return said
        return self.session.rewind()

    def readings(self) -> list[ReplyReading]:
        """Read the replies that were kept; those that stand to be voted on stay unread, so that marks sway nobody."""
        return self._reader.read(self.session.exchanges)

    def _write(self, now: Round) -> Generator[tuple[str, str], None, None]:
        texts = ["", ""]
        going = {side: self.pieces(voice, now.context) for side, voice in enumerate(now.voices)}
        while going:
            for side, pieces in list(going.items()):
                piece = next(pieces, None)
                if piece is None:
                    del going[side]
                    continue
                texts[side] += piece
                now.replies = (texts[0].strip(), texts[1].strip())
                yield now.replies
        now.complete = True
