"""Probe dialogues as a page for people: every line as it was said, beside it what the judges make of it."""

from __future__ import annotations

from collections.abc import Sequence

from personatune.copying import copies_trait
from personatune.evaluation.judged import Contradiction, JudgedDialogue
from personatune.judging.keywords import Verdict
from personatune.judging.probes import ProbeDialogue
from personatune.report.markdown import plain

_MARKS: dict[Verdict | None, str] = {
    "consistent": "consistent",
    "contradicting": "**contradicting**",
    "neutral": "neither",
    None: "not asked",
}


def transcript_page(
    title: str,
    told: Sequence[str],
    names: Sequence[str],
    dialogues: Sequence[ProbeDialogue],
    judged: Sequence[JudgedDialogue] | None,
) -> str:
    """Return a Markdown page of dialogues, unedited.

    Args:
        told: what a reader must know of the page, a line each.
        names: of the dialogues.
        judged: the entailment judge's verdicts, a dialogue each; None where there is no judge.
    """
    verdicts = judged if judged is not None else [None] * len(dialogues)
    parts = [f"# {plain(title)}", *map(plain, told), _how_to_read(dialogues, judged)]
    for number, (name, dialogue, verdict) in enumerate(zip(names, dialogues, verdicts, strict=True), start=1):
        parts += [f"## {number}. {plain(name)}", _persona(dialogue), _lines(dialogue, verdict)]
    return "\n\n".join(parts) + "\n"


def _how_to_read(dialogues: Sequence[ProbeDialogue], judged: Sequence[JudgedDialogue] | None) -> str:
    asked = [verdict for dialogue in dialogues for verdict in dialogue.verdicts if verdict is not None]
    counts = ", ".join(f"{asked.count(kind)} {_MARKS[kind].strip('*')}" for kind in _MARKS if kind is not None)
    lines = [
        f"{len(dialogues)} dialogues, {len(asked)} questions about the persona: {counts}.",
        "*Keywords* is the verdict behind the headline figure: whether the answer holds what the asked trait demands.",
    ]
    if judged is None:
        return " ".join(lines)
    own_lines = sum(len(dialogue.replies) for dialogue in dialogues)
    broken = sum(len({found.turn for found in own.contradictions}) for own in judged)
    lines.append(
        f"*Critic* names what a line contradicts by the local entailment model, with its probability: {broken} of "
        f"{own_lines} lines. It finds contradictions that aren't there; read for yourself."
    )
    return " ".join(lines)


def _persona(dialogue: ProbeDialogue) -> str:
    return "\n".join(f"- {plain(trait)}" for trait in dialogue.script.persona.traits)


def _lines(dialogue: ProbeDialogue, judged: JudgedDialogue | None) -> str:
    rows = ["| partner | model | keywords | copies | critic |", "|---|---|---|---|---|"]
    for turn, (line, reply, verdict) in enumerate(
        zip((line for line, _ in dialogue.script.lines), dialogue.replies, dialogue.verdicts, strict=True), start=1
    ):
        found = [] if judged is None else [one for one in judged.contradictions if one.turn == turn]
        copied = "a sentence" if copies_trait(reply, dialogue.script.persona) else ""
        cells = (plain(line), plain(reply), _MARKS[verdict], copied, "; ".join(map(_contradiction, found)))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _contradiction(found: Contradiction) -> str:
    against = plain(found.against)
    where = f"own line {found.earlier}, “{against}”" if found.earlier is not None else f"“{against}”"
    return f"against {where} ({found.probability:.2f})"
