"""Benchmarks made of PersonaProbes' personas: questions with answers to choose from, and pairs that talk."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from personatune.dialogue import Perspective, Turn
from personatune.errors import UserError
from personatune.evaluation.multiple_choice import CHANCE, WrittenChoices, choice_tasks
from personatune.evaluation.self_chat import ROUNDS, pair_personas
from personatune.judging.persona_probes import ProbePersona
from personatune.judging.small_talk import INTERLUDES, OPENINGS
from personatune.judging.small_talk_answers import SMALL_TALK_ANSWERS
from personatune.pipeline.benchmark_sets import BenchmarkSet, part

ASKED_AFTER = (1, 3, 6)
"""Own lines after which is asked: at once, and when the persona lies some and many lines back."""

QUESTIONS_A_TURN = 2
"""Six questions a dialogue: each of the four to six traits once, and a minute or two a model."""


def questions(
    personas: Sequence[ProbePersona], source: str, label: str, limit: int | None, seed: int
) -> tuple[BenchmarkSet, Any]:
    """Return the questions about each persona after small talk, and what their fingerprint is of.

    The dialogue before a question is written small talk: the same for every contender, so that two can be compared
    question by question, and telling nothing, so that no line in it gives the answer away.

    Raises:
        UserError: nothing can be asked, for want of other personas' answers.
    """
    choices = WrittenChoices(personas)
    own = [choices.of(persona, seed) for persona in personas]
    dialogues = [small_talk(persona, max(ASKED_AFTER), seed) for persona in personas]
    asked = choice_tasks(dialogues, own, per_turn=QUESTIONS_A_TURN, after=ASKED_AFTER, seed=seed)
    count = len(personas) if limit is None else min(limit, len(personas))
    chosen = [task for task in asked if task.dialogue < count]
    skipped = sum((made.skipped for made in own[:count]), Counter[str]())
    reasons = "; ".join(f"{number} × {reason}" for reason, number in skipped.items())
    if not chosen:
        raise UserError(f"qa: nothing to ask about {source}: {reasons}; give a file of more personas")
    turns = " and ".join(", ".join(map(str, ASKED_AFTER)).rsplit(", ", 1))
    notes = [
        f"{len(chosen)} questions after turns {turns} of written small talk, the same for all; four answers each, "
        f"chance {CHANCE * 100:.0f} %, a tie is wrong."
    ]
    if reasons:
        notes.append(f"Traits not asked for: {reasons}.")
    benchmark = BenchmarkSet(
        "qa",
        source,
        part(label, limit),
        [persona.id for persona in personas[:count]],
        questions=chosen,
        all_questions=asked,
        notes=notes,
    )
    return benchmark, [[task.task.context.to_json(), task.task.candidates, task.task.kinds] for task in asked]


def pairs(
    personas: Sequence[ProbePersona], source: str, label: str, limit: int | None, seed: int
) -> tuple[BenchmarkSet, Any]:
    """Return pairs of personas without a common sentence, each persona in one, and what their fingerprint is of.

    Raises:
        UserError: there are fewer than two personas.
    """
    names = {persona.persona(): persona.id for persona in personas}
    drawn = pair_personas(list(names), seed=seed)[:limit]
    benchmark = BenchmarkSet(
        "selfchat",
        source,
        part(f"{label}, pairs", limit),
        [f"{names[first]} + {names[second]}" for first, second in drawn],
        pairs=drawn,
        notes=[f"{len(drawn)} chats of {ROUNDS} rounds, the same contender on both sides; the items are chats."],
    )
    return benchmark, [ROUNDS, [[persona.to_json() for persona in pair] for pair in drawn]]


def small_talk(persona: ProbePersona, turns: int, seed: int) -> Perspective:
    """Return a dialogue of ``turns`` partner lines, each with its written answer, in which nobody tells anything."""
    rng = random.Random(f"{seed}|{persona.id}")
    lines = [rng.choice(OPENINGS), *rng.sample(INTERLUDES, turns - 1)]
    said = [turn for line in lines for turn in (Turn("partner", line), Turn("self", SMALL_TALK_ANSWERS[line]))]
    return Perspective(persona.id, persona.persona(), tuple(said))
