"""``recall train``: gather lines and the persona sentences they ask for, train persona recall, and measure it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personatune.data.recall_lines import RecallLines, written_lines
from personatune.data.sources import DatasetLoader
from personatune.dialogue import Persona
from personatune.errors import UserError
from personatune.judging.derived_probes import make_probe
from personatune.judging.persona_probes import load_persona_probes
from personatune.judging.persona_probes.format import Split
from personatune.judging.recall import Recall
from personatune.judging.recall_files import save_recall
from personatune.judging.small_talk import INTERLUDES, OPENINGS
from personatune.progress import Progress
from personatune.storage import write_json
from personatune.training.recall import RecallSettings, RecallTrainer

SURE_FROM = 0.5


@dataclass(frozen=True)
class RecallData:
    """What recall learns from: hand-written lines in every epoch, questions derived by rules once."""

    always: list[RecallLines]
    once: list[RecallLines]
    counts: dict[str, int]


def gather(sources: Sequence[str], derived: int) -> RecallData:
    """Read and make all lines.

    Args:
        sources: of persona dialogues, whose training personas are asked derived questions.
        derived: personas to take from them, the first that there are.

    Raises:
        UserError: a source can't be read, or gives no persona.
    """
    probes, written = probe_lines("train"), written_lines()
    made = list(_derived_lines(sources, derived)) if sources and derived else []
    if sources and derived and not made:
        raise UserError(f"{', '.join(sources)}: no training persona that rules find questions for")
    counts = {"PersonaProbes' training questions": _count(probes), "hand-written lines": _count(written)}
    return RecallData([*probes, *written], made, {**counts, "derived questions": _count(made)})


def train_recall(
    data: RecallData, settings: RecallSettings, out: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Train recall, write it with its card to ``out``, and return the report (also ``report.json`` there)."""
    network = RecallTrainer(settings, data.always, data.once, progress).train()
    card = {
        "base": settings.base,
        "alone": settings.alone,
        "rank": settings.rank,
        "sure_from": SURE_FROM,
        "settings": settings.to_json(),
        "trained_on": data.counts,
    }
    weights = network.trained_state()
    save_recall(out, weights, card)
    measured = measure(Recall(out), "validation")
    save_recall(out, weights, {**card, "measured": measured})
    report = {"recall": Recall(out).card, "validation": measured}
    write_json(out / "report.json", report)
    return report


def measure(recall: Recall, split: Split) -> dict[str, Any]:
    """Return how well recall finds the sentence that each question of PersonaProbes' personas asks for.

    ``first`` and ``first two``: the share of questions whose sentence is the likeliest, or one of the two likeliest;
    ``shown``: whose sentence the model would be shown; ``sentences``: how many it is shown with a question, on average;
    ``small talk narrowed``: the share of small talk, said to each persona, that is taken for a question.
    """
    found: Counter[str] = Counter()
    small_talk = (*OPENINGS, *INTERLUDES)
    for persona in load_persona_probes(split):
        traits = persona.persona().traits
        for place, trait in enumerate(persona.traits):
            for question in trait.questions:
                recalled = recall.ask(question, traits)
                order = sorted(range(len(traits)), key=lambda other: -recalled.chances[other])
                shown = recalled.places(recall.card["sure_from"]) or tuple(range(len(traits)))
                found["questions"] += 1
                found["first"] += order[0] == place
                found["first two"] += place in order[:2]
                found["shown"] += place in shown
                found["sentences"] += len(shown)
        found["narrowed"] += sum(bool(recall.ask(line, traits).places(1.0)) for line in small_talk)
        found["small talk"] += len(small_talk)
    shares = {name: found[name] / found["questions"] for name in ("first", "first two", "shown", "sentences")}
    narrowed = found["narrowed"] / found["small talk"]
    return {"n": found["questions"], **shares, "small talk narrowed": narrowed, "small talk": found["small talk"]}


def probe_lines(split: Split) -> list[RecallLines]:
    """Return the questions of PersonaProbes' personas of one split."""
    return [
        RecallLines(
            persona.persona().traits,
            tuple((question, place) for place, trait in enumerate(persona.traits) for question in trait.questions),
        )
        for persona in load_persona_probes(split)
    ]


def _derived_lines(sources: Sequence[str], most: int) -> Iterator[RecallLines]:
    personas: dict[tuple[str, ...], None] = {}
    for source in sources:
        for dialogue in DatasetLoader(source).load().dialogues:
            if dialogue.split in (None, "train"):
                personas.update((persona.traits, None) for persona in dialogue.personas.values())
    made = 0
    for number, traits in enumerate(personas):
        if made == most:
            return
        lines = _derived(traits, number)
        if lines:
            made += 1
            yield RecallLines(traits, lines)


def _derived(traits: tuple[str, ...], seed: int) -> tuple[tuple[str, int], ...]:
    """Return a derived question for each trait that rules have one for; not those that two traits answer."""
    persona = Persona(traits)
    probes = [(place, make_probe(trait, persona, seed)) for place, trait in enumerate(traits)]
    lines = [(probe.question, place) for place, probe in probes if probe is not None]
    times = Counter(question for question, _ in lines)
    return tuple((question, place) for question, place in lines if times[question] == 1)


def _count(lines: Sequence[RecallLines]) -> int:
    return sum(len(one.lines) for one in lines)
