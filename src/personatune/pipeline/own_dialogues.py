"""What the project itself wrote to train on, dialogues and PersonaProbes' training personas, and what people voted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from personatune.config import Config
from personatune.data.processing import PreparedData
from personatune.data.votes import SplitVotes, split_votes
from personatune.data.written_dialogues import written_dialogues
from personatune.dialogue import Perspective, PreferencePair, WrittenDialogue
from personatune.judging.persona_probes import load_persona_probes
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


def own_votes(config: Config, data: PreparedData) -> SplitVotes:
    """Return the votes of ``preferences.votes``, split by persona; personas that PersonaProbes tests on are left out.

    Raises:
        UserError: no such file, or a row that is no pair.
    """
    settings = config.preferences
    if settings.votes is None:
        return SplitVotes()
    return split_votes(
        Path(settings.votes).expanduser(),
        data,
        max_history_turns=settings.max_history_turns,
        held_out_share=config.data.validation_share,
        foreign=[one.persona() for one in load_persona_probes() if one.split != "train"],
    )
