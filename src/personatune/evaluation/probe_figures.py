"""Every figure of one contender's probe dialogues, made dialogue by dialogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personatune.copying import copies_trait
from personatune.dialogue import Perspective
from personatune.evaluation.engagement import Encoder
from personatune.evaluation.judged import MEASURES, JudgedEvaluator
from personatune.evaluation.persona import repetition
from personatune.evaluation.quality import tokens
from personatune.evaluation.reply_features import engagement_scores, relevance
from personatune.evaluation.results import Figures, Tally
from personatune.evaluation.transcripts import of_probe_dialogue
from personatune.judging.keywords import trait_coverage
from personatune.judging.probes import ProbeDialogue

VERDICTS = {"probe_consistency": "consistent", "contradiction_rate": "contradicting", "neutral_rate": "neutral"}


def probe_figures(
    items: Sequence[str],
    dialogues: Sequence[ProbeDialogue],
    *,
    encoder: Encoder | None,
    judge: JudgedEvaluator | None,
    why_no_encoder: str = "no sentence encoder",
    why_no_judge: str = "no judge",
    samples: int = 1000,
    seed: int = 0,
) -> Figures:
    """Return the figures of probe dialogues; the items are personas, each with as many dialogues in a row.

    Shares are 0 to 1. ``probe_consistency`` is the mean over dialogues of the share of consistent answers,
    ``multi_turn_consistency_k`` the share at turn k. ``relevance`` is the mean cosine of a reply with the partner line
    it answers. Judged measures are ratios over lines (line-to-line: pairs of lines).

    Raises:
        ValueError: no dialogues, or not as many for each name.
    """
    parts = len(dialogues) // max(len(items), 1)
    if not dialogues or len(items) * parts != len(dialogues):
        raise ValueError(f"found {len(dialogues)} probe dialogues for {len(items)} names, expected as many for each")
    figures = Figures(items, samples, seed, parts)
    for name, verdict in VERDICTS.items():
        figures.add(name, [_share(dialogue, verdict) for dialogue in dialogues], "no dialogue asks for a trait")
    for turn in range(max(len(dialogue.verdicts) for dialogue in dialogues)):
        asked = [_hit_at(dialogue, turn) for dialogue in dialogues]
        if any(count for _, count in asked):  # nobody asks at the opening
            figures.add(f"multi_turn_consistency_{turn + 1}", asked)
    figures.add("trait_coverage", [_mean([trait_coverage(*pair) for pair in _with_persona(d)]) for d in dialogues])
    lines = [line for dialogue in dialogues for line, _ in dialogue.script.lines]
    replies = [reply for dialogue in dialogues for reply in dialogue.replies]
    if encoder is None:
        figures.leave_out(["relevance"], why_no_encoder)
    else:
        figures.add("relevance", _sums(dialogues, relevance(encoder, replies, lines)))
    figures.add("copy_share", [_mean([float(copies_trait(*pair)) for pair in _with_persona(d)]) for d in dialogues])
    figures.add("repetition", [(repetition(dialogue.replies), 1) for dialogue in dialogues])
    for name, scores in engagement_scores(replies, lines).items():
        figures.add(name, _sums(dialogues, scores))
    figures.add("reply_words", [_mean([float(len(tokens(reply))) for reply in d.replies]) for d in dialogues])
    _add_judged(figures, items, dialogues, judge, why_no_judge)
    return figures


def _add_judged(
    figures: Figures,
    items: Sequence[str],
    dialogues: Sequence[ProbeDialogue],
    judge: JudgedEvaluator | None,
    why_no_judge: str,
) -> None:
    if judge is None:
        figures.leave_out(MEASURES, why_no_judge)
        return
    judged = judge.judge_dialogues(named_dialogues(items, dialogues))
    rows: list[Mapping[str, Any]] = [dialogue.tallies() for dialogue in judged]
    for measure in MEASURES:
        sums = [(sum(s for s, _ in row[measure]), sum(n for _, n in row[measure])) for row in rows]
        figures.add(measure, sums, "no dialogue has enough lines for it")


def dialogue_names(items: Sequence[str], dialogues: int) -> list[str]:
    """Return a name for each of so many dialogues, of which every item has the same number in a row."""
    parts = dialogues // len(items)
    if parts == 1:
        return list(items)
    return [f"{item}, wording {number}" for item in items for number in range(1, parts + 1)]


def named_dialogues(items: Sequence[str], dialogues: Sequence[ProbeDialogue]) -> list[Perspective]:
    """Return probe dialogues under their names, in the form that judged measures take."""
    names = dialogue_names(items, len(dialogues))
    return [of_probe_dialogue(*pair) for pair in zip(dialogues, names, strict=True)]


def _share(dialogue: ProbeDialogue, verdict: str) -> Tally:
    asked = [found for found in dialogue.verdicts if found is not None]
    return (asked.count(verdict) / len(asked), 1) if asked else (0, 0)  # type: ignore[arg-type]


def _hit_at(dialogue: ProbeDialogue, turn: int) -> Tally:
    verdict = dialogue.verdicts[turn] if turn < len(dialogue.verdicts) else None
    return (0, 0) if verdict is None else (float(verdict == "consistent"), 1)


def _with_persona(dialogue: ProbeDialogue) -> list[tuple[str, Any]]:
    return [(reply, dialogue.script.persona) for reply in dialogue.replies]


def _mean(values: Sequence[float]) -> Tally:
    """Return a dialogue's mean as one counted thing: every dialogue weighs the same."""
    return sum(values) / len(values), 1


def _sums(dialogues: Sequence[ProbeDialogue], values: Sequence[float]) -> list[Tally]:
    """Cut values of all replies into the means of their dialogues."""
    tallies: list[Tally] = []
    start = 0
    for dialogue in dialogues:
        tallies.append(_mean(values[start : start + len(dialogue.replies)]))
        start += len(dialogue.replies)
    return tallies
