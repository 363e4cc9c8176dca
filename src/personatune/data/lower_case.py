"""Dialogues in lower case, as many people type, so that training shows a model what its users will write."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable

from personatune.dialogue import Persona, Perspective, Turn, WrittenDialogue

_MARKS = re.compile(r"\s*([.?!,]+)(?=\s|$)")  # not the point in "3.5"


def lower_cased(view: Perspective, share: float, seed: int) -> Perspective:
    """Return the dialogue in lower case if the draw of its id is below ``share``, else as it is.

    Every second one gets spaces before its marks too, as in ConvAI2: "i have two dogs , and you ?". Persona and both
    speakers' turns change together, so a reply keeps the form of what it answers.
    """
    form = _form(view.id, share, seed)
    return view if form is None else _formed(view, form)


def lower_cased_dialogue(dialogue: WrittenDialogue, share: float, seed: int) -> WrittenDialogue:
    """Return what `lower_cased` makes of a written dialogue, its wrong twins in the same form."""
    form = _form(dialogue.view.id, share, seed)
    if form is None:
        return dialogue
    wrong = {place: form(text) for place, text in dialogue.wrong.items()}
    return WrittenDialogue(_formed(dialogue.view, form), wrong, dialogue.rests_on)


def _form(name: str, share: float, seed: int) -> Callable[[str], str] | None:
    draw = int.from_bytes(hashlib.sha256(f"{seed}/lower case/{name}".encode()).digest()[:4], "big") / 2**32
    if draw >= share:
        return None
    return _spaced if draw < share / 2 else str.lower


def _spaced(text: str) -> str:
    return _MARKS.sub(r" \1", text.lower())


def _formed(view: Perspective, form: Callable[[str], str]) -> Perspective:
    name = view.persona.name.lower() if view.persona.name else view.persona.name
    return dataclasses.replace(
        view,
        persona=Persona(tuple(map(form, view.persona.traits)), name),
        turns=tuple(Turn(turn.speaker, form(turn.text)) for turn in view.turns),
    )
