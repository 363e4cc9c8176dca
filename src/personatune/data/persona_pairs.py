"""Pairs of persona sentences with a label, made from dialogues: what the critic learns besides general entailment.

In the spirit of Welleck et al. 2019 (arXiv 1811.00671): sentences are tied to triples (`triples.py`). The same triple
is entailed; another relation, or another thing where many are true, is neutral; an opposed relation, a conflicting
value or another number contradicts. Sentences come from personas and from what people said while playing them, so both
registers stand in the pairs.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from personatune.data.pair_pool import PairPool
from personatune.data.triples import plain_sentence
from personatune.dialogue import Perspective

Label = Literal["entailment", "neutral", "contradiction"]

KINDS: dict[str, tuple[Label, float]] = {
    "same triple": ("entailment", 0.34),
    "said in chat": ("entailment", 0.30),
    "reworded": ("entailment", 0.24),
    "favourite is liked": ("entailment", 0.06),
    "reworded denial": ("entailment", 0.06),
    "same persona": ("neutral", 0.22),
    "same word, other relation": ("neutral", 0.22),
    "other value": ("neutral", 0.16),
    "small talk": ("neutral", 0.18),
    "strangers": ("neutral", 0.12),
    "denial of something else": ("neutral", 0.10),
    "conflicting value": ("contradiction", 0.28),
    "opposed": ("contradiction", 0.20),
    "turned round": ("contradiction", 0.24),
    "reworded opposite": ("contradiction", 0.18),
    "other number": ("contradiction", 0.05),
    "clash": ("contradiction", 0.05),
}
"""Kind of pair to its label and its share of that label's pairs."""

_MAX_USES = 24  # pairs in which one sentence stands, so that no sentence gives its label away


@dataclass(frozen=True, slots=True)
class SentencePair:
    """A premise, a hypothesis and what the one says of the other; ``kind`` is one of `KINDS`."""

    premise: str
    hypothesis: str
    label: Label
    kind: str


def make_persona_pairs(perspectives: Sequence[Perspective], count: int, seed: int = 0) -> list[SentencePair]:
    """Return about ``count`` pairs, a third for each label, mixed by kind (`KINDS`) and shuffled.

    A kind that the dialogues hold too little of gives fewer pairs. Draws by ``seed``; the direction of a pair is
    random.
    """
    rng = random.Random(seed)
    pool = PairPool(perspectives, rng)
    makers: dict[str, Callable[[], tuple[str, str] | None]] = {
        "same triple": pool.same_triple,
        "said in chat": pool.said_in_chat,
        "reworded": pool.reworded,
        "favourite is liked": pool.favourite_is_liked,
        "reworded denial": pool.reworded_denial,
        "same persona": pool.same_persona,
        "same word, other relation": pool.same_word_other_relation,
        "other value": pool.other_value,
        "small talk": pool.small_talk,
        "strangers": pool.strangers,
        "denial of something else": pool.denial_of_something_else,
        "conflicting value": pool.conflicting_value,
        "opposed": pool.opposed,
        "turned round": pool.turned_round,
        "reworded opposite": pool.reworded_opposite,
        "other number": pool.other_number,
        "clash": pool.clash,
    }
    pairs: list[SentencePair] = []
    seen: set[frozenset[str]] = set()
    uses: Counter[str] = Counter()
    for kind, (label, share) in KINDS.items():
        for first, second in _drawn(makers[kind], round(share * count / 3)):
            key = frozenset((plain_sentence(first), plain_sentence(second)))
            if len(key) < 2 or key in seen or max(uses[first], uses[second]) >= _MAX_USES:
                continue
            seen.add(key)
            uses.update((first, second))
            premise, hypothesis = (first, second) if rng.random() < 0.5 else (second, first)
            pairs.append(SentencePair(premise, hypothesis, label, kind))
    rng.shuffle(pairs)
    return pairs


def _drawn(make: Callable[[], tuple[str, str] | None], wanted: int) -> Iterator[tuple[str, str]]:
    """Yield ``wanted`` pairs; give up after 20 attempts a pair."""
    made = 0
    for _ in range(wanted * 20):
        if made >= wanted:
            return
        pair = make()
        if pair:
            made += 1
            yield pair
