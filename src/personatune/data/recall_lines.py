"""What a partner says to a persona, line by line, with the persona sentence that each line asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from personatune.data.written_dialogues import held_out, written_dialogues
from personatune.dialogue import WrittenDialogue


@dataclass(frozen=True, slots=True)
class RecallLines:
    """A persona and lines that were said to it.

    Attributes:
        lines: each with the place of the sentence it asks for, None where it asks for none.
    """

    traits: tuple[str, ...]
    lines: tuple[tuple[str, int | None], ...]


def written_lines(dialogues: Sequence[WrittenDialogue] | None = None) -> list[RecallLines]:
    """Return the lines of the hand-written dialogues that aren't held out, and what each asks for, as written."""
    every = written_dialogues() if dialogues is None else dialogues
    return [RecallLines(one.view.persona.traits, tuple(_lines(one))) for one in every if not held_out(one)]


def _lines(dialogue: WrittenDialogue) -> Iterator[tuple[str, int | None]]:
    turns = dialogue.view.turns
    for place, (turn, answer) in enumerate(pairwise(turns), start=1):
        if turn.speaker == "partner" and answer.speaker == "self":
            yield turn.text, dialogue.rests_on.get(place)
