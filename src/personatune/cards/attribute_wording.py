"""What an attribute of a card says, as sentences in the first person."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from personatune.cards.attributes import Attribute
from personatune.cards.english_verbs import IRREGULAR, base_form, is_known_verb
from personatune.cards.phrases import as_being, known_small, listed, sentences_with, small_letters, with_article

_NOT_OF_THE_CHARACTER = frozenset(
    {
        "author", "author's note", "backstory with user", "character details", "creator", "dialogue", "dialogues",
        "example", "example dialogue", "examples", "first message", "format", "genre", "greeting", "instruction",
        "instructions", "note", "notes", "pronouns", "quote", "quotes", "relationship with user", "rule", "rules",
        "scenario", "setting", "speech example", "speech examples", "style", "system", "system note", "tag", "tags",
        "user", "version", "world", "writing style",
    }
)  # fmt: skip
_BODY = re.compile(
    r"\b(?:hair|eyes?|skin|freckles|scars?|tattoos?|horns?|tail|wings?|ears?|beard|hands?|legs?|lips|nose|teeth|fangs|"
    r"build|body|figure|face|complexion|voice|smile|glasses|eyelashes|brows|eyebrows|piercings?|muscles|cheeks?)\b",
    re.IGNORECASE,
)
_UNCOUNTED = re.compile(r"\b(?:hair|skin|blonde|teeth|lips)$|s$", re.IGNORECASE)
_WOMAN = frozenset({"female", "woman", "f", "girl"})
_MAN = frozenset({"male", "man", "m", "boy"})
_AGE = re.compile(r"(\d{1,5})(?:\s*(?:years?(?:[ -]old)?|y/?o))?", re.IGNORECASE)
_OWN_KEY = re.compile(r"[a-z][a-z '’-]*")

Tell = Callable[[list[str]], list[str]]


def attribute_sentences(attribute: Attribute) -> list[str]:
    """Return the sentences that an attribute says; none for what isn't of the character or has no value.

    Values that are told with a verb ("loves to sing") become sentences of their own.
    """
    key = attribute.key
    values = [value for value in attribute.values if value]
    if not values or key in _NOT_OF_THE_CHARACTER:
        return []
    tell = next((tell for pattern, tell in _TEMPLATES if pattern.fullmatch(key)), None)
    if tell is None:
        if not _OWN_KEY.fullmatch(key) or len(key.split()) > 3:
            return []
        verb = "are" if key.endswith("s") and not key.endswith(("ss", "us")) else "is"
        tell = _start(f"My {key} {verb} ")
    doing = [value for value in values if _begins_with_verb(value)]
    rest = [value for value in values if value not in doing]
    return [*(tell(rest) if rest else []), *map(_as_doing, doing)]


def _begins_with_verb(value: str) -> bool:
    return " " in value and is_known_verb(value.split(maxsplit=1)[0].lower())


def _as_doing(value: str) -> str:
    first, rest = value.lower().split(maxsplit=1)[0], value.split(maxsplit=1)[1]
    return f"I {IRREGULAR.get(first) or base_form(first)} {rest}."


def _age(values: list[str]) -> list[str]:
    number = _AGE.fullmatch(values[0])
    if number:
        return [f"I am {number[1]} years old."]
    told = re.search(r"years?|old|teens|twenties|thirties|forties|fifties", values[0])
    return [f"I am {values[0]}." if told else f"My age is {values[0]}."]


def _gender(values: list[str]) -> list[str]:
    kind = values[0].lower()
    return [f"I am a {'woman' if kind in _WOMAN else 'man'}."] if kind in _WOMAN | _MAN else as_being(values)


def _kind(values: list[str]) -> list[str]:
    return sentences_with("I am ", [with_article(small_letters(value)) for value in values])


def _looks(values: list[str]) -> list[str]:
    having = [small_letters(value) for value in values if _BODY.search(value)]
    being = [value for value in values if not _BODY.search(value)]
    has = [value if _UNCOUNTED.search(value) else with_article(value) for value in having]
    return [*as_being(being), *sentences_with("I have ", has)]


def _height(values: list[str]) -> list[str]:
    return [f"I am {values[0]}." if "tall" in values[0] else f"I am {values[0]} tall."]


def _pets(values: list[str]) -> list[str]:
    counted = re.compile(r"\d|an?\b|two|three|four|five|six|seven|no\b|my\b|many\b|several\b", re.IGNORECASE)
    small = map(known_small, values)
    return sentences_with("I have ", [value if counted.match(value) or value.endswith("s") else with_article(value)
                                      for value in small])  # fmt: skip


def _part(noun: str, verb: str) -> Tell:
    """Tell of a part of the body, whose name the values may repeat ("Hair: red hair")."""
    named = re.compile(rf"\s*\b{noun}s?\b\s*", re.IGNORECASE)

    def tell(values: list[str]) -> list[str]:
        bare = [small_letters(named.sub(" ", value).strip()) for value in values]
        return sentences_with(verb, [value for value in bare if value])

    return tell


def _start(start: str) -> Tell:
    return lambda values: sentences_with(start, [known_small(value) for value in values])


def _whole(start: str) -> Tell:
    return lambda values: [f"{start}{', '.join(values)}."]


def _hobbies(values: list[str]) -> list[str]:
    small: Sequence[str] = [small_letters(value) for value in values]
    return sentences_with("My hobby is " if len(values) == 1 else "My hobbies are ", small)


_TEMPLATES: tuple[tuple[re.Pattern[str], Tell], ...] = tuple(
    (re.compile(pattern), tell)
    for pattern, tell in (
        (r"(?:full|real|first|character)? ?names?|character|char", lambda values: [f"My name is {values[0]}."]),
        (r"nick ?names?|alias(?:es)?|also known as|aka", lambda values: [f"People call me {listed(values)}."]),
        (r"age", _age),
        (r"gender|sex", _gender),
        (r"species|race|type", _kind),
        (r"occupations?|jobs?|profession|work|career|class|role|title", _kind),
        (r"likes?|loves?|enjoys|interests?|favou?rites?|favou?rite things", _start("I like ")),
        (r"hobby|hobbies|pastimes?", _hobbies),
        (r"dislikes?|hates?|doesn't like", _start("I dislike ")),
        (r"fears?|phobias?|afraid of", _start("I am afraid of ")),
        (r"personality(?: traits?)?|traits?|mind|temperament|(?:character|positive|negative) traits?|attributes?|mbti",
         as_being),
        (r"sexuality|(?:sexual )?orientation|nationality|ethnicity|(?:marital|relationship) status|status", as_being),
        (r"height", _height),
        (r"weight", lambda values: [f"I weigh {values[0]}."]),
        (r"hair(?: colou?r)?", _part("hair", "My hair is ")),
        (r"eyes?(?: colou?r)?", _part("eye", "My eyes are ")),
        (r"appearance|looks?|body|physical(?: appearance)?|(?:physical )?features?|physique|build", _looks),
        (r"clothes|clothing|outfit|attire|wears|wearing|apparel", _start("I wear ")),
        (r"residence|home|lives in|location|lives|address", _whole("I live in ")),
        (r"birth ?place|home ?town|origin|from|born in", _whole("I come from ")),
        (r"birth ?day|date of birth|birth ?date|born", _whole("My birthday is ")),
        (r"languages?(?: spoken)?|speaks", lambda values: sentences_with("I speak ", values)),
        (r"pets?", _pets),
        (r"skills?|talents?|abilit(?:y|ies)|good at", _start("I am good at ")),
    )
)  # fmt: skip
