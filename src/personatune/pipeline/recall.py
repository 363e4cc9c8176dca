"""``recall train``: gather lines and the persona sentences they ask for, train persona recall, and measure it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from personatune.data.recall_lines import RecallLines, written_lines
from personatune.judging.persona_probes import load_persona_probes
from personatune.judging.persona_probes.format import Split
from personatune.judging.recall import Recall
from personatune.judging.recall.files import save_recall
from personatune.judging.small_talk import INTERLUDES, OPENINGS
from personatune.progress import Progress
from personatune.storage import write_json
from personatune.training.recall import RecallSettings, RecallTrainer

SHARE = 0.9
"""Of all sentences' chances; chosen on the validation personas of PersonaProbes (docs/experiments.md)."""


def lessons() -> dict[str, list[RecallLines]]:
    """Return what recall learns from, by name; all of it was written by hand and is in the package."""
    return {"PersonaProbes' training personas": probe_lines("train"), "hand-written dialogues": written_lines()}


def train_recall(settings: RecallSettings, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Train recall, write it with its card to ``out``, and return the report (also ``report.json`` there)."""
    learnt = lessons()
    network = RecallTrainer(settings, [one for part in learnt.values() for one in part], progress).train()
    card = {
        "base": settings.base,
        "alone": settings.alone,
        "rank": settings.rank,
        "share": SHARE,
        "settings": settings.to_json(),
        "trained_on": {name: sum(len(one.lines) for one in part) for name, part in learnt.items()},
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
    ``shown``: whose sentence is among those that the model would be shown, ``sentences``: how many those are, a mean;
    ``small talk narrowed``: the share of small talk, said to each persona, that is taken for a question.
    """
    found: Counter[str] = Counter()
    share = recall.card["share"]
    small_talk = (*OPENINGS, *INTERLUDES)
    for persona in load_persona_probes(split):
        traits = persona.persona().traits
        for place, trait in enumerate(persona.traits):
            for question in trait.questions:
                recalled = recall.ask(question, traits)
                order = sorted(range(len(traits)), key=lambda other: -recalled.chances[other])
                shown = recalled.places(share)
                found["questions"] += 1
                found["first"] += order[0] == place
                found["first two"] += place in order[:2]
                found["shown"] += place in shown
                found["sentences"] += len(shown)
        found["small talk narrowed"] += sum(
            recall.ask(line, traits).places(share) != tuple(range(len(traits))) for line in small_talk
        )
        found["small talk"] += len(small_talk)
    means = {name: found[name] / found["questions"] for name in ("first", "first two", "shown", "sentences")}
    return {
        "n": found["questions"],
        **means,
        "small talk narrowed": found["small talk narrowed"] / found["small talk"],
    }


def probe_lines(split: Split) -> list[RecallLines]:
    """Return the questions of PersonaProbes' personas of one split."""
    return [
        RecallLines(
            persona.persona().traits,
            tuple((question, place) for place, trait in enumerate(persona.traits) for question in trait.questions),
        )
        for persona in load_persona_probes(split)
    ]
