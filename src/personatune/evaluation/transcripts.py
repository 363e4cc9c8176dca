"""Dialogues that were held or read, in the one form that judged measures take: `Perspective`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personatune.dialogue import Persona, Perspective, Turn
from personatune.judging.probes import ProbeDialogue


def of_probe_dialogue(dialogue: ProbeDialogue, name: str) -> Perspective:
    """Return a probe dialogue as the chatbot lived it; ``name`` is how findings refer to it."""
    turns: list[Turn] = []
    for (line, _), reply in zip(dialogue.script.lines, dialogue.replies, strict=True):
        turns += [Turn("partner", line), Turn("self", reply)]
    return Perspective(name, dialogue.script.persona, tuple(turns))


def of_transcript(row: Mapping[str, Any], name: str) -> Perspective:
    """Return a transcript of an evaluation file (``persona``: sentences, ``turns``: pairs of speaker and text)."""
    turns = tuple(Turn(speaker, text) for speaker, text in row["turns"])
    return Perspective(name, Persona(tuple(row["persona"])), turns)


def own_lines(dialogue: Perspective) -> list[str]:
    """Return what the persona's speaker said, line by line."""
    return [turn.text for turn in dialogue.turns if turn.speaker == "self"]
