"""Sentences of a chat as the makers of sentence pairs see them: cut, keyed by content words, told apart by stance."""

from __future__ import annotations

import re
from collections.abc import Iterator

from personatune.data.triples import Triple, plain_sentence, triple_of
from personatune.words import keyword_stems, stem, words

LONGEST = 18
"""Words of a chat sentence that takes part in pairs."""

_SHORTEST = 2

# A chat sentence stands on its own when it begins with its speaker and leans on nothing said before.
_BEGINS = re.compile(r"(?:i|my|we)\b")
_LEANS = re.compile(
    r"\b(?:you|your|yours|it|its|that|this|these|those|them|they|their|her|his|him|he|she|there|here|one|same|such|"
    r"something|someone|anything|everything|able to|sure|glad|sorry|guess|think|hear|agree|user)\b"
)


def tells_of_self(sentence: str) -> bool:
    """Say whether a sentence states something of its speaker that is clear without what was said before."""
    plain = plain_sentence(sentence)
    return bool(_BEGINS.match(plain)) and not _LEANS.search(plain)


_BETWEEN = re.compile(r"(?<=[.!?])\s+|\s+[.!;]\s*(?=\w)")


def chat_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a chat line that are neither a single word nor a speech."""
    for sentence in _BETWEEN.split(text):
        if _SHORTEST <= len(words(sentence)) <= LONGEST:
            yield sentence.strip()


def keywords(sentence: str) -> frozenset[str]:
    """Return the stems of a sentence's content words."""
    return frozenset(keyword_stems(sentence))


_SELF = re.compile(r"\b(?:i|im|i'm|i've|my|we|our)\b", re.IGNORECASE)
_SOFT = frozenset(map(stem, "really much lot year years old new day play work live time big".split()))


def restates(sentence: str, about: frozenset[str], trait: str) -> bool:
    """Say whether a chat sentence holds all that a trait says, about the speaker, with the trait's sign and number."""
    wanted = keywords(trait) - _SOFT
    if len(wanted) < 1 or not wanted <= about or not _SELF.search(sentence):
        return False
    mine, theirs = triple_of(sentence), triple_of(trait)
    if mine is None or theirs is None or mine.who != theirs.who or mine.affirmed != theirs.affirmed:
        return False
    if None not in (mine.count, theirs.count) and mine.count != theirs.count:
        return False
    return family(mine) == family(theirs)


def family(triple: Triple) -> str:
    """Relations that people use for one and the same fact."""
    if triple.relation.startswith("favourite") or triple.relation == "like":
        return "like"
    if triple.relation in {"job", "workplace", "be"}:
        return "be"
    if triple.relation in {"eat", "play", "watch", "do", "teach", "drive"}:
        return "do"
    return triple.relation
