"""What people say beside the point: put around a fact, it makes the chat lines that a critic has to see through."""

from __future__ import annotations

import random
from collections.abc import Sequence

from personatune.data.chat_sentences import LONGEST, chat_sentences, keywords
from personatune.data.persona_pairs import SentencePair
from personatune.dialogue import Perspective
from personatune.words import words

_ASIDE = 9  # words of chatter around a fact
_ASIDE_AT_PREMISE = 0.7


def chatter(perspectives: Sequence[Perspective], seed: int = 0) -> list[str]:
    """Return short sentences that people said beside the point: what stands around a fact in a chat line."""
    rng = random.Random(seed)
    lines = [
        turn.text
        for perspective in rng.sample(perspectives, min(2000, len(perspectives)))
        for turn in perspective.turns
    ]
    return sorted({sentence for line in lines for sentence in chat_sentences(line) if len(words(sentence)) <= _ASIDE})


def lengthened(pairs: Sequence[SentencePair], asides: Sequence[str], share: float, seed: int = 0) -> list[SentencePair]:
    """Return the pairs with a sentence of chatter put before or behind one side of ``share`` of them.

    People say more than one thing in a line; what they say beside the point changes no label. The chatter shares no
    keyword with the pair.
    """
    rng = random.Random(seed)
    return [_with_aside(pair, asides, rng) if rng.random() < share else pair for pair in pairs]


def _with_aside(pair: SentencePair, asides: Sequence[str], rng: random.Random) -> SentencePair:
    about = keywords(pair.premise) | keywords(pair.hypothesis)
    aside = next((text for text in rng.choices(asides, k=5) if about.isdisjoint(keywords(text))), None)
    if aside is None:
        return pair
    at_premise, in_front = rng.random() < _ASIDE_AT_PREMISE, rng.random() < 0.5
    text = pair.premise if at_premise else pair.hypothesis
    if len(words(text)) > LONGEST:
        return pair
    text = f"{aside} {text}" if in_front else f"{text} {aside}"
    sides = (text, pair.hypothesis) if at_premise else (pair.premise, text)
    return SentencePair(*sides, pair.label, pair.kind)
