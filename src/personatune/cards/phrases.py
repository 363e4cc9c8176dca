"""Small pieces of English: articles, enumerations, and which words name a kind of person."""

from __future__ import annotations

import re
from collections.abc import Sequence

from personatune.dialogue import MAX_TRAIT_CHARACTERS
from personatune.lexicon import group_of

WOMEN = frozenset(
    """
    sister mother mom mum daughter wife girlfriend fiancee aunt grandmother grandma niece queen princess woman girl lady
    waitress actress witch goddess heroine mistress stepmother stepsister widow nun
    """.split()
)
MEN = frozenset(
    """
    brother father dad son husband boyfriend fiance uncle grandfather grandpa nephew king prince man boy gentleman lord
    waiter actor wizard god hero stepfather stepbrother widower monk
    """.split()
)
SOMEBODY = frozenset(
    """
    person friend partner lover boss master teacher mentor neighbor neighbour colleague rival enemy cousin sibling twin
    child baby parent captain doctor owner roommate classmate crush stranger someone somebody companion student guardian
    """.split()
)
_KINDS = frozenset(
    """
    adult android angel assassin bard butler captain cat clone coward cyborg demon detective doll dragon druid dwarf elf
    expert fairy fan figure fox genius ghost goblin goth human hybrid immortal introvert extrovert kid knight
    loner mage maid mercenary mermaid merman monster nerd ninja noble nomad orc orphan outcast paladin
    perfectionist pirate priest priestess prodigy rebel robot rogue samurai spirit spy teen thief tomboy
    vampire veteran villain virgin vegan werewolf workaholic
    """.split()
)
_KIND_GROUPS = frozenset({"job", "gender", "wild animal", "pet", "family", "elder", "parent", "child", "sibling"})
_AGENT = re.compile(r"[a-z]{2,}(?:er|or|ist|ian|man|woman|eer|ess|old)$")
_NAME_GROUPS = frozenset(
    {
        "nationality", "language", "cuisine", "country", "us state", "city", "month", "weekday", "holiday", "religion",
        "car make",
    }
)  # fmt: skip
_PEOPLES = frozenset(
    "Asian African European Caucasian Hispanic Latina Latino Finnish Danish Arab Mexican Indian".split()
)
_ADJECTIVE = re.compile(
    r"(?:ed|ful|ous|ish|ive|able|ible|less|y|ic|al|ant|ent|ing|ate|ar|ern|est"
    r"|kind|shy|calm|bold|brave|smart|tall|short|cold|warm|loud|proud|rude|blunt|strict|aloof|wise|clever|gentle|humble"
    r"|loyal|sweet|tough|pale|slim|strong|weak|quiet|mature|secure|sincere|pure|rare|cute|nice|dark|old|young|sad|mad"
    r"|handsome|lonesome|tame|lame|insane|sane|obese|naive|mean|clean|keen|open|stoic|cruel|evil|hidden|stubborn)$"
)
_ARTICLE = re.compile(r"(?:an?|the|my|her|his|your|one|some|no)\b", re.I)
_NO_ARTICLE = re.compile(
    r"(?:an?|the|my|very|not|always|never|quite|extremely|too|in|from|of|at|on|good|bad|\w+ly|\w+ing)\b", re.I
)
_CLAUSE = re.compile(r"-|\b(?:to|and|but|when|with|in|about|for|of)\b")
_VOWEL = re.compile(r"(?:[aei]|o(?!ne\b|nce\b)|u(?!s|n[ia]|k|t)|hon|hour|heir)", re.I)


def with_article(noun: str) -> str:
    """Return "a smith" or "an elf"; a phrase that has an article of its own keeps it."""
    if _ARTICLE.match(noun):
        return noun[:1].lower() + noun[1:]
    return f"an {noun}" if _VOWEL.match(noun) else f"a {noun}"


def listed(values: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join(part for part in (", ".join(values[:-1]), values[-1]) if part)


def sentences_with(start: str, values: Sequence[str]) -> list[str]:
    """Put values behind a start, in as many sentences as the length of one takes."""
    groups: list[list[str]] = []
    for value in values:
        if groups and len(f"{start}{listed([*groups[-1], value])}.") <= MAX_TRAIT_CHARACTERS:
            groups[-1].append(value)
        else:
            groups.append([value])
    return [f"{start}{listed(group)}." for group in groups]


def as_being(values: Sequence[str]) -> list[str]:
    """Say of what kind the character is: adjectives as they are, nouns with their article."""
    return sentences_with("I am ", [_described(small_letters(value)) for value in values])


def is_adjective(phrase: str) -> bool:
    """Say whether the last word of a phrase looks like an adjective."""
    return bool(_ADJECTIVE.search(phrase.lower()))


def names_a_person(phrase: str) -> bool:
    """Say whether the last word of a phrase names a kind of person or being ("a retired smith")."""
    last = re.split(r"[\s-]", phrase.lower())[-1]
    known = last in WOMEN | MEN | SOMEBODY | _KINDS or group_of(last) in _KIND_GROUPS
    return known or bool(_AGENT.fullmatch(last))


def small_letters(value: str) -> str:
    """Return a list's entry as it stands inside a sentence: "High School Student" with small letters, names as are."""
    return " ".join(word if _is_name(word) else word[:1].lower() + word[1:] for word in value.split())


def known_small(value: str) -> str:
    """The same where an entry may well be a name ("Batman"): only for words that the lexicon knows as things."""
    first = re.split(r"\W", value, maxsplit=1)[0]
    thing = group_of(first) not in _NAME_GROUPS | {None}
    common = not _is_name(first) and (is_adjective(first) or value.split()[1:2] == value.lower().split()[1:2] != [])
    return value[:1].lower() + value[1:] if thing or common else value


def _is_name(word: str) -> bool:
    plain = word.strip("()\"'.,")
    return plain != plain.capitalize() or group_of(plain) in _NAME_GROUPS or plain in _PEOPLES or plain == "I"


def _described(value: str) -> str:
    if _NO_ARTICLE.match(value):
        return value
    if names_a_person(value):
        sure = group_of(value.rsplit(maxsplit=1)[-1]) in _KIND_GROUPS or not is_adjective(value)
        return with_article(value) if sure else value
    noun = " " in value and not is_adjective(value) and not value.endswith("s") and not _CLAUSE.search(value)
    return with_article(value) if noun else value
