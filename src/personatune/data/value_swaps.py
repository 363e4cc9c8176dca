"""Another value in the place of the persona's own: a nurse becomes a lawyer, two dogs become five.

Only values that exclude each other are swapped: who lives in Texas doesn't live in Ohio, but who likes pizza may like
sushi too, unless the sentence is about the favourite one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

from personatune.lexicon import NUMBER_DIGITS, group_of, group_values, siblings
from personatune.words import digits_value, keyword_stems, stem, stems

Spans = Sequence[tuple[int, int]]

_EXCLUSIVE = frozenset(
    "job|workplace|us state|city|country|pet|dog breed|car make|vehicle|school subject|profession field"
    "|nationality|diet|religion|politics|hair colour|marital status|birth order|allergen|settlement".split("|")
)
_FAVOURITE = _EXCLUSIVE | frozenset(
    "colour|food|sweet|drink|cuisine|music genre|sport|hobby|season|holiday|film genre|fruit or vegetable".split("|")
)
# A value of these groups changes only where the clause has the word that makes it a fact about the speaker.
_NEEDS = {
    "workplace": "work",
    "settlement": "live",
    "country": "live|from|born|grew|moved",
    "vehicle": "have|drive|own",
}
_NAMES = frozenset("us state|city|country|nationality|religion|car make|dog breed".split("|"))
_VERB_LIKE = frozenset("fish cook model judge nurse tailor author orange duck".split())
_UNCOUNTED = frozenset("fish mice rice fries economics mathematics physics politics goldfish".split())
_VOWEL_SOUND = re.compile(r"(?!uni|uk|eu|one)[aeiou]|hour|honest", re.IGNORECASE)


def swapped_values(
    reply: str, clauses: Spans, drawn: Sequence[str], traits: Sequence[str], rng: random.Random
) -> Iterator[tuple[str, str]]:
    """Yield the reply with one of its persona values replaced wherever it stands, and what changed.

    Args:
        clauses: spans of the reply that speak of the persona.
        drawn: the traits that the reply draws on.
        traits: all of the persona's; a new value never stands in one of them.
    """
    spoken = {word for trait in traits for word in stems(trait)} | set(stems(reply))
    for start, end in clauses:
        clause = reply[start:end]
        for value in _values(clause):
            group = group_of(_singular(value.lower()))
            trait = next((trait for trait in drawn if set(stems(value)) <= set(stems(trait))), None)
            if group is None or trait is None or not _exclusive(group, value, clause, trait):
                continue
            others = [other for other in siblings(_singular(value.lower())) if spoken.isdisjoint(stems(other))]
            if others:
                new = _in_form_of(value, rng.choice(others), group)
                yield _replaced_everywhere(reply, value, new), f"{value} -> {new}"


def swapped_numbers(
    reply: str, clauses: Spans, drawn: Sequence[str], traits: Sequence[str], rng: random.Random
) -> Iterator[tuple[str, str]]:
    """Yield the reply with one number that a trait also gives replaced by another, and what changed."""
    given = {_digits(word) for trait in drawn for word in keyword_stems(trait)} - {None}
    taken = {_digits(word) for trait in traits for word in keyword_stems(trait)}
    for start, end in clauses:
        for match in re.finditer(r"(?<![\w/:.,$-])(\d{1,4}|[A-Za-z]+)(?![\w/:-]|[.,]\d)", reply[start:end]):
            number = _digits(match[0].lower())
            if (
                number is None
                or number not in given
                or match[0].lower() in {"one", "hundred", "thousand"}
                or number == "1"
            ):
                continue
            numbers = [other for other in _near(int(number)) if str(other) not in taken]
            number_drawn = rng.choice(numbers)
            new = str(number_drawn) if match[0].isdigit() else _spelled(number_drawn, like=match[0])
            if new is not None:
                text = reply[: start + match.start()] + new + reply[start + match.end() :]
                yield text, f"{match[0]} -> {new}"


def _values(clause: str) -> Iterator[str]:
    found = list(re.finditer(r"[A-Za-z]+", clause))
    skip = -1
    for index, match in enumerate(found):
        if index == skip:
            continue
        if index + 1 < len(found) and clause[match.end() : found[index + 1].start()] == " ":
            pair = f"{match[0]} {found[index + 1][0]}"
            if _listed(pair):
                skip = index + 1
                yield pair
                continue
        before = found[index - 1][0].lower() if index else ""
        if _listed(match[0]) and not (
            match[0].lower() in _VERB_LIKE and before in {"", "to", "i", "we", "you", "they"}
        ):
            yield match[0]


def _listed(value: str) -> bool:
    """Say whether a word stands in a group as it is or as a plural; "fishes" the verb form of a job does not."""
    singular = _singular(value.lower())
    group = group_of(singular)
    return group is not None and singular in group_values(group)


def _exclusive(group: str, value: str, clause: str, trait: str) -> bool:
    if group == "job" and not re.search(rf"\b(?:an?|the|as|retired|professional|certified)\s+{value}\b", clause, re.I):
        return False  # "a computer programmer" is one word with a space: no "computer baker"
    if group == "settlement" and value.lower() not in {"city", "town", "village"}:
        return False
    if group in _NEEDS and not re.search(rf"\b(?:{_NEEDS[group]})", clause, re.IGNORECASE):
        return False
    favourite = re.search(r"\bfavou?rite\b", f"{clause} {trait}", re.IGNORECASE)
    return group in (_FAVOURITE if favourite else _EXCLUSIVE)


def _singular(word: str) -> str:
    group = group_of(word)
    if group is not None and word in group_values(group):
        return word
    for ending, other in (("ies", "y"), ("es", ""), ("s", "")):
        if word.endswith(ending):
            shorter = word.removesuffix(ending) + other
            group = group_of(shorter)
            if group is not None and shorter in group_values(group):
                return shorter
    return word


def _in_form_of(old: str, new: str, group: str) -> str:
    if _singular(old.lower()) != old.lower():
        new = _plural(new)
    if old.isupper() and len(old) > 2:
        return new.upper()
    if old[0].isupper():
        return new.title() if group in _NAMES else new[0].upper() + new[1:]
    return new


def _plural(word: str) -> str:
    if word in _UNCOUNTED or word.endswith("men"):
        return word
    if word.endswith("man"):
        return word.removesuffix("man") + "men"
    if word == "mouse":
        return "mice"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if re.search(r"(?:s|x|ch|sh)$", word) else "s")


def _replaced_everywhere(reply: str, old: str, new: str) -> str:
    def change(match: re.Match[str]) -> str:
        article = match[1] or ""
        if article.strip().lower() in {"a", "an"}:
            letter, gap = article.strip(), article[len(article.strip()) :]
            article = letter[0] + ("n" if _VOWEL_SOUND.match(new) else "") + gap
        return article + new

    return re.sub(rf"\b((?:a|an)\s+)?{re.escape(old)}\b", change, reply, flags=re.IGNORECASE)


def _digits(word: str) -> str | None:
    value = digits_value(word)
    return NUMBER_DIGITS.get(word) if value is None else str(value)


def _near(number: int) -> list[int]:
    if 1900 <= number <= 2030:
        return [number + step for step in range(-15, 16) if abs(step) >= 3]
    if number <= 12:
        return [other for other in range(2, 13) if abs(other - number) >= 2]
    return [other for step in (2, 3, 4, 5, 7) for other in (number + step * number // 10, number - step * number // 10)]


def _spelled(number: int, like: str) -> str | None:
    word = next((word for word, digits in NUMBER_DIGITS.items() if digits == str(number)), None)
    if word is None:
        tens = [word for word, digits in NUMBER_DIGITS.items() if int(digits) % 10 == 0 and 20 <= int(digits) <= 90]
        word = min(tens, key=lambda ten: (abs(int(NUMBER_DIGITS[ten]) - number), stem(ten)))
    word = word.capitalize() if like[0].isupper() else word
    return None if word.lower() == like.lower() else word
