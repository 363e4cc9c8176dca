"""Probe dialogues from the hand-written personas: every trait is asked once, in a wording drawn by seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from personatune.dialogue import Probe, ProbeScript
from personatune.judging.persona_probes.format import ProbePersona, Split, load_persona_probes
from personatune.judging.small_talk import INTERLUDES, OPENINGS

MIN_TURNS = 5


def persona_probe_scripts(
    split: Split | None = "test", turns: int = 6, seed: int = 0, files: Sequence[Path] | None = None
) -> list[ProbeScript]:
    """Return one probe dialogue for each persona of a split (None: all), in file order.

    A small-talk opening, then all traits one after the other in seeded order, with small talk between them up to
    ``turns`` partner lines in all; a persona with more traits than that gets as many lines as it needs.

    Raises:
        UserError: a file is missing or breaks the format.
        ValueError: fewer than 5 turns, or more than there is small talk for.
    """
    if not MIN_TURNS <= turns <= len(INTERLUDES):
        raise ValueError(f"a probe dialogue has {MIN_TURNS} to {len(INTERLUDES)} turns, not {turns}")
    return [make_persona_script(persona, turns, seed) for persona in load_persona_probes(split, files)]


def make_persona_script(persona: ProbePersona, turns: int = 6, seed: int = 0) -> ProbeScript:
    """Return the probe dialogue of one persona; the same seed draws the same lines."""
    rng = random.Random(f"{seed}|{persona.id}")
    asked = [rng.choice(trait.probes()) for trait in persona.traits]
    rng.shuffle(asked)
    lines: list[tuple[str, Probe | None]] = [(probe.question, probe) for probe in asked]
    # Small talk stands between two questions: never last, where it would measure nothing.
    for interlude in rng.sample(INTERLUDES, max(0, turns - 1 - len(asked))):
        lines.insert(rng.randrange(1, len(lines)), (interlude, None))
    return ProbeScript(persona.persona(), ((rng.choice(OPENINGS), None), *lines))
