"""Words and stems: the one place that says what a content word ("keyword") of a sentence is.

The mission's keyword measures, the persona-turn weights of training and the hard negatives all stand on it.
"""

from __future__ import annotations

import re
from functools import lru_cache

import snowballstemmer

# Letters and digits with inner apostrophes: "don't" is one word, "jean-luc" two.
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

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

FUNCTION_WORDS = frozenset(
    """
    a about above actually after again ago ah all almost alone along already also although always am an and another
    any anybody anyone anything anyway are aren't around as ask at away back be because been before being below
    besides best better between big bit both but by bye came can can't cannot come comes could couldn't currently
    definitely did didn't different do does doesn't doing don't done down during each either else enjoy enjoyed
    enjoying enjoys enough even ever every everybody everyone everything fan favorite favourite few for from get gets
    getting go goes going gonna good got great guess had hadn't has hasn't hate hated hates have haven't having he
    he's hello her here hers hey hi him his hope how however i i'd i'll i'm i've if im in into is isn't it it's its
    itself ive just keep kind know last lately least less let let's like liked likes little ll lot lots love loved
    loves loving made make makes making many may maybe me mean might mine more most much must my myself nah need needs
    neither never new nice no nobody none nope nor not nothing now of off often oh ok okay on once one ones only or
    other others our ours ourselves out over own people per perhaps please pretty prefer probably put quite rather re
    really right said same say see seem seems shall she she's should shouldn't since so some somebody someone
    something sometimes somewhere soon still stuff such sure take takes taking tell than thank thanks that that's the
    their theirs them themselves then there there's these they they're thing things think this those though through
    time times to together too try trying under until up upon us use used usually ve very want wanted wants was wasn't
    way we we're well went were weren't what what's when where whether which while who who's whom whose why will wish
    with without won't would wouldn't wow yeah yes yet you you'd you'll you're you've your yours yourself
    """.split()
)
"""Pronouns, copulas, auxiliaries, prepositions, greetings and the attitude words that carry no trait of their own."""

LONGEST_WORD = 100
"""Characters. The longest words of English dictionaries have 45."""

_stemmer = snowballstemmer.stemmer("english")


def mend_contractions(text: str) -> str:
    """Return ``text`` with the apostrophes of contractions put back ("i don t" to "i don't")."""
    for pattern, replacement in _LOST_APOSTROPHES:
        text = pattern.sub(replacement, text)
    return text


def words(text: str) -> list[str]:
    """Return the lower-case words of ``text`` in order, with straight apostrophes."""
    if text.isascii():  # lower case changes no length and no curly apostrophe is there
        return _WORD.findall(text.lower())
    return [match.group().lower().replace("’", "'") for match in _WORD.finditer(text)]


def word_spans(text: str) -> list[tuple[int, int, str]]:
    """Return begin and end in ``text`` of every word, with the word as `words` gives it."""
    return [(*match.span(), match.group().lower().replace("’", "'")) for match in _WORD.finditer(text)]


def stem(word: str) -> str:
    """Return the Snowball (Porter 2) stem of one lower-case word; a possessive ``'s`` falls away.

    What is longer than `LONGEST_WORD` is its own stem: the stemmer's time grows with the square of the length.
    """
    return _short_stem(word) if len(word) <= LONGEST_WORD else word


@lru_cache(maxsize=100_000)
def _short_stem(word: str) -> str:
    return str(_stemmer.stemWord(word.removesuffix("'s")))


def digits_value(word: str) -> int | None:
    """Return the number that a word of digits stands for, None for other words: "26", but not "²" nor a number of
    more digits than a word may have, which Python would refuse to read."""
    return int(word) if word.isdecimal() and len(word) <= LONGEST_WORD else None


def stems(text: str) -> list[str]:
    """Return the stem of every word of ``text`` in order."""
    return [stem(word) for word in words(text)]


def is_content_word(word: str) -> bool:
    """Say whether a lower-case word can be a keyword: a number, or three letters and more and no function word.

    The common definition asks for more than three letters; that would lose "dog", "cat", "son" and "gym",
    which persona sentences turn on, so the function-word list carries the burden here.
    """
    return word.isdigit() or (len(word) >= 3 and word not in FUNCTION_WORDS)


def keyword_stems(sentence: str) -> tuple[str, ...]:
    """Return the stems of the content words of ``sentence``, each once, in order."""
    return tuple(dict.fromkeys(stem(word) for word in words(sentence) if is_content_word(word)))
