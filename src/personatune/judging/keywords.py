"""Keyword measures of persona consistency: no model, no API, the same figure on every machine.

A trait's keywords are its content words as stems (`personatune.words`), matched at word boundaries and with negation
taken into account (`judging.polarity`). Definitions: docs/measures.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from personatune.dialogue import Persona, Probe
from personatune.judging.numbers import Number, numbers_in
from personatune.judging.polarity import Mention, Sign, Standing, mentions
from personatune.judging.polarity_cues import AVERSIONS, PEOPLE
from personatune.judging.telling import WEAK_STEMS
from personatune.lexicon import group_of
from personatune.words import is_content_word, keyword_stems, mend_contractions, stem, words

Verdict = Literal["consistent", "contradicting", "neutral"]

_AVERSION_STEMS = frozenset(map(stem, AVERSIONS))
_PEOPLE_STEMS = frozenset(map(stem, PEOPLE | {"married", "people"}))
_YES_NO = re.compile(
    r"(?:^|[.!?,] *)(?:so |and )?"
    r"(?:do|does|did|are|is|were|was|have|has|can|could|would|will) (?:you|your|there|any)\b",
    re.I,
)
_DENIAL = re.compile(
    r"(?:well |sorry |sadly |unfortunately |honestly |um |hmm )?"
    r"(?:no\b|nope\b|nah\b|not (?:really|at all|yet|any)\b|never\b"
    r"|i(?:'m not| am not| don't| do not| didn't| haven't| can't| wasn't| have (?:no|never|not)\b| never\b))"
)
_NO_DENIAL = re.compile(r"no (?:problem|worries|doubt|way)\b|i (?:don't|do not) (?:know|mind|think i told)\b")
_AFFIRMATION = re.compile(r"(?:oh |well )?(?:yes|yeah|yep|yup|sure|of course|i do\b|i am\b|absolutely|definitely)\b")
_ASKS_AVERSION = re.compile(r"\b(?:dislike|hate|scares?|afraid|fear|avoid|never|not|don't|can't|allerg)", re.I)
_FIRST_PERSON = frozenset("i i'm i've i'd my me mine we our".split())
# One may have several of these: another one beside the right one is no contradiction.
_SIDE_BY_SIDE = frozenset({"pet", "dog breed", "sibling", "child", "parent"})


@lru_cache(maxsize=20_000)
def trait_keywords(trait: str) -> tuple[str, ...]:
    """Return the keyword stems of a trait; words of aversion ("afraid") only when nothing else is left."""
    stems = keyword_stems(mend_contractions(trait))
    return tuple(word for word in stems if word not in _AVERSION_STEMS) or stems


@lru_cache(maxsize=20_000)
def trait_signs(trait: str) -> dict[str, Sign]:
    """Return each keyword stem of a trait with its sign in the trait: -1 denied or disliked, else 0 or 1."""
    keywords = set(trait_keywords(trait))
    return {mention.stem: mention.sign for mention in mentions(trait) if mention.stem in keywords}


@dataclass(frozen=True, slots=True)
class _Holding:
    """Of when and whom a trait's keywords hold: only a mention of the same time and person agrees with it."""

    standings: dict[str, Standing]
    of_others: bool  # the trait itself tells of somebody else, so "she has…" may be about them

    def sign_of(self, mention: Mention) -> Sign | None:
        """Return the sign of a mention as the trait must take it; None where it says nothing about the trait."""
        own = self.standings.get(mention.stem, "now")
        if mention.standing in ("now", own) or own != "now":
            return mention.sign
        if mention.standing == "other":
            return mention.sign if self.of_others else None
        if mention.standing == "hope":
            return None
        return 0 if mention.sign == -1 else -1  # what was, or is wished for, is not so now


@lru_cache(maxsize=20_000)
def _holding(trait: str) -> _Holding:
    said = mentions(trait)
    keywords = set(trait_keywords(trait))
    of_others = any(mention.standing == "other" or mention.stem in _PEOPLE_STEMS for mention in said)
    return _Holding({mention.stem: mention.standing for mention in said if mention.stem in keywords}, of_others)


def expressed_traits(reply: str, persona: Persona) -> list[int]:
    """Return the positions of the traits that the reply expresses: a keyword is mentioned with the trait's sign."""
    said = mentions(reply)
    return [number for number, trait in enumerate(persona.traits) if _agrees(said, trait)]


def contradicted_traits(reply: str, persona: Persona) -> list[int]:
    """Return the positions of the traits that the reply turns round: keywords are mentioned, with the other sign only.

    A trait that is denied needs an explicit liking ("I love fish") or a first-person mention to be turned round.
    """
    said = mentions(reply)
    return [
        number
        for number, trait in enumerate(persona.traits)
        if not _agrees(said, trait) and _disagrees(said, trait, reply)
    ]


def trait_coverage(reply: str, persona: Persona) -> float:
    """Return the share of the persona's traits that the reply expresses, 0 to 1.

    Raises:
        ValueError: the persona has no traits.
    """
    if not persona.traits:
        raise ValueError("trait_coverage needs a persona with at least one trait")
    return len(expressed_traits(reply, persona)) / len(persona.traits)


