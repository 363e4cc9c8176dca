"""What a chat line says of a persona sentence, by their triples: the same, the opposite, or something else."""

from __future__ import annotations

import re

from personatune.data.chat_sentences import chat_sentences, family, tells_of_self
from personatune.data.triples import Triple, triple_of

# What holds no longer, not quite, or only might: no rule is sure what such a sentence states.
_UNSURE = re.compile(
    r"\bg[ai]v(?:e|en|ing)\b.*\bup\b|\bno\b(?!,)|\b(?:no longer|anymore|any more|used to|almost|nearly|if|would|wish|"
    r"could|want|stopped|quit|instead|than)\b",
    re.IGNORECASE,
)


def stated(text: str) -> tuple[Triple, ...]:
    """Return what the sentences of a chat line state of their speaker; those that no rule is sure of have no triple."""
    sentences = (
        sentence for sentence in chat_sentences(text) if tells_of_self(sentence) and not _UNSURE.search(sentence)
    )
    return tuple(triple for sentence in sentences if (triple := triple_of(sentence)))


def states(line: Triple, trait: Triple) -> bool:
    """Say whether a line states what the trait does: the same thing, with the same sign, and as many."""
    return (
        line.who == trait.who
        and family(line) == family(trait)
        and line.affirmed == trait.affirmed
        and trait.what <= line.what
        and (line.count == trait.count or None in (line.count, trait.count))
    )


def contradicts(line: Triple, trait: Triple) -> bool:
    """Say whether a line can't be true where the trait is.

    The opposite of the same thing, another number of it, or another value of what one has only one of. A denial is as
    wide as its words: "I don't like pizza" contradicts "I love spicy pizza", "I don't like spicy pizza" leaves "I love
    pizza" be.
    """
    if line.who != trait.who:
        return False
    if family(line) == family(trait):
        if line.affirmed != trait.affirmed:
            denied, affirmed = (trait, line) if line.affirmed else (line, trait)
            return denied.what <= affirmed.what
        if line.same_thing(trait):
            return None not in (line.count, trait.count) and line.count != trait.count
    if line.relation != trait.relation or not (line.exclusive and trait.exclusive):
        return False
    placed = line.relation in {"lives_in", "from", "workplace", "study", "job"}
    return line.what.isdisjoint(trait.what) and (not placed or bool(line.groups() & trait.groups()))
