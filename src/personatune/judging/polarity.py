"""Which words of a text are asserted, denied or liked, and of whom: what keyword measures must see of a sentence.

"I don't have a dog" mentions a dog and denies it; "I hate fish" is averse to it; "Do you like cats?" asserts nothing;
"I used to have a dog" and "I wish I had a dog" hold of another time or none, "My friend has a dog" of somebody else.
Rules over clauses, no parser: a cue holds until the clause ends. What the rules can't see stands in docs/measures.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from personatune.judging.polarity_cues import (
    AVERSIONS,
    BEFORE_DISLIKED,
    BEFORE_LIKED,
    CARRIES_ON,
    CLAUSE_BREAKS,
    EXCEPT,
    HOPE,
    JOINTS,
    LIKINGS,
    NEGATIONS,
    NOT_A_VERB,
    PAST,
    PEOPLE,
    PHRASES,
    SELF,
    SUBJECTS,
    WISH,
)
from personatune.words import mend_contractions, stem

Sign = Literal[-1, 0, 1]
"""-1: denied or disliked, 0: mentioned, 1: explicitly liked."""

Standing = Literal["now", "past", "wish", "hope", "other"]
"""Whether a mention holds of the speaker now, did once, is wished for in vain, may come, or is said of another."""

_SENTENCE = re.compile(r"[^.!?;\n]+[.!?;\n]*")
_TOKEN = re.compile(r"\x01\w+|[^\W_]+(?:'[^\W_]+)*|,|[–—:(]|(?<= )-(?= )")
_TO_PARTNER = frozenset("you your you're you've you'd yours u ya".split())
_MARKS: dict[str, Standing] = {PAST: "past", WISH: "wish", HOPE: "hope"}
_DENIES_THE_LAST = re.compile(
    r" *(?:oh |well |ugh |ew |god |um )?,? *"
    r"(?:no\b(?! (?:doubt|question|problem))|nope\b|nah\b|never\b|not\b(?! only| just))"
)
_POINTS_BACK = frozenset("it them those that one any either".split())
_OPENS_A_QUESTION = frozenset(
    "do does did is are was were can could will would should have has had what who where when why how which".split()
)
_OWN = frozenset("my our mine".split())


@dataclass(frozen=True, slots=True)
class Mention:
    """One word of a text: as a stem, with its sign, its place among the words, and whether it holds."""

    stem: str
    sign: Sign
    position: int
    standing: Standing = "now"


@lru_cache(maxsize=20_000)
def mentions(text: str) -> tuple[Mention, ...]:
    """Return every asserted word of ``text`` with its sign; questions to the partner assert nothing.

    A cue (negation, aversion, liking) holds for the words after it until the sentence ends, a contrast begins
    ("but", "because") or a new subject follows a comma or an "and". Denying an aversion makes a liking. A short
    sentence is denied or liked by the next one: "Dogs? Not for me.", "Broccoli. I can't stand it."
    """
    text = mend_contractions(text).lower()
    sentences = [match.group() for match in _SENTENCE.finditer(text)]
    found: list[Mention] = []
    others = False
    for number, sentence in enumerate(sentences):
        following = sentences[number + 1] if number + 1 < len(sentences) else ""
        tokens = _tokens(sentence)
        if _asserts_nothing(tokens, sentence, following):
            continue
        reader = _Reader(len(found), others and bool(tokens) and tokens[0] in ("he", "she", "they", "he's", "she's"))
        said = reader.read(tokens)
        others = reader.standing == "other"
        sign = _sign_of_the_next(tokens, sentence, following)
        found += said if sign is None else [replace(mention, sign=sign) for mention in said]
    return tuple(found)


def _tokens(sentence: str) -> list[str]:
    for pattern, replacement in PHRASES:
        sentence = pattern.sub(replacement, sentence)
    tokens = ["," if token in "–—:(-" else token for token in _TOKEN.findall(sentence)]
    return tokens[next((at for at, token in enumerate(tokens) if token != ","), 0) :]


def _asserts_nothing(tokens: list[str], sentence: str, following: str) -> bool:
    if "?" not in sentence:
        return False
    if not _TO_PARTNER.isdisjoint(tokens):
        return True
    if not tokens or tokens[0] in SELF or following.strip():
        return False  # "Dogs? I have two." takes its question up; "I have a dog, right?" says so
    return tokens[0] in _OPENS_A_QUESTION or len(tokens) <= 3


def _sign_of_the_next(tokens: list[str], sentence: str, following: str) -> Sign | None:
    """Return the sign that the following sentence gives this one as a whole, or None."""
    question = "?" in sentence
    if not following or not (question or (len(tokens) <= 4 and SELF.isdisjoint(tokens))):
        return None
    if question and _DENIES_THE_LAST.match(following):
        return -1
    after = _tokens(following)
    if BEFORE_DISLIKED in after[:3] or BEFORE_LIKED in after[:3]:
        return -1 if BEFORE_DISLIKED in after[:3] else 1
    for place, token in enumerate(after[:-1]):
        if token in AVERSIONS | LIKINGS and not _POINTS_BACK.isdisjoint(after[place + 1 : place + 4]):
            averse = (token in AVERSIONS) != (not NEGATIONS.isdisjoint(after[:place]))
            return -1 if averse else 1
    return -1 if question and len(after) <= 4 and not NEGATIONS.isdisjoint(after[:3]) else None


class _Reader:
    """Reads one sentence word by word and remembers which cues hold."""

    def __init__(self, position: int, others: bool) -> None:
        self.position = position
        self.standing: Standing = "other" if others else "now"
        self._clear()

    def _clear(self) -> None:
        self.negated = self.averse = self.liked = False

    def read(self, tokens: list[str]) -> list[Mention]:
        found: list[Mention] = []
        clause = 0  # where the running clause begins in ``found``
        for index, token in enumerate(tokens):
            before = tokens[index - 1] if index else ""
            begins = before in JOINTS or token in CLAUSE_BREAKS
            attitude = token in AVERSIONS or token in LIKINGS
            if (
                token in CLAUSE_BREAKS
                or (before in JOINTS and (attitude or token in SUBJECTS or token in ("just", "only", "yes")))
                or (token in SELF and before not in CARRIES_ON and before not in _MARKS)
            ):
                self._clear()
                clause = len(found) if begins or token in SELF else clause
            if token in SELF and before not in _MARKS:
                self.standing = "now"
            if token in _MARKS:
                self.standing = _MARKS[token]
                continue
            if token == EXCEPT:
                self.negated = not self.negated
                continue
            if token in (BEFORE_DISLIKED, BEFORE_LIKED):
                self._judge_the_clause(found, clause, -1 if token == BEFORE_DISLIKED else 1)
                self.averse, self.liked = token == BEFORE_DISLIKED, token == BEFORE_LIKED
                continue
            if token == ",":
                if self.standing in ("wish", "past", "hope"):
                    self.standing = "now"
                continue
            if token in CLAUSE_BREAKS and self.standing != "other":
                self.standing = "now"
            if begins or not index or before in CLAUSE_BREAKS:
                self._look_for_another(tokens, index)
            self._mention(found, token, tokens[index + 1 : index + 2])
        return found

    def _mention(self, found: list[Mention], token: str, following: list[str]) -> None:
        sign: Sign = -1 if self.negated != self.averse else (1 if self.liked or self.averse else 0)
        found.append(Mention(stem(token), sign, self.position + len(found), self.standing))
        if token in NEGATIONS:
            alone = token == "no" and following in ([], [","])
            self.negated = self.negated or not alone
        elif token in AVERSIONS:
            self.averse, self.liked = True, False
        elif token in LIKINGS:
            self.averse, self.liked = False, True

    def _look_for_another(self, tokens: list[str], index: int) -> None:
        """A clause that begins with "my friend has", "a friend of mine has" or "my neighbour's" is about them."""
        if tokens[index] not in ("my", "our", "a", "one", "some", "his", "her"):
            return
        for place in (index + 1, index + 2):
            person = tokens[place] if place < len(tokens) else ""
            after = tokens[place + 1 : place + 4]
            if person.removesuffix("'s") in PEOPLE:
                if (
                    person.endswith("'s")
                    or after[:2] in (["of", "mine"], ["of", "ours"])
                    or (after and after[0] not in NOT_A_VERB)
                ):
                    self.standing = "other"
                return

    @staticmethod
    def _judge_the_clause(found: list[Mention], clause: int, sign: Sign) -> None:
        if sign == -1 and any(mention.stem in _OWN for mention in found[clause:]):
            return  # "my dog is disgusting" has a dog all the same
        found[clause:] = [replace(mention, sign=sign) for mention in found[clause:]]
