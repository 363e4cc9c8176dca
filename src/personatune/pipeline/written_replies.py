"""The ceiling of the probes: the answers that were written by hand together with the questions."""

from __future__ import annotations

from collections.abc import Sequence

from personatune.dialogue import Context, ProbeScript, Turn
from personatune.judging.persona_probes import ProbePersona
from personatune.judging.small_talk_answers import SMALL_TALK_ANSWERS


def written_replies(personas: Sequence[ProbePersona], scripts: Sequence[ProbeScript]) -> dict[Context, str]:
    """Return what the writers of the probes answer in every context of their dialogues.

    A question gets the consistent reply of its trait, small talk an answer written for that line. That the former are
    judged consistent is a rule of the benchmark, so `probe_consistency` of this row is 1 by construction; all other
    figures are measured.
    """
    written: dict[Context, str] = {}
    for persona, script in zip(personas, scripts, strict=True):
        answers = {trait.trait: trait.consistent for trait in persona.traits}
        turns: tuple[Turn, ...] = ()
        for line, probe in script.lines:
            turns = (*turns, Turn("partner", line))
            reply = SMALL_TALK_ANSWERS[line] if probe is None else answers[probe.trait]
            written[Context(script.persona, turns)] = reply
            turns = (*turns, Turn("self", reply))
    return written
