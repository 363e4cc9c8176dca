"""The rules of PersonaProbes that a program can check; each breach is one line. The rules in words: docs/probes.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from personatune.copying import copies_trait
from personatune.dialogue import Persona
from personatune.judging.keywords import judge_answer, trait_signs
from personatune.judging.persona_probes.format import (
    TOPICS,
    Finding,
    ProbePersona,
    ProbeTrait,
    packaged_files,
    read_personas,
    split_shares,
)
from personatune.judging.telling import WEAK_STEMS, is_telling
from personatune.words import is_content_word, mend_contractions, stem, stems, words

MIN_PERSONAS = 150
SPLIT_SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
SPLIT_TOLERANCE = 0.02
MIN_TOPICS = 3
NEGATIVE_SHARE = 2 / 3
NUMBER_SHARE = 1 / 2
_MOST_ALIKE = 0.75
_MOST_TOLD = 0.5

_DERIVED_ENDINGS = frozenset("r er or ist ian y ie i ing ery eri ry ed s es man woman".split())


def check_files(files: Sequence[Path] | None = None) -> tuple[list[ProbePersona], list[Finding]]:
    """Return the well-formed personas and every finding in ``files``; without files those of the packaged benchmark.

    The rules about the whole benchmark (size, splits, shares of topics) hold for the packaged one only.

    Raises:
        UserError: a file is missing or no YAML.
    """
    placed: list[tuple[str, ProbePersona]] = []
    findings: list[Finding] = []
    for file in packaged_files() if files is None else files:
        personas, malformed = read_personas(file)
        findings += malformed
        placed += [(file.name, persona) for persona in personas]
    for name, persona in placed:
        findings += check_persona(persona, name)
    findings += _shared(placed)
    personas = [persona for _, persona in placed]
    if files is None:
        findings += check_benchmark(personas)
    return personas, findings


def check_persona(persona: ProbePersona, file: str = "") -> list[Finding]:
    """Return what one persona breaks of the rules for its traits and between them."""
    found = partial(Finding, file, persona.id)
    findings: list[Finding] = []
    for number, trait in enumerate(persona.traits, start=1):
        for breach in (*_questions(trait), *_words(trait), *_replies(trait)):
            findings.append(found(number, *breach))
    findings += [found(number, *breach) for number, breach in _between_traits(persona)]
    topics = {trait.topic for trait in persona.traits}
    if len(topics) < MIN_TOPICS:
        findings.append(found(None, f"{len(topics)} topics", f"at least {MIN_TOPICS}"))
    return findings


def check_benchmark(personas: Sequence[ProbePersona]) -> list[Finding]:
    """Return what the benchmark as a whole breaks: its size, its splits, its shares of topics."""
    found = partial(Finding, "all files", "", None)
    findings: list[Finding] = []
    if len(personas) < MIN_PERSONAS:
        findings.append(found(f"{len(personas)} personas", f"at least {MIN_PERSONAS}"))
    if not personas:
        return findings
    for split, share in split_shares(personas).items():
        wanted = SPLIT_SHARES[split]
        if abs(share - wanted) > SPLIT_TOLERANCE + 1e-9:
            findings.append(found(f"{share:.1%} of the personas in {split}", f"{wanted:.0%}, 2 points more or less"))
    for topic in TOPICS:
        if not any(trait.topic == topic for persona in personas for trait in persona.traits):
            findings.append(found(f"no trait about {topic}", "every topic"))
    negative = sum(any(map(denies_something, persona.traits)) for persona in personas) / len(personas)
    if negative < NEGATIVE_SHARE:
        findings.append(found(f"{negative:.0%} of the personas with a negative trait", "two of three"))
    numbers = sum(any(map(states_number, persona.traits)) for persona in personas) / len(personas)
    if numbers < NUMBER_SHARE:
        findings.append(found(f"{numbers:.0%} of the personas with a number", "every second one"))
    return findings


def denies_something(trait: ProbeTrait) -> bool:
    """Say whether the trait sentence denies or dislikes something ("I never…", "I hate…")."""
    return any(sign == -1 for sign in trait_signs(trait.trait).values())


def states_number(trait: ProbeTrait) -> bool:
    """Say whether the trait is about a number: its topic, or a number in its sentence."""
    return trait.topic == "number" or any(word.isdigit() for word in words(trait.trait))


Breach = tuple[str, str]
"""What was found and what was expected."""


def _questions(trait: ProbeTrait) -> Iterator[Breach]:
    plain = [" ".join(words(question)) for question in trait.questions]
    if len(set(plain)) < len(plain):
        yield "the same question twice", "three different ones"
    keywords = {stem(word): word for word in trait.keywords}
    told = {stem(word): word for word in _content_words(trait.trait) if stem(word) not in WEAK_STEMS}
    # "How often have you sailed round the Horn?" gives no number away.
    counted = any(word.isdigit() for word in trait.keywords)
    for question in trait.questions:
        length = len(words(question)) + question.count("'")  # "what's" is two words
        if not 4 <= length <= 16:
            yield f"question {question!r} of {length} words", "4 to 16"
        if not question.rstrip().endswith("?"):
            yield f"question {question!r}", "an ending in '?'"
        asked = stems(question)
        named = [word for kept, word in keywords.items() if any(_inflected(kept, other) for other in asked)]
        if named:
            yield f"keyword {named[0]!r} in question {question!r}", "a question without its keywords"
        shared = [word for kept, word in told.items() if kept in asked and kept not in keywords]
        if not counted and len(shared) >= _MOST_TOLD * len(told) > 0:
            yield (
                f"the trait's own {', '.join(shared)} in question {question!r}",
                "a question that doesn't tell the answer",
            )


def _words(trait: ProbeTrait) -> Iterator[Breach]:
    keywords = {stem(word) for word in trait.keywords}
    for word in trait.keywords:
        if not is_telling(word):
            yield f"keyword {word!r}", "a telling word (this one stands in too many sentences)"
    if len(set(trait.keywords)) < len(trait.keywords):
        yield "the same keyword twice", "different ones"
    if keywords.isdisjoint(stems(trait.consistent)):
        yield f"no keyword in the consistent reply {trait.consistent!r}", "at least one"
    for word in trait.contradicting:
        if stem(word) in keywords:
            yield f"contradicting word {word!r} among the keywords", "words that are in one list only"
        for part, text in (("trait", trait.trait), ("consistent reply", trait.consistent)):
            if stem(word) in stems(mend_contractions(text)):
                yield f"contradicting word {word!r} in the {part}", "a word that the trait excludes"


def _replies(trait: ProbeTrait) -> Iterator[Breach]:
    if copies_trait(trait.consistent, Persona((trait.trait,))) or _alike(trait.consistent, trait.trait):
        yield f"consistent reply {trait.consistent!r}, nearly the trait itself", "a paraphrase"
    texts = [
        ("trait", trait.trait, "consistent"),
        ("consistent reply", trait.consistent, "consistent"),
        ("contradiction", trait.contradiction, "contradicting"),
        *(("contradicting answer", answer, "contradicting") for answer in trait.contradicting_answers),
    ]
    for part, text, wanted in texts:
        for probe in trait.probes():
            verdict = judge_answer(text, probe)
            if verdict != wanted:
                yield f"{part} {text!r} judged {verdict} as an answer to {probe.question!r}", wanted
                break  # one finding for each text: the others have the same cause nearly always


def _between_traits(persona: ProbePersona) -> Iterator[tuple[int, Breach]]:
    asked: dict[str, int] = {}
    for number, trait in enumerate(persona.traits, start=1):
        keywords = {stem(word): word for word in trait.keywords}
        for other_number, other in enumerate(persona.traits, start=1):
            if other_number == number:
                continue
            named = [word for kept, word in keywords.items() if kept in stems(mend_contractions(other.consistent))]
            if named:
                where = f"the consistent reply of trait {other_number}"
                yield number, (f"keyword {named[0]!r} in {where}", "keywords that only this trait's replies hold")
            shared = [word for kept, word in keywords.items() if kept in set(map(stem, other.keywords))]
            if shared and other_number > number:
                yield number, (f"keyword {shared[0]!r} also with trait {other_number}", "keywords of one trait only")
        for question in trait.questions:
            first = asked.setdefault(" ".join(words(question)), number)
            if first != number:
                yield number, (f"question {question!r} also with trait {first}", "a question that one trait answers")


def _shared(placed: Sequence[tuple[str, ProbePersona]]) -> Iterator[Finding]:
    """Yield ids and trait sentences that stand twice, over all files."""
    ids: dict[str, str] = {}
    sentences: dict[str, str] = {}
    meanings: dict[frozenset[tuple[str, int]], str] = {}
    for file, persona in placed:
        if persona.id in ids:
            yield Finding(file, persona.id, None, f"an id that {ids[persona.id]} has too", "an id of its own")
        ids[persona.id] = file
        for number, trait in enumerate(persona.traits, start=1):
            here = f"{file}, {persona.id}, trait {number}"
            plain = " ".join(words(mend_contractions(trait.trait)))
            meaning = frozenset(trait_signs(trait.trait).items())
            first = sentences.get(plain) or meanings.get(meaning)
            if first:
                yield Finding(file, persona.id, number, f"{trait.trait!r}, the sentence of {first}", "one of its own")
            sentences[plain] = here
            if len(meaning) > 1:  # the same content words with the same signs say the same
                meanings[meaning] = here


def _content_words(sentence: str) -> list[str]:
    return [word for word in words(mend_contractions(sentence)) if is_content_word(word)]


def _inflected(keyword: str, other: str) -> bool:
    """Say whether the stem ``other`` is the keyword or made from it ("bake", "bakery")."""
    base = keyword.removesuffix("e") if len(keyword) > 4 else keyword
    return keyword == other or (len(base) >= 4 and other.startswith(base) and other[len(base) :] in _DERIVED_ENDINGS)


def _alike(first: str, second: str) -> bool:
    one, two = set(stems(first)), set(stems(second))
    return len(one & two) / len(one | two) >= _MOST_ALIKE
