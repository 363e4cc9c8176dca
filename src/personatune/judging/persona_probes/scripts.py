"""Probe dialogues from the hand-written personas: every trait is asked once a dialogue, in a wording drawn by seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from personatune.dialogue import Probe, ProbeScript
from personatune.judging.persona_probes.format import ProbePersona, Split, load_persona_probes
from personatune.judging.small_talk import INTERLUDES, OPENINGS

MIN_TURNS = 5
WORDINGS = 3
"""Questions that every trait comes with."""


def persona_probe_scripts(
    split: Split | None = "test",
    turns: int = 6,
    seed: int = 0,
    files: Sequence[Path] | None = None,
    wordings: int = 1,
) -> list[ProbeScript]:
    """Return ``wordings`` probe dialogues for each persona of a split (None: all), one after the other in file order.

    With 3 of them every question of every trait is asked, with 1 or 2 some. Each begins with small talk, then come
    all traits one after the other in seeded order, with small talk between them up to ``turns`` partner lines in all; a
    persona with more traits than that gets as many lines as it needs.

    Raises:
        UserError: a file is missing or breaks the format.
        ValueError: fewer than 5 turns, or more than there is small talk for; wordings other than 1, 2 or 3.
    """
    if not 1 <= wordings <= WORDINGS:
        raise ValueError(f"a trait is asked for in 1 to {WORDINGS} wordings, not {wordings}")
    if not MIN_TURNS <= turns <= len(INTERLUDES):
        raise ValueError(f"a probe dialogue has {MIN_TURNS} to {len(INTERLUDES)} turns, not {turns}")
    personas = load_persona_probes(split, files)
    return [make_persona_script(persona, turns, seed, wording) for persona in personas for wording in range(wordings)]


def make_persona_script(persona: ProbePersona, turns: int = 6, seed: int = 0, wording: int = 0) -> ProbeScript:
    """Return a probe dialogue of one persona; the same seed draws the same lines.

    Args:
        wording: 0, 1 or 2: each trait's question is that many after the one that the seed draws, so that the three
            dialogues together ask every question once. Order and small talk are the same in all three.
    """
    rng = random.Random(f"{seed}|{persona.id}")
    drawn = [rng.randrange(WORDINGS) for _ in persona.traits]
    asked = [trait.probes()[(first + wording) % WORDINGS] for trait, first in zip(persona.traits, drawn, strict=True)]
    rng.shuffle(asked)
    lines: list[tuple[str, Probe | None]] = [(probe.question, probe) for probe in asked]
    # Small talk stands between two questions: never last, where it would measure nothing.
    for interlude in rng.sample(INTERLUDES, max(0, turns - 1 - len(asked))):
        lines.insert(rng.randrange(1, len(lines)), (interlude, None))
    return ProbeScript(persona.persona(), ((rng.choice(OPENINGS), None), *lines))
