"""Persona consistency as an entailment judge sees it: prompt-to-line, line-to-line, C-score.

Sources: Abdulhai et al. 2025 (arXiv 2511.00222) for the first two, Madotto et al. 2019 (arXiv 1905.10033) for the
C-score. Definitions and blind spots: docs/measures.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personatune.dialogue import Perspective
from personatune.evaluation.tallies import Tally, rate, total
from personatune.evaluation.transcripts import own_lines
from personatune.intervals import Estimate
from personatune.judging.assertions import asserted
from personatune.judging.entailment import CONTRADICTION, ENTAILMENT, NEUTRAL, EntailmentJudge
from personatune.words import mend_contractions

Pair = tuple[str, str]
Probabilities = NDArray[np.float64]

MEASURES = ("prompt_to_line", "line_to_line", "c_score", "contradicting_lines", "asserting_lines")

_NEEDS = {
    "prompt_to_line": "no dialogue has an own line and a persona sentence",
    "line_to_line": "no dialogue has two lines of the same speaker",
    "c_score": "no dialogue has an own line and a persona sentence",
    "contradicting_lines": "no dialogue has an own line",
    "asserting_lines": "no dialogue has an own line",
}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One contradiction that the judge found, to be read by people.

    Attributes:
        turn: which own line, from 1.
        sentence: the sentence of that line.
        against: the persona sentence, or the sentence of the earlier own line.
        earlier: which own line that was, from 1; None: ``against`` is a persona sentence.
        probability: the judge's probability of a contradiction.
    """

    dialogue: str
    turn: int
    sentence: str
    against: str
    earlier: int | None
    probability: float


@dataclass(frozen=True, slots=True)
class JudgedDialogue:
    """The judge's verdicts on one dialogue. L own lines, P persona sentences.

    Attributes:
        against_persona: L × P label ids of `LABELS`, of each line as a whole.
        clashes: pairs of own lines (earlier, later; from 0) that contradict each other.
        asserting: for each line, whether it asserts anything at all.
        contradictions: what the verdicts rest on.
    """

    id: str
    against_persona: tuple[tuple[int, ...], ...]
    clashes: frozenset[tuple[int, int]]
    asserting: tuple[bool, ...]
    contradictions: tuple[Contradiction, ...] = ()

    def tallies(self) -> dict[str, list[Tally]]:
        """Return for each of `MEASURES` one tally a line; (0, 0) where a line has none (no persona, no line before)."""
        rows: dict[str, list[Tally]] = {measure: [] for measure in MEASURES}
        for line, labels in enumerate(self.against_persona):
            broken = CONTRADICTION in labels
            clashing = sum((earlier, line) in self.clashes for earlier in range(line))
            judged = 1 if labels else 0
            rows["prompt_to_line"].append((float(not broken) * judged, judged))
            rows["c_score"].append((float(labels.count(ENTAILMENT) - labels.count(CONTRADICTION)), judged))
            rows["line_to_line"].append((float(line - clashing), line))
            rows["contradicting_lines"].append((float(broken or clashing > 0), 1))
            rows["asserting_lines"].append((float(self.asserting[line]), 1))
        return rows

    def values(self) -> dict[str, float]:
        """Return the dialogue's own figures, for paired comparisons; those that can't be computed are absent."""
        sums = {measure: total(tallies) for measure, tallies in self.tallies().items()}
        return {measure: sum_ / count for measure, (sum_, count) in sums.items() if count}


@dataclass(frozen=True)
class JudgedFigures:
    """Judged measures with everything that belongs to them.

    Attributes:
        metrics: `MEASURES`, and each of them per turn (``c_score_3``); n counts the dialogues a figure stands on.
        absent: measures that can't be computed, and why.
        judge: the judge's name.
        decision: how its probabilities became verdicts.
    """

    metrics: dict[str, Estimate]
    absent: dict[str, str]
    judge: str
    decision: str
    contradictions: tuple[Contradiction, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "judge": self.judge,
            "decision": self.decision,
            "metrics": {name: estimate.to_json() for name, estimate in self.metrics.items()},
            "absent": dict(self.absent),
        }


def decision_in_words(threshold: float | None) -> str:
    """Return how probabilities become verdicts, as printed with every judged figure."""
    return "most probable label" if threshold is None else f"contradiction from {threshold:g}"


