"""The training personas of PersonaProbes as dialogues: their questions with the replies that are written to them."""

from __future__ import annotations

import random

from personatune.dialogue import Perspective, Turn, WrittenDialogue
from personatune.judging.persona_probes.format import load_persona_probes


def probe_dialogues(seed: int = 0) -> list[WrittenDialogue]:
    """Return three dialogues for each persona of the train split, one for each wording of the questions.

    Every trait is asked once in seeded order and answered by its consistent reply; its contradicting one is the wrong
    twin. There is no small talk in them: its lines are the same in all splits.
    """
    dialogues = []
    for persona in load_persona_probes("train"):
        for wording in range(3):
            asked = list(enumerate(persona.traits))
            random.Random(f"{seed}|{persona.id}|{wording}").shuffle(asked)
            turns = [
                turn
                for _, trait in asked
                for turn in (Turn("partner", trait.questions[wording]), Turn("self", trait.consistent))
            ]
            view = Perspective(f"persona-probes/{persona.id}/{wording}", persona.persona(), tuple(turns))
            wrong = {2 * turn + 1: trait.contradiction for turn, (_, trait) in enumerate(asked)}
            rests_on = {2 * turn + 1: place for turn, (place, _) in enumerate(asked)}
            dialogues.append(WrittenDialogue(view, wrong, rests_on))
    return dialogues
