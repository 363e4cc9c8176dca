"""What a reply asserts about its speaker: sentence by sentence, without questions to the partner and mere noises."""

from __future__ import annotations

import re
from functools import lru_cache

from personatune.words import is_content_word, mend_contractions, words

# A sentence ends at its mark, a line break or an emoticon, but not behind "Dr.", "St.", "a.m." or an initial.
_END = re.compile(
    r"(?<=[.!?…])(?<!\bmr\.)(?<!\bms\.)(?<!\bdr\.)(?<!\bst\.)(?<!\bvs\.)(?<!\bmrs\.)(?<!\b\w\.\w\.)(?<!\b[a-hj-z]\.)"
    r"[\"'”’)\]*]*\s+|\n+|\s[:;]-?[)(dp](?=\s|$)",
    re.IGNORECASE,
)
_YOU = frozenset("you your you're you've you'd you'll yours yourself u ur".split())
_SELF = frozenset("i i'm i've i'd i'll me my mine myself we we're we've we'd we'll us our ours".split())
_OPENERS = frozenset(
    """
    do does did don't doesn't didn't is are was were isn't aren't have has haven't can could can't will would wouldn't
    what what's where where's when who who's why how how's which any anything
    """.split()
)
# Where a statement turns into a question: "I have two dogs, how about you?"
_ASKS_BACK = re.compile(
    r"[\s,;:–—-]+(?:(?:and|but|so|or|then) )?(?:"
    r"(?:how|what)(?: about|'s about|bout) (?:you|yours?|u)|(?:and )?(?:you|yours|yourself|u) ?[?!]*$|"
    r"(?:do|don't|did|didn't|are|aren't|have|haven't|can|can't|could|would|wouldn't|will|were|is|was) (?:you|your|u)|"
    r"(?:what|what's|where|when|who|why|how|which)\b(?: [\w']+){0,5}? (?:you|your|u)|"
    r"any(?: [\w']+){0,4}? (?:you|your)|right ?[?]|huh ?[?])(?![\w']).*$",
    re.IGNORECASE,
)


_FEWEST_WORDS = 3


@lru_cache(maxsize=50_000)
def assertions(text: str) -> tuple[str, ...]:
    """Return the sentences of ``text`` that say something about the speaker or the world, in order.

    Left out: questions (of "I have two dogs, do you?" the first half stays), sentences about the partner alone
    ("You are so kind."), and sentences without a content word ("Oh, really!", "Me too."), which say nothing by
    themselves. An echo stays with its answer ("Dogs? I have two."); contractions get their apostrophes back.
    """
    found = []
    taken_up = ""
    for raw in _END.split(mend_contractions(text)):
        plain = " ".join(raw.split())
        if _is_echo(plain):
            taken_up = f"{plain} "
            continue
        sentence = _statement(plain)
        if sentence and any(map(is_content_word, words(taken_up + sentence))):
            found.append(taken_up + sentence)
        taken_up = ""
    return tuple(found)


def asserted(text: str) -> tuple[str, ...]:
    """Return a line without its questions as one premise, or nothing where it asserts nothing (`assertions`).

    Whole, not sentence by sentence: with fragments like "Not by plane." alone the critic called 28 % of neutral pairs
    of the validation probes contradictions, with whole lines under 2 %. Nor can fewer than three words be judged.
    """
    if not assertions(text):
        return ()
    sentences = (" ".join(raw.split()) for raw in _END.split(mend_contractions(text)))
    said = " ".join(filter(None, (_statement(one) if one.endswith("?") else one for one in sentences)))
    return (said,) if len(words(said)) >= _FEWEST_WORDS else ()


def _is_echo(sentence: str) -> bool:
    """Say whether a short question only takes up what the next sentence answers: "Dogs? I have two."."""
    said = words(sentence)
    return "?" in sentence and 0 < len(said) <= 3 and _YOU.isdisjoint(said) and said[0] not in _OPENERS


def _statement(sentence: str) -> str:
    """Return what of one sentence asserts something, or an empty string."""
    said = words(sentence)
    if not said:
        return ""
    asks = said[0] in _OPENERS and ("?" in sentence or not _YOU.isdisjoint(said[1:4]))
    if "?" in sentence and not asks:
        turn = _ASKS_BACK.search(sentence)
        sentence = sentence[: turn.start()].rstrip(" ,;:–—-") + "." if turn else ""
        said = words(sentence)
        asks = _SELF.isdisjoint(said)
    about_partner = not _YOU.isdisjoint(said) and _SELF.isdisjoint(said)
    return "" if asks or about_partner else sentence
