"""Probe dialogues: the partner asks about a persona's traits one after the other, small talk in between.

Questions are derived from a trait's attribute (`judging.probe_rules`) and never contain the keywords they ask for.
The share of consistent answers is the headline figure `probe_consistency`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personatune.dialogue import Context, Persona, Probe, ProbeScript, Respond, Turn
from personatune.judging.keywords import Verdict, judge_answer, trait_keywords, trait_signs
from personatune.judging.polarity import mend_contractions
from personatune.judging.probe_rules import RULES, ProbeRule
from personatune.judging.small_talk import INTERLUDES, OPENINGS
from personatune.judging.telling import SAME_THING, WEAK_STEMS
from personatune.lexicon import NUMBER_DIGITS, group_of, siblings, synonyms
from personatune.words import keyword_stems, stem, stems, words

MIN_PROBES = 3


@dataclass(frozen=True, slots=True)
class ProbeDialogue:
    """One probe dialogue that was held: a reply for every line of the script, a verdict for every probe."""

    script: ProbeScript
    replies: tuple[str, ...]
    verdicts: tuple[Verdict | None, ...]

    def to_json(self) -> dict[str, Any]:
        lines = [
            {"partner": line, "probe": _probe_to_json(probe), "reply": reply, "verdict": verdict}
            for (line, probe), reply, verdict in zip(self.script.lines, self.replies, self.verdicts, strict=True)
        ]
        return {"persona": self.script.persona.to_json(), "lines": lines}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ProbeDialogue:
        lines = tuple((line["partner"], _probe_from_json(line["probe"])) for line in row["lines"])
        return cls(
            ProbeScript(Persona.from_json(row["persona"]), lines),
            tuple(line["reply"] for line in row["lines"]),
            tuple(line["verdict"] for line in row["lines"]),
        )


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


def make_script(persona: Persona, turns: int, seed: int = 0) -> ProbeScript | None:
    """Return the partner's lines of one dialogue: small talk first, then the probes in seeded order between small talk.

    Traits that one question asks for together are asked once. None when fewer than three probes can be made.

    Raises:
        ValueError: ``turns`` leaves no room for an opening and three probes, or needs more small talk than there is.
    """
    if not MIN_PROBES < turns <= len(INTERLUDES):
        raise ValueError(f"a probe dialogue has {MIN_PROBES + 1} to {len(INTERLUDES)} partner lines, not {turns}")
    rng = random.Random(f"{seed}|{'|'.join(persona.traits)}")
    probes = _distinct_probes(persona, seed, rng)[: turns - 1]
    if len(probes) < MIN_PROBES:
        return None
    small_talk: list[Probe | None] = [None] * (turns - 1 - len(probes))
    order: list[Probe | None] = [*probes, *small_talk]
    rng.shuffle(order)
    interludes = iter(rng.sample(INTERLUDES, len(small_talk)))
    lines = [(probe.question, probe) if probe else (next(interludes), None) for probe in order]
    return ProbeScript(persona, ((rng.choice(OPENINGS), None), *lines))


def hold_dialogues(
    scripts: Sequence[ProbeScript], respond: Respond, on_turn: Callable[[int], None] = lambda replies: None
) -> list[ProbeDialogue]:
    """Hold all dialogues in lock-step, one ``respond`` call for a turn of all of them, and judge the answers.

    ``on_turn`` gets the number of replies just made.
    """
    replies: list[list[str]] = [[] for _ in scripts]
    for turn in range(max((len(script.lines) for script in scripts), default=0)):
        speaking = [number for number, script in enumerate(scripts) if turn < len(script.lines)]
        said = respond([_context(scripts[number], replies[number]) for number in speaking])
        for number, reply in zip(speaking, said, strict=True):
            replies[number].append(reply)
        on_turn(len(speaking))
    return [judge_dialogue(script, said) for script, said in zip(scripts, replies, strict=True)]


def judge_dialogue(script: ProbeScript, replies: Sequence[str]) -> ProbeDialogue:
    """Give every answer to a probe its verdict; small talk has none."""
    verdicts = tuple(
        judge_answer(reply, probe) if probe else None for (_, probe), reply in zip(script.lines, replies, strict=True)
    )
    return ProbeDialogue(script, tuple(replies), verdicts)


def _context(script: ProbeScript, replies: Sequence[str]) -> Context:
    turns: list[Turn] = []
    for (line, _), reply in zip(script.lines, replies, strict=False):
        turns += [Turn("partner", line), Turn("self", reply)]
    return Context(script.persona, (*turns, Turn("partner", script.lines[len(replies)][0])))


def _distinct_probes(persona: Persona, seed: int, rng: random.Random) -> list[Probe]:
    """One probe for each broad attribute first; a second one only where that is needed to reach three."""
    first: list[Probe] = []
    spare: list[Probe] = []
    questions: set[str] = set()
    asked: set[str] = set()
    traits = list(persona.traits)
    rng.shuffle(traits)
    for trait in traits:
        probe = make_probe(trait, persona, seed)
        if probe is None:
            continue
        for other_seed in range(seed + 1, seed + 12):
            if probe is None or probe.question not in questions:
                break
            probe = make_probe(trait, persona, other_seed)
        if probe is None or probe.question in questions:
            continue
        attribute = attribute_of(trait) or ""
        (spare if attribute in asked else first).append(probe)
        questions.add(probe.question)
        asked.add(attribute)
    return first + spare[: max(0, MIN_PROBES - len(first))]


def _fitting(trait: str) -> list[tuple[ProbeRule, re.Match[str]]]:
    plain = " ".join(words(mend_contractions(trait)))
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
        value = int(word) if word.isdigit() else int(NUMBER_DIGITS.get(word, "0"))
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


def _probe_to_json(probe: Probe | None) -> dict[str, Any] | None:
    if probe is None:
        return None
    return {
        "trait": probe.trait,
        "question": probe.question,
        "keywords": list(probe.keywords),
        "contradicting": list(probe.contradicting),
    }


def _probe_from_json(row: Mapping[str, Any] | None) -> Probe | None:
    if row is None:
        return None
    return Probe(row["trait"], row["question"], tuple(row["keywords"]), tuple(row["contradicting"]))
