"""What the project itself wrote to train on, dialogues and PersonaProbes' training personas, and what people voted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from personatune.data.lower_case import lower_cased_dialogue
from personatune.data.misplaced import misplaced_replies
from personatune.data.processing import PreparedData
from personatune.data.recomposed import recomposed_dialogues
from personatune.data.votes import SplitVotes, split_votes
from personatune.data.written_dialogues import written_dialogues
from personatune.dialogue import Perspective, PreferencePair, WrittenDialogue
from personatune.judging.persona_probes import load_persona_probes
from personatune.judging.persona_probes.dialogues import probe_dialogues
from personatune.settings import Config


def own_dialogues() -> list[WrittenDialogue]:
    """Return all of them, training and held-out ones."""
    return [*written_dialogues(), *probe_dialogues()]


def own_pairs(part: Sequence[Perspective], config: Config) -> list[PreferencePair]:
    """Return the pairs, answer and wrong twin or misplaced reply, of those dialogues that are in a part of the data.

    Recomposed dialogues give misplaced replies alone: their twins are those of the dialogues they were made of.
    """
    settings, share = config.preferences, config.data.lower_case_share
    names = {view.id for view in part}
    written = [dialogue for dialogue in own_dialogues() if dialogue.view.id in names]
    made = recomposed_dialogues(written, config.data.recomposed, config.seed)
    recomposed = [dialogue for dialogue in made if dialogue.view.id in names]
    written, recomposed = (
        [lower_cased_dialogue(dialogue, share, config.seed) for dialogue in each] for each in (written, recomposed)
    )
    twins = [pair for dialogue in written for pair in dialogue.pairs(settings.max_history_turns)]
    misplaced = misplaced_replies([*written, *recomposed], settings.max_history_turns, settings.length_tolerance)
    return [*twins, *misplaced]


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
