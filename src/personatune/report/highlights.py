"""Which persona sentences a reply of a probe dialogue expresses or contradicts, for a report's dialogues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personatune.dialogue import Persona
from personatune.judging.keywords import contradicted_traits, expressed_traits
from personatune.judging.probes import make_script


def marked_dialogue(dialogue: Mapping[str, Any], turns: int, seed: int) -> list[dict[str, Any]]:
    """Return the turns of a dialogue as an evaluation keeps it: ``speaker``, ``text``, ``verdict`` and sentences.

    ``expressed`` and ``contradicted`` hold positions in the persona, found by keywords as trait coverage is; of the
    sentence that a question asked for, the question's own verdict decides.

    Args:
        turns: partner lines of a probe dialogue (``evaluation.turns``).
        seed: the run's; with ``turns`` it makes the questions, so that the sentence asked for is known again.
    """
    persona = Persona(tuple(dialogue["persona"]))
    asked = _asked(persona, [text for speaker, text in dialogue["turns"] if speaker == "partner"], turns, seed)
    verdicts = iter(dialogue.get("verdicts", []))
    rows: list[dict[str, Any]] = []
    reply = 0
    for speaker, text in dialogue["turns"]:
        row: dict[str, Any] = {"speaker": speaker, "text": text, "verdict": None, "expressed": [], "contradicted": []}
        if speaker == "self":
            row["verdict"] = next(verdicts, None)
            trait = asked[reply] if reply < len(asked) else None
            row |= _sentences(text, persona, row["verdict"], trait)
            reply += 1
        rows.append(row)
    return rows


def _sentences(text: str, persona: Persona, verdict: str | None, asked: int | None) -> dict[str, list[int]]:
    expressed, contradicted = set(expressed_traits(text, persona)), set(contradicted_traits(text, persona))
    if asked is not None:  # the judge of the answer knows the question, keywords alone don't
        expressed.discard(asked)
        contradicted.discard(asked)
        if verdict == "consistent":
            expressed.add(asked)
        elif verdict == "contradicting":
            contradicted.add(asked)
    return {"expressed": sorted(expressed), "contradicted": sorted(contradicted)}


def _asked(persona: Persona, lines: Sequence[str], turns: int, seed: int) -> list[int | None]:
    """Return the position of the trait each line asks for; nothing where the dialogue was not made this way."""
    try:
        script = make_script(persona, turns, seed)
    except ValueError:
        return []
    if script is None or [line for line, _ in script.lines] != list(lines):
        return []
    return [None if probe is None else persona.traits.index(probe.trait) for _, probe in script.lines]
