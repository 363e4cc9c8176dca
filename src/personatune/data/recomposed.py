"""New characters put together from two written ones: the same question behind other sentences.

A model that has met every question behind one persona alone can learn its answer by heart. Here sentences of two
characters make one persona, in another order, and the exchanges that rest on them one dialogue; which sentence is
asked for can then only be told by reading both. Replies stay the writers' own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from personatune.dialogue import Persona, Perspective, Turn, WrittenDialogue
from personatune.lexicon import group_of
from personatune.words import keyword_stems, words

_FROM_FIRST, _FROM_OTHER = (3, 3), (2, 3)  # sentences, at least and at most
_TRIES = 20  # partners looked at for a character before it is left alone
_FIRST_SENTENCE = re.compile(r"[^.!?]+[.!]+\s+(?=\S)")  # a question stays: it may be the one that is answered


@dataclass(frozen=True, slots=True)
class _Exchange:
    line: str
    reply: str
    wrong: str
    trait: str


def recomposed_dialogues(dialogues: Sequence[WrittenDialogue], count: int, seed: int) -> Iterator[WrittenDialogue]:
    """Yield at most ``count`` dialogues, each of two different characters' sentences and exchanges, by seed.

    Two characters meet if both say "I" or both say "we" and their sentences share no keyword and no kind of value (two
    pets, two cities). The first one gives its opening sentence, which mostly says who it is, the other never does.
    """
    able = (dialogue for dialogue in dialogues if len(set(dialogue.rests_on.values())) > _FROM_FIRST[1])
    fit = sorted(able, key=lambda dialogue: dialogue.view.id)  # so that the same ones give the same in any order
    rng = random.Random(f"{seed}/recomposed")
    made = 0
    while made < count and len(fit) > 1:
        before = made
        for first in rng.sample(fit, len(fit)):
            other = next((one for one in rng.sample(fit, min(_TRIES, len(fit))) if _can_meet(first, one)), None)
            if other is not None and made < count:
                yield _met(first, other, made, rng)
                made += 1
        if made == before:
            return


def _can_meet(one: WrittenDialogue, other: WrittenDialogue) -> bool:
    told, also = one.view.persona.traits, other.view.persona.traits[1:]
    return _plural(one) == _plural(other) and _subjects(told).isdisjoint(_subjects(also))


def _plural(dialogue: WrittenDialogue) -> bool:
    said = words(" ".join(dialogue.view.persona.traits))
    return sum(word in ("we", "our", "us", "we're", "we've") for word in said) > sum(
        word in ("i", "my", "me", "i'm", "i've") for word in said
    )


def _subjects(traits: Sequence[str]) -> set[str]:
    """Return the keyword stems of persona sentences and the kinds of values they hold."""
    kinds = {f"a {group}" for trait in traits for word in words(trait) if (group := group_of(word)) is not None}
    return kinds.union(*map(keyword_stems, traits))


def _met(first: WrittenDialogue, other: WrittenDialogue, number: int, rng: random.Random) -> WrittenDialogue:
    parts = [
        _some(first, rng.randint(*_FROM_FIRST), rng, opening=True),
        _some(other, rng.randint(*_FROM_OTHER), rng, opening=False),
    ]
    traits = [exchange.trait for part in parts for exchange in part]
    rng.shuffle(traits)
    exchanges = _interleaved(parts, rng)
    turns = list(first.view.turns[:2]) if 1 not in first.rests_on and first.view.turns[0].speaker == "partner" else []
    wrong, rests_on = {}, {}
    for exchange in exchanges:
        turns.append(Turn("partner", exchange.line))
        wrong[len(turns)], rests_on[len(turns)] = exchange.wrong, traits.index(exchange.trait)
        turns.append(Turn("self", exchange.reply))
    view = Perspective(f"recomposed/{number}", Persona(tuple(traits), first.view.persona.name), tuple(turns))
    return WrittenDialogue(view, wrong, rests_on)


def _some(dialogue: WrittenDialogue, wanted: int, rng: random.Random, *, opening: bool) -> list[_Exchange]:
    """Return exchanges in their order, each on another of a dialogue's sentences, on the first one if ``opening``."""
    turns, traits = dialogue.view.turns, dialogue.view.persona.traits
    asked: dict[int, int] = {}
    for place, trait in sorted(dialogue.rests_on.items()):
        asked.setdefault(trait, place)
    first = [trait for trait in asked if trait == 0 and opening]
    others = [trait for trait in asked if trait > 0]
    chosen = [*first, *rng.sample(others, wanted - len(first))]
    return [
        _Exchange(turns[place - 1].text, turns[place].text, dialogue.wrong[place], traits[trait])
        for place, trait in sorted((asked[trait], trait) for trait in chosen)
    ]


def _interleaved(parts: Sequence[list[_Exchange]], rng: random.Random) -> Iterator[_Exchange]:
    """Yield the exchanges of both in a drawn order that keeps each one's own.

    A first sentence that goes on from what was said before ("Good tip. And …") is taken off.
    """
    order = [number for number, part in enumerate(parts) for _ in part]
    rng.shuffle(order)
    left = [iter(part) for part in parts]
    for number in order:
        exchange = next(left[number])
        rest = _FIRST_SENTENCE.sub("", exchange.line, count=1)
        line = rest if rest.rstrip().endswith("?") else exchange.line
        yield _Exchange(line, exchange.reply, exchange.wrong, exchange.trait)
