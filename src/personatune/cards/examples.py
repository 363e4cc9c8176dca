"""Example dialogues (`mes_example`): ``<START>`` begins one, ``{{user}}:`` and ``{{char}}:`` say who speaks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from personatune.cards.limits import MAX_TOLD_CHARACTERS
from personatune.cards.macros import Macros
from personatune.cards.sentences import card_text
from personatune.dialogue import Turn

SILENCE = Turn("partner", "…")
"""Said by the partner where a character speaks twice in a row; prompts open a chat that it begins in the same way."""

_START = re.compile(r"^[ \t]*(?:<START>|END_OF_DIALOG)[ \t]*$", re.IGNORECASE | re.MULTILINE)
_LABEL = re.compile(r"[ \t]{0,20}([^:\n]{1,80}?)[ \t]{0,20}:(.*)")


def example_dialogues(text: str, macros: Macros, names: Sequence[str]) -> list[tuple[Turn, ...]]:
    """Return the example dialogues as turns of "partner" and "self".

    A line without a speaker's name goes on with what was said before; what stands before the first speaker is nobody's
    and falls away. Two lines of one speaker in a row are one turn.

    Args:
        names: the character's, beside the macro; any other speaker is the partner's side only as ``macros.user``.
    """
    own = {name.casefold() for name in (*names, macros.char)}
    speakers = {**dict.fromkeys(own, "self"), macros.user.casefold(): "partner"}
    dialogues = []
    for part in _START.split(text[:MAX_TOLD_CHARACTERS]):
        turns: list[tuple[str, list[str]]] = []
        for line in card_text(macros.expand(part)).splitlines():
            label = _LABEL.fullmatch(line)
            speaker = speakers.get(label[1].casefold()) if label is not None else None
            if label is not None and speaker is not None:
                if not turns or turns[-1][0] != speaker:
                    turns.append((speaker, []))
                line = label[2]  # noqa: PLW2901
            if turns:
                turns[-1][1].append(line)
        said = [(speaker, " ".join(" ".join(lines).split())) for speaker, lines in turns]
        if dialogue := tuple(Turn(speaker, words) for speaker, words in said if words):
            dialogues.append(dialogue)
    return dialogues


def as_one_history(dialogues: Sequence[Sequence[Turn]]) -> tuple[Turn, ...]:
    """Put dialogues behind each other so that partner and character take turns and the character has the last word."""
    history: list[Turn] = []
    for turn in (turn for dialogue in dialogues for turn in dialogue):
        if history and history[-1].speaker == turn.speaker:
            if turn.speaker == "self":
                history.append(SILENCE)
            else:
                history.pop()  # never answered
        history.append(turn)
    if history and history[-1].speaker == "partner":
        history.pop()
    return tuple(history)
