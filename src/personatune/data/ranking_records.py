"""Ranking records out of persona dialogues: the replies that people gave, sorted by what they say of a persona.

A record has the form of dialogue-NLI's evaluation set (Welleck et al. 2019, arXiv 1811.00671): a context, its own reply
that states a trait, and lines that other people said elsewhere: some state the same, some contradict it, some are about
something else. Sentences are told apart by their triples (`triples.py`), not by a model, so records are no test of the
rules that made them; they tell what a language model prefers.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personatune.data.chat_sentences import family, keywords
from personatune.data.stances import contradicts, stated, states
from personatune.data.triples import Triple, plain_sentence, triple_of
from personatune.dialogue import Context, Perspective, RankingTask

EACH = 10
"""Candidates of a class, at most; dialogue-NLI has about as many."""

_LEAST_CONTRADICTING = 3
_LONGEST = 20  # words of a candidate: longer lines say several things
_SILENCE = "__SILENCE__"


@dataclass(frozen=True, slots=True)
class _Line:
    """A line and what it states of its speaker."""

    text: str
    triples: tuple[Triple, ...]
    about: frozenset[str]


def make_ranking_records(perspectives: Sequence[Perspective], count: int, seed: int = 0) -> list[RankingTask]:
    """Return up to ``count`` records whose replies and candidates all come from ``perspectives``.

    A record has at least three contradicting lines and one that states the same; each persona gives one record at most.
    """
    rng = random.Random(seed)
    lines = _lines(perspectives)
    by_topic: dict[tuple[str, str], list[_Line]] = defaultdict(list)
    for line in lines:
        for triple in line.triples:
            by_topic[(triple.who, family(triple))].append(line)
    tasks: list[RankingTask] = []
    used: set[tuple[str, ...]] = set()
    for perspective in rng.sample(list(perspectives), len(perspectives)):
        if len(tasks) == count:
            break
        if perspective.persona.traits in used:
            continue
        made = _record(perspective, by_topic, lines, rng, f"made:{len(tasks) + 1}")
        if made:
            used.add(perspective.persona.traits)
            tasks.append(made)
    return tasks


def record_json(task: RankingTask) -> dict[str, Any]:
    """Return the record as dialogue-NLI files hold it (`ranking_files.read_ranking_file` reads it back)."""
    prefix = [turn.text for turn in task.context.history] or [_SILENCE]
    groups: dict[str, list[str]] = {"label": [], "neg": [], "similar": [], "rand": []}
    for text, kind in zip(task.candidates, task.kinds, strict=True):
        groups["label" if kind == "gold" else kind].append(text)
    return {"persona": list(task.context.persona.traits), "prefix": prefix, "candidates": groups}


def _lines(perspectives: Iterable[Perspective]) -> list[_Line]:
    found: dict[str, _Line | None] = {}  # lines that differ in case or marks alone are one line
    for perspective in perspectives:
        for turn in perspective.turns:
            key = plain_sentence(turn.text)
            if turn.speaker == "self" and key not in found:
                found[key] = _read(turn.text)
    return [line for line in found.values() if line]


def _read(text: str) -> _Line | None:
    """Return what a short line states; None where it states nothing of its speaker, or can't be read alone."""
    if "?" in text or len(text.split()) > _LONGEST:
        return None
    triples = stated(text)
    return _Line(text, triples, keywords(text)) if triples else None


def _record(
    perspective: Perspective,
    by_topic: Mapping[tuple[str, str], list[_Line]],
    lines: Sequence[_Line],
    rng: random.Random,
    name: str,
) -> RankingTask | None:
    traits = [triple for trait in perspective.persona.traits if (triple := triple_of(trait))]
    own = {plain_sentence(turn.text) for turn in perspective.turns}
    words = keywords(" ".join(perspective.persona.traits))
    answers = list(perspective.replies())
    for context, reply in rng.sample(answers, len(answers)):
        gold = _read(reply)
        if gold is None or any(contradicts(one, trait) for one in gold.triples for trait in traits):
            continue
        for trait in traits:
            if not any(states(triple, trait) for triple in gold.triples):
                continue
            others = [line for line in by_topic[(trait.who, family(trait))] if plain_sentence(line.text) not in own]
            against = [line for line in others if any(contradicts(one, trait) for one in line.triples)]
            same = [
                line
                for line in others
                if any(states(one, trait) for one in line.triples)
                and not any(contradicts(one, other) for one in line.triples for other in traits)
            ]
            against = [line for line in against if line not in same]
            if len(against) < _LEAST_CONTRADICTING or not same:
                continue
            return _task(
                name, context, reply, _draw(against, rng), _draw(same, rng), _unrelated(lines, traits, words, own, rng)
            )
    return None


def _unrelated(
    lines: Sequence[_Line], traits: Sequence[Triple], words: frozenset[str], own: set[str], rng: random.Random
) -> list[str]:
    """Draw lines that share no content word with the persona and neither state nor contradict it."""
    found: list[str] = []
    for line in rng.sample(lines, len(lines)):
        if len(found) == EACH:
            break
        if plain_sentence(line.text) in own or not words.isdisjoint(line.about):
            continue
        if not any(states(one, trait) or contradicts(one, trait) for one in line.triples for trait in traits):
            found.append(line.text)
    return found


def _draw(lines: Sequence[_Line], rng: random.Random) -> list[str]:
    return [line.text for line in rng.sample(list(lines), min(EACH, len(lines)))]


def _task(
    name: str, context: Context, reply: str, against: list[str], same: list[str], unrelated: list[str]
) -> RankingTask:
    candidates = (reply, *against, *same, *unrelated)
    kinds = ("gold", *["neg"] * len(against), *["similar"] * len(same), *["rand"] * len(unrelated))
    return RankingTask(name, context, candidates, kinds)
