"""Questions for the personas of any source: reads the sentences, derives the probes, says how many got one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personatune.cards.character import CardCharacter
from personatune.cards.files import is_card_file, read_card
from personatune.data.cleaning import clean
from personatune.data.sources import DatasetLoader
from personatune.dialogue import Persona, Probe
from personatune.errors import UserError
from personatune.judging.derived_probes import attribute_of, make_probe

_NUMBERED = re.compile(r"\s*\d+\s")  # Persona-Chat's own text form begins every line so


@dataclass(frozen=True, slots=True)
class DerivedProbes:
    """The probes of a source.

    Attributes:
        probes: one for every distinct sentence that a rule fits, with its attribute.
        uncovered: the sentences without a question, in order.
    """

    probes: tuple[tuple[str, Probe], ...]
    uncovered: tuple[str, ...]

    @property
    def coverage(self) -> float:
        """Share of the distinct persona sentences that got a question, 0 to 1."""
        return len(self.probes) / (len(self.probes) + len(self.uncovered))

    def by_attribute(self) -> Counter[str]:
        """Return how many probes ask for each attribute."""
        return Counter(attribute for attribute, _ in self.probes)

    def rows(self) -> list[dict[str, Any]]:
        """Return one JSON object for each probe; keywords and contradicting words are stems."""
        return [
            {
                "trait": probe.trait,
                "attribute": attribute,
                "question": probe.question,
                "keywords": list(probe.keywords),
                "contradicting": list(probe.contradicting),
            }
            for attribute, probe in self.probes
        ]


def read_personas_of(source: str) -> list[Persona]:
    """Return the personas of a dialogue source, of a text file (one sentence a line, an empty line between personas),
    of a character card, or of sentences written out ("I have a dog. | I am a chef.").

    JSON is read as a card where it looks like one, else as dialogues.

    Raises:
        UserError: the source can't be read, or holds no persona sentence.
    """
    path = Path(source)
    if "|" in source or (not path.exists() and len(source.split()) > 2):
        personas = [Persona(tuple(part.strip() for part in source.split("|") if part.strip()))]
    elif path.suffix == ".txt" and path.is_file() and (plain := _plain_lines(path)) is not None:
        personas = plain
    elif path.is_file() and is_card_file(path):
        personas = [CardCharacter(read_card(path).card).persona]
    else:
        cleaned = clean(DatasetLoader(source).load().dialogues)
        personas = [persona for dialogue in cleaned.dialogues for persona in dialogue.personas.values()]
    personas = list(dict.fromkeys(persona for persona in personas if persona.traits))
    if not personas:
        raise UserError(f"{source}: found no persona sentence, expected dialogues with personas or a sentence a line")
    return personas


def derive_probes(personas: Sequence[Persona], seed: int = 0) -> DerivedProbes:
    """Derive one question for every distinct sentence, its wording drawn by ``seed``."""
    probes: list[tuple[str, Probe]] = []
    uncovered: list[str] = []
    seen: set[str] = set()
    for persona in personas:
        for trait in persona.traits:
            if trait in seen:
                continue
            seen.add(trait)
            probe = make_probe(trait, persona, seed)
            if probe is None:
                uncovered.append(trait)
            else:
                probes.append((attribute_of(trait) or "", probe))
    return DerivedProbes(tuple(probes), tuple(uncovered))


def _plain_lines(path: Path) -> list[Persona] | None:
    """Return the personas of a file of plain sentences; None if it has dialogues in it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read ({error}); expected one sentence a line in UTF-8") from error
    if any("\t" in line or _NUMBERED.match(line) for line in lines):
        return None
    blocks = re.split(r"\n\s*\n", "\n".join(lines))
    return [Persona(tuple(line.strip() for line in block.splitlines() if line.strip())) for block in blocks]
