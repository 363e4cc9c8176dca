"""Which turns draw on the persona: the turns that teach a model to have one."""

from __future__ import annotations

from functools import lru_cache

from personatune.dialogue import Perspective
from personatune.words import is_content_word, keyword_stems, stem, words

# Content words so common in small talk that sharing one of them says nothing ("I work as a nurse" / "I have to work").
WEAK_STEMS = frozenset(
    stem(word)
    for word in """
    work live play time day year week weekend night month today home friend life watch read old talk start learn hear
    find feel sound fun cool awesome amazing interesting world job look hard usual free spend call big long bit help
    """.split()
)


def persona_turns(perspective: Perspective) -> tuple[bool, ...]:
    """Say for every turn whether it is an own turn that draws on the persona.

    It does when it carries a keyword stem of a trait which the partner's turn before it does not carry: a mere echo of
    the question ("Do you have dogs?" - "I like dogs.") doesn't count. Stems common in small talk count only for
    traits that have no other.
    """
    telling = _telling_stems(perspective.persona.traits)
    marks: list[bool] = []
    before: frozenset[str] = frozenset()
    for turn in perspective.turns:
        if turn.speaker == "self":
            said = telling.intersection(_stems_of(turn.text))
            marks.append(bool(said) and not said <= before)
            before = frozenset()
        else:
            marks.append(False)
            before = telling.intersection(_stems_of(turn.text))
    return tuple(marks)


@lru_cache(maxsize=50_000)
def _telling_stems(traits: tuple[str, ...]) -> frozenset[str]:
    telling: set[str] = set()
    for trait in traits:
        stems = set(keyword_stems(trait))
        telling |= stems - WEAK_STEMS or stems
    return frozenset(telling)


@lru_cache(maxsize=4096)  # both speakers' views of a dialogue come one after the other
def _stems_of(text: str) -> frozenset[str]:
    return frozenset(stem(word) for word in words(text) if is_content_word(word))


def traits_by_use(perspective: Perspective) -> list[str]:
    """Return the persona's sentences, those that most own turns speak of first, ties in the given order."""
    traits = perspective.persona.traits
    own = [_stems_of(turn.text) for turn in perspective.turns if turn.speaker == "self"]
    uses = {trait: sum(not _telling_stems((trait,)).isdisjoint(said) for said in own) for trait in traits}
    return sorted(traits, key=lambda trait: -uses[trait])
