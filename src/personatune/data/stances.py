"""What a chat line says of a persona sentence, by their triples: the same, the opposite, or something else."""

from __future__ import annotations

from personatune.data.chat_sentences import chat_sentences, family, tells_of_self
from personatune.data.triples import Triple, triple_of


def stated(text: str) -> tuple[Triple, ...]:
    """Return what the sentences of a chat line state of their speaker; those that no rule reads have no triple."""
    sentences = (sentence for sentence in chat_sentences(text) if tells_of_self(sentence))
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

    The opposite of the same thing, another number of it, or another value of what one has only one of.
    """
    if line.who != trait.who:
        return False
    if family(line) == family(trait) and line.same_thing(trait):
        if line.affirmed != trait.affirmed:
            return True
        return None not in (line.count, trait.count) and line.count != trait.count
    if line.relation != trait.relation or not (line.exclusive and trait.exclusive):
        return False
    placed = line.relation in {"lives_in", "from", "workplace", "study", "job"}
    return line.what.isdisjoint(trait.what) and (not placed or bool(line.groups() & trait.groups()))