class JudgedEvaluator:
    """Judges dialogues with an entailment judge.

    Args:
        judge: see `judging.critic.load_judge`; put `KeptAnswers` in front of it to resume.
        threshold: the probability from which a contradiction counts; None takes the most probable label, which is what
            the published C-score does. It is printed with the figures.

    Raises:
        ValueError: the threshold is no probability above 0.
    """

    def __init__(
        self, judge: EntailmentJudge, bootstrap_samples: int = 1000, seed: int = 0, *, threshold: float | None = None
    ) -> None:
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"a contradiction threshold is a probability above 0, not {threshold}")
        self.judge = judge
        self.bootstrap_samples = bootstrap_samples
        self.seed = seed
        self.threshold = threshold

    @property
    def decision(self) -> str:
        """How probabilities become verdicts, in words."""
        return decision_in_words(self.threshold)

    def evaluate_dialogues(self, dialogues: Sequence[Perspective]) -> JudgedFigures:
        """Judge dialogues and return every figure; see `judge_dialogues` and `figures`."""
        return self.figures(self.judge_dialogues(dialogues))

    def judge_dialogues(self, dialogues: Sequence[Perspective]) -> list[JudgedDialogue]:
        """Return the verdicts on each dialogue; the judge is asked once, for all pairs of all dialogues.

        What a line asserts (`judging.assertions`) is the premise, the persona sentence the hypothesis, as Madotto et
        al. have it. Two own lines contradict each other by the mean of the probabilities of both directions; equal
        lines are not judged.
        """
        split = [[asserted(line) for line in own_lines(dialogue)] for dialogue in dialogues]
        traits = [[mend_contractions(trait) for trait in dialogue.persona.traits] for dialogue in dialogues]
        pairs: dict[Pair, None] = {}
        for lines, sentences in zip(split, traits, strict=True):
            for line in lines:
                pairs.update(dict.fromkeys(product(line, sentences)))
            for _, _, first, second in _line_pairs(lines):
                pairs.update({(first, second): None, (second, first): None})
        asked = list(pairs)
        answers = dict(zip(asked, self.judge.probabilities(asked).astype(np.float64), strict=True)) if asked else {}
        return [
            self._verdicts(dialogue.id, lines, sentences, answers)
            for dialogue, lines, sentences in zip(dialogues, split, traits, strict=True)
        ]

    def figures(self, judged: Sequence[JudgedDialogue]) -> JudgedFigures:
        """Return rates over lines (line-to-line: over pairs of lines), with intervals over dialogues.

        Raises:
            ValueError: no dialogues.
        """
        if not judged:
            raise ValueError("no dialogues to judge")
        metrics: dict[str, Estimate] = {}
        absent: dict[str, str] = {}
        by_turn: dict[str, Estimate] = {}
        rows = [dialogue.tallies() for dialogue in judged]
        for measure in MEASURES:
            found = self._rate([total(row[measure]) for row in rows])
            if found is None:
                absent[measure] = _NEEDS[measure]
                continue
            metrics[measure] = found
            for turn in range(max(len(row[measure]) for row in rows)):
                at_turn = self._rate([row[measure][turn] for row in rows if turn < len(row[measure])])
                if at_turn is not None:
                    by_turn[f"{measure}_{turn + 1}"] = at_turn
        contradictions = tuple(found for dialogue in judged for found in dialogue.contradictions)
        return JudgedFigures(metrics | by_turn, absent, self.judge.name, self.decision, contradictions)

    def _rate(self, tallies: Sequence[Tally]) -> Estimate | None:
        return rate(tallies, self.bootstrap_samples, self.seed)

    def _label(self, probabilities: Probabilities) -> int:
        if self.threshold is None:
            return int(probabilities.argmax())
        if probabilities[CONTRADICTION] >= self.threshold:
            return CONTRADICTION
        return ENTAILMENT if probabilities[ENTAILMENT] > probabilities[NEUTRAL] else NEUTRAL

    def _verdicts(
        self,
        dialogue: str,
        lines: Sequence[tuple[str, ...]],
        traits: Sequence[str],
        answers: Mapping[Pair, Probabilities],
    ) -> JudgedDialogue:
        found: list[Contradiction] = []
        against_persona = []
        for number, line in enumerate(lines):
            labels = []
            for trait in traits:
                each = [(sentence, answers[sentence, trait]) for sentence in line]
                verdicts = {self._label(answer) for _, answer in each}
                labels.append(next((label for label in (CONTRADICTION, ENTAILMENT) if label in verdicts), NEUTRAL))
                if CONTRADICTION in verdicts:
                    sentence, answer = max(each, key=lambda item: item[1][CONTRADICTION])
                    found.append(
                        Contradiction(dialogue, number + 1, sentence, trait, None, float(answer[CONTRADICTION]))
                    )
            against_persona.append(tuple(labels))
        clashes: dict[tuple[int, int], Contradiction] = {}
        for earlier, later, first, second in _line_pairs(lines):
            answer = (answers[first, second] + answers[second, first]) / 2
            known = clashes.get((earlier, later))
            likelier = known is None or answer[CONTRADICTION] > known.probability
            if self._label(answer) == CONTRADICTION and likelier:
                clashes[earlier, later] = Contradiction(
                    dialogue, later + 1, second, first, earlier + 1, float(answer[CONTRADICTION])
                )
        return JudgedDialogue(
            dialogue,
            tuple(against_persona),
            frozenset(clashes),
            tuple(bool(line) for line in lines),
            (*found, *clashes.values()),
        )


def _line_pairs(lines: Sequence[tuple[str, ...]]) -> Iterable[tuple[int, int, str, str]]:
    """Yield (earlier line, later line, sentence, sentence) for all pairs of sentences of different lines."""
    for later in range(len(lines)):
        for earlier in range(later):
            for first, second in product(lines[earlier], lines[later]):
                if first.lower() != second.lower():  # what is said again can't contradict itself
                    yield earlier, later, first, second