def judge_answer(answer: str, probe: Probe) -> Verdict:
    """Judge the answer to a probe by the asked trait's keywords.

    consistent: a keyword is mentioned with the trait's sign and nothing contradicts it; for a trait that denies
    something, a flat "no" to a yes/no question counts too. contradicting: no such keyword, but a contradicting value,
    the keyword with the other sign or a flat denial; or the right thing in another number ("three brothers" for two).
    neutral: neither, or both at once.
    """
    if _other_number(answer, probe.trait):
        return "contradicting"
    denied_trait = _denies(probe)
    right, wrong = _keyword_evidence(answer, probe, denied_trait)
    yes = _flat_answer(answer, probe.question)
    if yes is not None and not right:
        right = denied_trait and not yes
        wrong = wrong or yes == denied_trait
    clashing = _clashing_values(answer, probe)
    if clashing and not (right and all(group_of(value) in _SIDE_BY_SIDE for value in clashing)):
        wrong = True
    if right:
        return "neutral" if wrong else "consistent"
    return "contradicting" if wrong else "neutral"


def _agrees(said: Sequence[Mention], trait: str) -> bool:
    signs, holding = trait_signs(trait), _holding(trait)
    for mention in said:
        if mention.stem in signs:
            sign = holding.sign_of(mention)
            if sign is not None and (sign == -1) == (signs[mention.stem] == -1):
                return True
    return False


def _disagrees(said: Sequence[Mention], trait: str, reply: str) -> bool:
    signs, holding = trait_signs(trait), _holding(trait)
    first_person = not _FIRST_PERSON.isdisjoint(words(mend_contractions(reply)))
    for mention in said:
        sign = holding.sign_of(mention) if mention.stem in signs else None
        if sign is not None and (sign == -1 if signs[mention.stem] >= 0 else sign == 1 or (sign == 0 and first_person)):
            return True
    return False


def _denies(probe: Probe) -> bool:
    signs = trait_signs(probe.trait)
    asked = [sign for word, sign in signs.items() if word in probe.keywords] or list(signs.values())
    return bool(asked) and all(sign == -1 for sign in asked)


def _keyword_evidence(answer: str, probe: Probe, denied_trait: bool) -> tuple[bool, bool]:
    # "What are you afraid of?" is answered by the bare value: "Clowns!"
    asks_denied = any(mention.sign == -1 for mention in mentions(probe.question.replace("?", " that.")))
    signs, holding = trait_signs(probe.trait), _holding(probe.trait)
    other_numbers = _parts_of_other_numbers(answer, probe.trait)
    right = wrong = False
    for mention in mentions(answer):
        if mention.stem not in probe.keywords or mention.position in other_numbers:
            continue
        sign = holding.sign_of(mention)
        if sign is None:
            continue
        # "I enjoy cooking but not baking" wants cooking affirmed and baking denied
        denied = signs[mention.stem] == -1 if mention.stem in signs else denied_trait
        fits = sign < asks_denied if denied else sign >= 0
        right, wrong = right or fits, wrong or not fits
    return right, wrong


def _clashing_values(answer: str, probe: Probe) -> list[str]:
    wrong = set(probe.contradicting) - set(probe.keywords)
    holding = _holding(probe.trait)
    found = [mention for mention in mentions(answer) if mention.stem in wrong]
    return [mention.stem for mention in found if (sign := holding.sign_of(mention)) is not None and sign >= 0]


def _flat_answer(answer: str, question: str) -> bool | None:
    """Return True for a flat yes, False for a flat no to a yes/no question, else None."""
    if not _YES_NO.search(question) or _ASKS_AVERSION.search(question):
        return None
    start = mend_contractions(answer).lower().strip()
    if _DENIAL.match(start) and not _NO_DENIAL.match(start):
        return False
    return True if _AFFIRMATION.match(start) else None


def _other_number(answer: str, trait: str) -> bool:
    """Say whether the answer counts what the trait counts, and comes to another number."""
    counted, said = _counted(trait), _counted(answer)
    every = {number.value for number in _held_numbers(answer)}
    return any(
        thing in said
        and said[thing].isdisjoint(numbers)
        # "Thirty-four, and my sister is two years older": years are counted of many things
        and not (thing in WEAK_STEMS and not every.isdisjoint(numbers))
        for thing, numbers in counted.items()
    )


def _counted(text: str) -> dict[str, set[int]]:
    """Return what the text counts: stem of each content word to the numbers at most two words before it."""
    counts: dict[str, set[int]] = {}
    said = _held(text)
    for number in _held_numbers(text):
        for mention in said[number.end : number.end + 2]:
            if is_content_word(mention.stem) and not numbers_in([mention.stem]):
                counts.setdefault(mention.stem, set()).add(number.value)
    return counts


def _parts_of_other_numbers(answer: str, trait: str) -> frozenset[int]:
    """Return the places of number words that make up another number: "forty-four" holds the "four" of 34."""
    right = {number.value for number in numbers_in([mention.stem for mention in mentions(trait)])}
    if not right:
        return frozenset()
    said = mentions(answer)
    found = numbers_in([mention.stem for mention in said])
    others = [number for number in found if number.value not in right]
    return frozenset(said[place].position for number in others for place in range(number.start, number.end))


def _held(text: str) -> list[Mention]:
    return [mention for mention in mentions(text) if mention.standing in ("now", "past") and mention.sign >= 0]


def _held_numbers(text: str) -> list[Number]:
    return numbers_in([mention.stem for mention in _held(text)])
