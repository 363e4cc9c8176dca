"""Which words of a text are asserted, denied or liked: the negation that keyword measures must see.

"I don't have a dog" mentions a dog and denies it; "I hate fish" is averse to it; "Do you like cats?" asserts nothing.
Rules over clauses, no parser: a cue holds until the clause ends. What the rules can't see stands in docs/measures.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from personatune.words import stem

Sign = Literal[-1, 0, 1]
"""-1: denied or disliked, 0: mentioned, 1: explicitly liked."""

NEGATIONS = frozenset(
    """
    not no never without neither nor none nobody nothing don't doesn't didn't isn't aren't wasn't weren't haven't hasn't
    hadn't can't cannot couldn't won't wouldn't shouldn't ain't hardly barely
    """.split()
)
AVERSIONS = frozenset(
    """
    hate hates hated hating dislike dislikes disliked despise despises loathe loathes detest detests allergic allergy
    allergies afraid scared terrified fear fears phobia avoid avoids avoiding scares terrifies intolerant
    """.split()
)
LIKINGS = frozenset(
    """
    like likes liked love loves loved enjoy enjoys enjoyed adore adores prefer prefers favorite favourite favorites
    fan fond
    """.split()
)
_CLAUSE_BREAKS = frozenset("but though although however except because so since while unless instead".split())
_SUBJECTS = frozenset(
    "i i'm i've i'd i'll we we're we've he she they it it's you you're my there there's that's".split()
)
_JOINTS = frozenset([",", "and", "or", "no", "nope", "nah", "yes", "yeah", ""])

# Data often comes without apostrophes: "i don t drive", "i m a nurse", "dont".
_LOST_APOSTROPHES = (
    (
        re.compile(r"\b(do|does|did|is|are|was|were|have|has|had|ca|wo|could|would|should|ai)n ?['’]? ?t\b", re.I),
        r"\1n't",
    ),
    (re.compile(r"\b(i) m\b", re.I), r"\1'm"),
    (re.compile(r"\b(i|you|we|they) (ve|ll|re|d)\b", re.I), r"\1'\2"),
    (re.compile(r"\b(he|she|it|that|there|what) s\b", re.I), r"\1's"),
    (re.compile(r"\bim\b", re.I), "i'm"),
    (re.compile(r"[‘’`´]"), "'"),
)
# Set phrases whose "not" negates nothing, and aversions of two words.
_PHRASES = (
    (re.compile(r"\b(?:can't|cannot|can not|couldn't) stand\b"), "hate"),
    (re.compile(r"\b(?:can't|cannot|never) get enough( of)?\b"), "love"),
    (re.compile(r"\b(?:can't|cannot) (?:wait|live without|resist|believe)\b"), "love"),
    (re.compile(r"\b(?:not only|not just|no doubt|no problem|no worries|no wonder|never mind|why not)\b"), " "),
    (re.compile(r"\bdon't (?:worry|get me wrong|mind)\b"), " "),
    (re.compile(r"\b(would|i'd|'d) (?:like|love)\b"), r"\1 want"),
)
_SENTENCE = re.compile(r"[^.!?;\n]+[.!?;\n]*")
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|,")
_TO_PARTNER = frozenset("you your you're you've you'd yours u ya".split())


@dataclass(frozen=True, slots=True)
class Mention:
    """One word of a text: as a stem, with its sign, and its place among the words."""

    stem: str
    sign: Sign
    position: int


def mend_contractions(text: str) -> str:
    """Return ``text`` with the apostrophes of contractions put back ("i don t" to "i don't")."""
    for pattern, replacement in _LOST_APOSTROPHES:
        text = pattern.sub(replacement, text)
    return text


@lru_cache(maxsize=20_000)
def mentions(text: str) -> tuple[Mention, ...]:
    """Return every asserted word of ``text`` with its sign; questions to the partner assert nothing.

    A cue (negation, aversion, liking) holds for the words after it until the sentence ends, a contrast begins
    ("but", "because") or a new subject follows a comma or an "and". Denying an aversion makes a liking.
    """
    text = mend_contractions(text).lower()
    for pattern, replacement in _PHRASES:
        text = pattern.sub(replacement, text)
    found: list[Mention] = []
    for match in _SENTENCE.finditer(text):
        tokens = _TOKEN.findall(match.group())
        if "?" in match.group() and not _TO_PARTNER.isdisjoint(tokens):
            continue
        _read_sentence(tokens, found)
    return tuple(found)


def _read_sentence(tokens: list[str], found: list[Mention]) -> None:
    negated = averse = liked = False
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else ""
        attitude = token in AVERSIONS or token in LIKINGS
        if token in _CLAUSE_BREAKS or (before in _JOINTS and (attitude or token in _SUBJECTS)):
            negated = averse = liked = False
        if token == ",":
            continue
        sign: Sign = -1 if negated != averse else (1 if liked or averse else 0)
        found.append(Mention(stem(token), sign, len(found)))
        if token in NEGATIONS:
            alone = token == "no" and tokens[index + 1 : index + 2] in ([], [","])
            negated = negated or not alone
        elif token in AVERSIONS:
            averse, liked = True, False
        elif token in LIKINGS:
            averse, liked = False, True
