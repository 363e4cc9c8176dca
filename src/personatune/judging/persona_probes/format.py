"""The file format of PersonaProbes: hand-written personas, each trait with its questions, keywords and example replies.

How to write one: docs/probes.md. What the types below can't see is checked by `judging.persona_probes.validation`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from personatune.dialogue import Persona, Probe
from personatune.errors import UserError, did_you_mean
from personatune.plain_yaml import NotYamlError, parse_yaml
from personatune.words import stem, words

Kind = Literal["everyday", "brand", "character"]
Split = Literal["train", "validation", "test"]
Topic = Literal["job", "family", "pet", "place", "taste", "dislike", "habit", "health", "belief", "number"]
TOPICS: tuple[Topic, ...] = get_args(Topic)
SPLITS: tuple[Split, ...] = get_args(Split)


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value  # YAML reads 3 as a number


def _single_word(value: str) -> str:
    if words(value) != [value]:
        raise ValueError("expected a single lower-case word")
    return value


def _sentence(least: int, most: int) -> AfterValidator:
    def check(value: str) -> str:
        count = len(words(value))
        if not least <= count <= most:
            raise ValueError(f"expected {least} to {most} words, not {count}")
        return value

    return AfterValidator(check)


Word = Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_single_word)]
Sentence = Annotated[str, _sentence(4, 16)]
Reply = Annotated[str, _sentence(5, 30)]
Answer = Annotated[str, _sentence(1, 30)]


class _Entry(BaseModel):
    """A branch of the file: unknown keys and wrong types are findings."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ProbeTrait(_Entry):
    """One trait and all that belongs to asking for it."""

    trait: Sentence
    topic: Topic
    questions: Annotated[list[str], Field(min_length=3, max_length=3)]
    keywords: Annotated[list[Word], Field(min_length=2, max_length=10)]
    contradicting: Annotated[list[Word], Field(max_length=8)]
    contradicting_answers: Annotated[list[Answer], Field(min_length=2, max_length=2)]
    consistent: Reply
    contradiction: Reply

    def probes(self) -> list[Probe]:
        """Return the trait as a probe for each of its questions; keywords become stems."""
        keywords, contradicting = _stems(self.keywords), _stems(self.contradicting)
        return [Probe(self.trait, question, keywords, contradicting) for question in self.questions]


class ProbePersona(_Entry):
    """One hand-written persona of the benchmark."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$")]
    kind: Kind
    split: Split
    name: Annotated[str, Field(min_length=1)]
    traits: Annotated[list[ProbeTrait], Field(min_length=4, max_length=6)]

    def persona(self) -> Persona:
        """Return what a chatbot is told."""
        return Persona(tuple(trait.trait for trait in self.traits), self.name)


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach of a rule; as text one line."""

    file: str
    persona: str
    trait: int | None  # from 1; None: the persona as a whole
    found: str
    expected: str

    def __str__(self) -> str:
        place = ", ".join(
            part for part in (self.file, self.persona, f"trait {self.trait}" if self.trait else "") if part
        )
        return f"{place}: found {self.found}, expected {self.expected}"


def packaged_files() -> list[Path]:
    """Return the files of the benchmark that the package ships, by name."""
    folder = Path(str(resources.files("personatune.judging.persona_probes")))
    return sorted(folder.glob("*.yaml"))


def load_persona_probes(split: Split | None = None, files: Sequence[Path] | None = None) -> list[ProbePersona]:
    """Return the personas of one split (None: all) of the packaged benchmark, or of other files, in file order.

    Raises:
        UserError: a file is missing or breaks the format (the first finding; `personatune probes check` lists all),
            or the split is unknown.
    """
    if split is not None and split not in SPLITS:
        raise UserError(f"split {split!r}: expected one of {', '.join(SPLITS)}{did_you_mean(split, SPLITS)}")
    personas: list[ProbePersona] = []
    for file in packaged_files() if files is None else files:
        read, findings = read_personas(file)
        if findings:
            raise UserError(str(findings[0]))
        personas += read
    return [persona for persona in personas if split in (None, persona.split)]


def read_personas(file: Path) -> tuple[list[ProbePersona], list[Finding]]:
    """Return the well-formed personas of one file and a finding for everything else in it.

    Raises:
        UserError: the file can't be read, or is no YAML (names the line).
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; expected a YAML list of personas (docs/probes.md)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: can't be read ({error}); expected a YAML list of personas in UTF-8") from error
    personas, findings = _parse(file, text)
    return list(personas), list(findings)


@lru_cache(maxsize=64)
def _parse(file: Path, text: str) -> tuple[tuple[ProbePersona, ...], tuple[Finding, ...]]:
    personas: list[ProbePersona] = []
    findings: list[Finding] = []
    for number, entry in enumerate(_entries(file, text), start=1):
        name = str(entry["id"]) if isinstance(entry, dict) and "id" in entry else f"persona {number}"
        try:
            personas.append(ProbePersona.model_validate(entry))
        except ValidationError as error:
            findings += [_as_finding(file.name, name, detail) for detail in error.errors()]
    return tuple(personas), tuple(findings)


def _entries(file: Path, text: str) -> list[Any]:
    try:
        entries = parse_yaml(text)
    except NotYamlError as error:
        line = f", line {error.line}" if error.line else ""
        raise UserError(f"{file}{line}: not valid YAML ({error}); quote strings that hold a colon") from error
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{file}: found {type(entries).__name__}, expected a YAML list of personas (docs/probes.md)")
    return entries


def _as_finding(file: str, persona: str, detail: Any) -> Finding:
    place = [str(part) for part in detail["loc"]]
    trait = None
    if len(place) >= 2 and place[0] == "traits":
        trait = int(place[1]) + 1
        place = place[2:]
    field = " ".join(str(int(part) + 1) if part.isdigit() else part for part in place)
    length = re.fullmatch(r"List should have (at \w+ \d+) .*", detail["msg"])
    expected = (
        length[1] if length else detail["msg"].removeprefix("Value error, expected ").removeprefix("Input should be ")
    )
    if detail["type"] == "missing":
        return Finding(file, persona, trait, f"no {field}", "this key")
    if detail["type"] == "extra_forbidden":
        known = ProbeTrait.model_fields if trait else ProbePersona.model_fields
        return Finding(file, persona, trait, f"unknown key {field}", f"no other keys{did_you_mean(place[-1], known)}")
    value = detail["input"]
    shown = f"{len(value)} entries" if isinstance(value, list) else _shorten(repr(value))
    if detail["type"].endswith("_type"):
        expected += f" (YAML read a {type(value).__name__}: quote it)" if isinstance(value, (bool, int, float)) else ""
    return Finding(file, persona, trait, f"{field} {shown}".strip(), expected)


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _stems(listed: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(stem, listed)))


def split_shares(personas: Sequence[ProbePersona]) -> dict[str, float]:
    """Return the share of each split among the personas, 0 to 1."""
    counts = Counter(persona.split for persona in personas)
    return {split: counts[split] / len(personas) for split in SPLITS}
