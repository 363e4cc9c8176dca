"""What replies have to do with the persona: by the critic, and by keywords beside it.

The critic is asked as in `evaluation.judged`, so what the demo shows of a conversation is what `evaluate` would count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from personatune.chat.session import Exchange
from personatune.dialogue import Persona, Perspective, Turn
from personatune.evaluation.judged import JudgedDialogue, JudgedEvaluator
from personatune.judging.entailment import CONTRADICTION, ENTAILMENT
from personatune.judging.keywords import contradicted_traits, expressed_traits, trait_keywords
from personatune.words import mend_contractions, stem, word_spans

Verdict = Literal["contradicted", "doubtful", "expressed", "hinted"]
_BY_WEIGHT: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, slots=True)
class Mark:
    """One persona sentence that a reply touches.

    Attributes:
        verdict: "contradicted" by the critic (without one by keywords); "doubtful": keywords see a contradiction that
            the critic doesn't; "expressed" by keywords; "hinted": the critic sees it expressed, keywords don't (of long
            replies that ramble it says so too easily).
        by: who says so, in words.
    """

    trait: str
    verdict: Verdict
    by: str


@dataclass(frozen=True, slots=True)
class Span:
    """Words of a reply that carry a keyword of a marked sentence: begin and end among its characters."""

    begin: int
    end: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ReplyReading:
    """One reply, read.

    Attributes:
        marks: contradictions first.
        spans: in order, none over another.
        clashes: numbers (from 1) of the earlier replies that it contradicts.
    """

    text: str
    marks: tuple[Mark, ...] = ()
    spans: tuple[Span, ...] = ()
    clashes: tuple[int, ...] = ()

    @property
    def contradicts(self) -> bool:
        """Whether it contradicts the persona or what was said before: `contradicting_lines` of docs/measures.md."""
        return bool(self.clashes) or any(mark.verdict == "contradicted" for mark in self.marks)

    @property
    def expresses(self) -> bool:
        return any(mark.verdict == "expressed" for mark in self.marks)


class Reader:
    """Reads the replies of a conversation.

    Args:
        evaluator: the critic with its threshold; None: keywords alone.
    """

    def __init__(self, evaluator: JudgedEvaluator | None) -> None:
        self._evaluator = evaluator

    @property
    def judge(self) -> str:
        """Who judges, as printed with every figure."""
        return self._evaluator.judge.name if self._evaluator is not None else "keywords alone (no critic)"

    def read(self, exchanges: Sequence[Exchange]) -> list[ReplyReading]:
        """Read the replies in order. Each is held against the persona that it was given, lore of its turn included."""
        told = [exchange.context.persona for exchange in exchanges]
        traits = tuple(dict.fromkeys(trait for persona in told for trait in persona.traits))
        judged = self._judged(exchanges, traits)
        return [
            self._reply(number, exchange.reply, told[number], traits, judged)
            for number, exchange in enumerate(exchanges)
        ]

    def _judged(self, exchanges: Sequence[Exchange], traits: tuple[str, ...]) -> JudgedDialogue | None:
        if self._evaluator is None or not exchanges:
            return None
        turns = tuple(
            turn for exchange in exchanges for turn in (Turn("partner", exchange.said), Turn("self", exchange.reply))
        )
        [judged] = self._evaluator.judge_dialogues([Perspective("chat", Persona(traits), turns)])
        return judged

    def _reply(
        self, number: int, text: str, persona: Persona, traits: tuple[str, ...], judged: JudgedDialogue | None
    ) -> ReplyReading:
        by_keywords = {persona.traits[place]: "expressed" for place in expressed_traits(text, persona)}
        by_keywords |= {persona.traits[place]: "contradicted" for place in contradicted_traits(text, persona)}
        labels = dict(zip(traits, judged.against_persona[number], strict=True)) if judged else None
        marks = []
        for trait in persona.traits:
            label = labels[trait] if labels is not None else None
            mark = _mark(trait, label, by_keywords.get(trait), _certainty(judged, number, trait))
            if mark is not None:
                marks.append(mark)
        marks.sort(key=lambda mark: _BY_WEIGHT.index(mark.verdict))
        clashes = sorted(earlier + 1 for earlier, later in judged.clashes if later == number) if judged else ()
        return ReplyReading(text, tuple(marks), tuple(_spans(text, marks)), tuple(clashes))


def _mark(trait: str, label: int | None, keywords: str | None, certainty: float | None) -> Mark | None:
    if label == CONTRADICTION:
        return Mark(trait, "contradicted", "critic" if certainty is None else f"critic, {certainty:.0%}")
    if label == ENTAILMENT:
        return (
            Mark(trait, "expressed", "critic and keywords")
            if keywords == "expressed"
            else Mark(trait, "hinted", "critic")
        )
    if keywords == "expressed":
        return Mark(trait, "expressed", "keywords")
    if keywords == "contradicted":
        return Mark(trait, "contradicted" if label is None else "doubtful", "keywords")
    return None


def _certainty(judged: JudgedDialogue | None, number: int, trait: str) -> float | None:
    """Return the critic's probability that a reply contradicts a sentence, where it counts as a contradiction."""
    for found in judged.contradictions if judged else ():
        if found.earlier is None and found.turn == number + 1 and found.against == mend_contractions(trait):
            return found.probability
    return None


def _spans(text: str, marks: Sequence[Mark]) -> list[Span]:
    """Find the words that carry a keyword; one that two marks claim belongs to the graver one, which comes first."""
    claimed: dict[str, Verdict] = {}
    for mark in marks:
        for keyword in trait_keywords(mark.trait):
            claimed.setdefault(keyword, mark.verdict)
    found = ((begin, end, claimed.get(stem(word))) for begin, end, word in word_spans(text))
    return [Span(begin, end, verdict) for begin, end, verdict in found if verdict is not None]
