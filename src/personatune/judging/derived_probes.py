"""Questions for any persona sentence, derived from its attribute by the rules of `judging.probe_rules`.

A derived question never contains the keywords it asks for, and the trait itself must be a consistent answer to it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from personatune.dialogue import Persona, Probe
from personatune.judging.keywords import judge_answer, trait_keywords, trait_signs
from personatune.judging.probe_rules import RULES, ProbeRule
from personatune.judging.telling import SAME_THING, WEAK_STEMS
from personatune.lexicon import NUMBER_DIGITS, group_of, siblings, synonyms
from personatune.words import digits_value, keyword_stems, mend_contractions, stem, stems, words


def make_probe(trait: str, persona: Persona, seed: int = 0) -> Probe | None:
    """Return a question that the trait answers, or None when no rule fits.

    The wording is drawn by ``seed``. A broad question ("What do you do for fun?") is answered by every trait of the
    persona with that attribute, so their keywords count as well.
    """
    found = _fitting(trait)
    if not found:
        return None
    rng = random.Random(f"{seed}|{trait}")
    for rule, match in found:
        probe = _ask(rule, match, trait, persona, rng)
        if probe is not None:
            return probe
    return None


def attribute_of(trait: str) -> str | None:
    """Return what kind of trait it is ("pet", "job", …) by the first rule that fits, or None."""
    found = _fitting(trait)
    return found[0][0].attribute if found else None


def _fitting(trait: str) -> list[tuple[ProbeRule, re.Match[str]]]:
    plain = " ".join(words(mend_contractions(trait)))
    plain = re.sub(r"\b(i|we)'ve\b", r"\1 have", plain)
    matches = ((rule, rule.pattern.search(plain)) for rule in RULES)
    return [(rule, match) for rule, match in matches if match]


def _ask(rule: ProbeRule, match: re.Match[str], trait: str, persona: Persona, rng: random.Random) -> Probe | None:
    keywords = _accepted(rule, match, trait)
    if rule.broad:
        for other in persona.traits:
            fitting = _fitting(other) if other != trait else []
            if fitting and fitting[0][0].attribute == rule.attribute:
                keywords += _accepted(*fitting[0], other)
    topic = match.groupdict().get("x") or ""
    questions = [_phrase(question, topic) for question in rule.questions]
    rng.shuffle(questions)
    own = set(keyword_stems(mend_contractions(trait)))
    questions.sort(key=lambda question: len(own.intersection(stems(question))))
    main = set(_value_stems(match, trait))
    for question in questions:
        asked = set(stems(question))
        left = tuple(dict.fromkeys(word for word in keywords if word not in asked))
        if not main.intersection(left):
            continue
        probe = Probe(trait, question, left, _contradicting(rule, match, left, asked | set(stems(trait))))
        if judge_answer(trait, probe) == "consistent":  # a question its own trait doesn't answer asks something else
            return probe
    return None


def _phrase(question: str, topic: str) -> str:
    """Fill in the topic; "what's your favorite animals" becomes "what are your favorite animals"."""
    if topic.endswith("s") and not topic.endswith("ss"):
        question = question.replace("hat's your favorite", "hat are your favorite").replace(
            "a favorite", "any favorite"
        )
        question = question.replace("What does your", "What do your")
    return question.format(x=topic)


def _value(match: re.Match[str]) -> str:
    parts = [value for name, value in match.groupdict().items() if name.startswith("v") and value]
    return parts[0] if parts else ""


def _value_stems(match: re.Match[str], trait: str) -> list[str]:
    """Stems of the value that is asked for, numbers only when nothing else is left."""
    every = trait_keywords(trait)
    within = set(stems(_value(match)))
    topic = set(stems(match.groupdict().get("x") or ""))
    value = [word for word in every if word in within] or [word for word in every if word not in topic]
    strong = [word for word in value if word not in WEAK_STEMS and not _is_number(word)]
    return strong or [word for word in value if _is_number(word)]


def _accepted(rule: ProbeRule, match: re.Match[str], trait: str) -> list[str]:
    """Stems that answer the question: the value, its synonyms, a name given to it, numbers both ways."""
    accepted = _value_stems(match, trait)
    named = re.search(r"\b(?:named|name is) (\w+)", match.string)
    if named and stem(named[1]) not in accepted:
        accepted.append(stem(named[1]))
    value_words = [word for word in words(mend_contractions(trait)) if stem(word) in accepted]
    for word in value_words:
        for other in synonyms(word):
            accepted += [stem(part) for part in other.split()] if " " not in other else []
        accepted += SAME_THING.get(stem(word), ())
    if any(map(_is_number, accepted)):
        accepted += _number_spellings(words(mend_contractions(trait)))
    if rule.attribute == "children":
        accepted += [stem(word) for word in ("kid", "child", "children", "son", "daughter", "baby")]
    return list(dict.fromkeys(accepted))


def _number_spellings(said: Sequence[str]) -> list[str]:
    """Stems of the numbers in ``said`` in digits and in words: "twenty six" gives "26", "26" gives "twenty", "six"."""
    digits: list[int] = []
    for word in said:
        value = digits_value(word) or int(NUMBER_DIGITS.get(word, "0"))
        if digits and digits[-1] in range(20, 100, 10) and 0 < value < 10:
            digits[-1] += value
        elif value:
            digits.append(value)
    names = {int(value): name for name, value in NUMBER_DIGITS.items()}
    spelled = [str(value) for value in digits]
    for value in digits:
        spelled += [
            names[part] for part in ((value,) if value in names else (value // 10 * 10, value % 10)) if part in names
        ]
    return [stem(name) for name in spelled if name != "zero"]


def _is_number(word: str) -> bool:
    return word.isdigit() or group_of(word) == "number"


def _contradicting(rule: ProbeRule, match: re.Match[str], keywords: Sequence[str], free: set[str]) -> tuple[str, ...]:
    """Single-word values that exclude the right one, without the ``free`` stems of question and trait.

    A favourite of many words names something of its own ("The Black Keys"): nothing excludes it.
    """
    if not rule.exclusive or all(sign == -1 for sign in trait_signs(match.string).values()):
        return ()  # who denies one value says nothing of the others
    value = _value(match).split()
    if "*" in rule.exclusive and len(value) > 2:
        return ()
    found: list[str] = []
    for length in (2, 1):
        for start in range(len(value) - length + 1):
            part = " ".join(value[start : start + length])
            group = group_of(part)
            if group and ("*" in rule.exclusive or group in rule.exclusive):
                found += [stem(other) for other in siblings(part) if " " not in other]
    if "number" in rule.exclusive and any(map(_is_number, value)):
        found += [str(number) for number in range(1, 100)]
        found += [stem(word) for word in NUMBER_DIGITS if NUMBER_DIGITS[word] not in ("0", "1")]
    return tuple(word for word in dict.fromkeys(found) if word not in keywords and word not in free)
