"""What the project itself wrote to train on: its dialogues, and PersonaProbes' training personas as dialogues."""

from __future__ import annotations

from collections.abc import Sequence

from personatune.data.written_dialogues import written_dialogues
from personatune.dialogue import Perspective, PreferencePair, WrittenDialogue
from personatune.judging.persona_probes.dialogues import probe_dialogues


def own_dialogues() -> list[WrittenDialogue]:
    """Return all of them, training and held-out ones."""
    return [*written_dialogues(), *probe_dialogues()]


def own_pairs(part: Sequence[Perspective], max_history_turns: int) -> list[PreferencePair]:
    """Return the pairs, answer and wrong twin, of those dialogues that are in a part of the data."""
    names = {view.id for view in part}
    return [
        pair for dialogue in own_dialogues() if dialogue.view.id in names for pair in dialogue.pairs(max_history_turns)
    ]
