"""Dialogues in lower case, as people type them: a model that reads only tidy sentences copies untidy ones."""

from __future__ import annotations

import dataclasses
import hashlib
import re

from personatune.dialogue import Persona, Perspective, Turn

_MARKS = re.compile(r"\s*([.?!,]+)(?=\s|$)")  # not the point in "3.5"


def lower_cased(view: Perspective, share: float, seed: int) -> Perspective:
    """Return the dialogue in lower case if the draw of its id is below ``share``, else as it is.

    Every second one gets spaces before its marks too, as in ConvAI2: "i have two dogs , and you ?". Persona and both
    speakers' turns change together, so a reply keeps the form of what it answers.
    """
    draw = int.from_bytes(hashlib.sha256(f"{seed}/lower case/{view.id}".encode()).digest()[:4], "big") / 2**32
    if draw >= share:
        return view
    spaced = draw < share / 2

    def form(text: str) -> str:
        return _MARKS.sub(r" \1", text.lower()) if spaced else text.lower()

    name = view.persona.name.lower() if view.persona.name else view.persona.name
    return dataclasses.replace(
        view,
        persona=Persona(tuple(map(form, view.persona.traits)), name),
        turns=tuple(Turn(turn.speaker, form(turn.text)) for turn in view.turns),
    )
