"""Conversations for PPO to hold: pieces of probe dialogues, and how they are dealt among those of real dialogues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from personatune.dialogue import Context, Episode, ProbeScript, Turn

T = TypeVar("T", Context, Episode)


def probe_episodes(script: ProbeScript, turns: int) -> list[Episode]:
    """Cut a probe dialogue into conversations of ``turns`` partner lines; one without a question teaches no trait."""
    found = []
    for start in range(0, len(script.lines), turns):
        part = script.lines[start : start + turns]
        if any(probe is not None for _, probe in part):
            opening, *lines = (line for line, _ in part)
            found.append(Episode(Context(script.persona, (Turn("partner", opening),)), tuple(lines)))
    return found


def interleaved(by_persona: Sequence[Sequence[T]], direct: Sequence[T], wanted: int) -> list[T]:
    """Deal ``wanted`` of them, each once: one persona after the other, and one of ``direct`` after each."""
    found: dict[T, None] = {}
    spare = list(direct)
    queues = [list(reversed(items)) for items in by_persona]
    while len(found) < wanted and (queues or spare):
        for queue in queues:
            found[queue.pop()] = None
            if spare:
                found[spare.pop()] = None
        if not queues:
            found[spare.pop()] = None
        queues = [queue for queue in queues if queue]
    return list(found)[:wanted]
