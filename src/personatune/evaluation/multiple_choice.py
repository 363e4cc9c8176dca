"""Questions about the persona with answers to choose from, answered by likelihood after every turn of a dialogue.

The Q&A consistency of Abdulhai et al. 2025 (arXiv 2511.00222), with the likelihood of whole answers in place of a
generated letter: a small model need not understand the form of an examination. Definition: docs/measures.md.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from personatune.dialogue import Context, Persona, Perspective, Probe, RankingTask, Turn
from personatune.evaluation.ranking import best_kinds
from personatune.evaluation.tallies import Tally, rate, total
from personatune.intervals import Estimate
from personatune.judging.derived_probes import attribute_of, make_probe
from personatune.judging.keywords import expressed_traits, judge_answer
from personatune.judging.persona_probes.format import ProbePersona
from personatune.words import keyword_stems, stems, words

WRONG_OPTIONS = 3
CHANCE = 1 / (1 + WRONG_OPTIONS)
_NEAREST = 12  # wrong options are drawn from the dozen nearest in length: length must not give the answer away
_NO_QUESTION = "no question can be derived for the trait"
_TOO_FEW = f"fewer than {WRONG_OPTIONS} answers of other personas that aren't true of this one"


@dataclass(frozen=True, slots=True)
class Choice:
    """A trait's question, in one or several wordings, with its right answer and wrong ones.

    Attributes:
        kinds: of the wrong answers, as in `RankingTask`: "neg" contradicts the trait, "rand" is somebody else's answer.
    """

    trait: str
    questions: tuple[str, ...]
    right: str
    wrong: tuple[str, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choices:
    """What can be asked of one persona, and how many of its traits could not be asked for, by reason."""

    choices: tuple[Choice, ...]
    skipped: Counter[str] = field(default_factory=Counter)


class DerivedChoices:
    """Makes choices for any persona: derived questions, the traits themselves as answers.

    Args:
        others: personas whose traits are the wrong answers; the one that is asked may be among them.
    """

    def __init__(self, others: Iterable[Persona]) -> None:
        self._by_attribute: dict[str, dict[str, None]] = defaultdict(dict)
        for trait in dict.fromkeys(trait for persona in others for trait in persona.traits):
            attribute = attribute_of(trait)
            if attribute is not None:
                self._by_attribute[attribute][trait] = None

    def of(self, persona: Persona, seed: int = 0) -> Choices:
        """Return a choice for every trait that a question and three wrong answers of the same attribute are found for.

        What the question names ("What's your favorite band?") the wrong answers name too, as the right one does.
        No wrong answer expresses a trait of the persona, and none would pass as a consistent answer to the question.
        """
        made: list[Choice] = []
        skipped: Counter[str] = Counter()
        for trait in persona.traits:
            probe = make_probe(trait, persona, seed)
            if probe is None:
                skipped[_NO_QUESTION] += 1
                continue
            topic = set(keyword_stems(probe.question)).intersection(stems(trait))
            same = [text for text in self._by_attribute.get(attribute_of(trait) or "", {}) if topic <= set(stems(text))]
            wrong = _draw(
                same, trait, WRONG_OPTIONS, seed, partial(_true_of, persona=persona, asked=trait, probes=[probe])
            )
            if len(wrong) < WRONG_OPTIONS:
                skipped[_TOO_FEW] += 1
                continue
            made.append(Choice(trait, (probe.question,), trait, tuple(wrong), ("rand",) * WRONG_OPTIONS))
        return Choices(tuple(made), skipped)


class WrittenChoices:
    """Makes choices for PersonaProbes: questions and answers written by hand, no answer in the trait's own words.

    The right answer is the trait's consistent reply; wrong are its contradicting reply and the consistent replies of
    two other personas on the same topic.

    Args:
        others: personas whose replies are wrong answers; the one that is asked may be among them.
    """

    def __init__(self, others: Iterable[ProbePersona]) -> None:
        self._by_topic: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for persona in others:
            for trait in persona.traits:
                self._by_topic[trait.topic].append((persona.id, trait.consistent))

    def of(self, persona: ProbePersona, seed: int = 0) -> Choices:
        """Return a choice for every trait that two replies of others are found for."""
        made: list[Choice] = []
        skipped: Counter[str] = Counter()
        told = persona.persona()
        for trait in persona.traits:
            theirs = dict.fromkeys(text for owner, text in self._by_topic[trait.topic] if owner != persona.id)
            probes = [*trait.probes(), *(other.probes()[0] for other in persona.traits if other is not trait)]
            is_true = partial(_true_of, persona=told, asked=trait.trait, probes=probes)
            wrong = _draw(theirs, trait.consistent, WRONG_OPTIONS - 1, seed, is_true)
            if len(wrong) < WRONG_OPTIONS - 1:
                skipped[_TOO_FEW] += 1
                continue
            options = (trait.contradiction, *wrong)
            kinds = ("neg", *["rand"] * len(wrong))
            made.append(Choice(trait.trait, tuple(trait.questions), trait.consistent, options, kinds))
        return Choices(tuple(made), skipped)


@dataclass(frozen=True, slots=True)
class ChoiceTask:
    """One question asked after one turn: ``dialogue`` counts from 0, ``turn`` (own lines so far) from 1."""

    dialogue: int
    turn: int
    trait: str
    task: RankingTask


@dataclass(frozen=True)
class ChoiceFigures:
    """Q&A accuracy: ``qa_accuracy``, ``qa_accuracy_bare``, ``qa_pmi_accuracy``, and each after turn k (``…_k``).

    Attributes:
        metrics: n counts the dialogues a figure stands on.
        tallies: what each figure is made of: dialogue number to questions answered rightly, questions.
        absent: why a figure is missing.
        skipped: traits that were not asked for, by reason.
    """

    metrics: dict[str, Estimate]
    absent: dict[str, str]
    questions: int
    skipped: dict[str, int]
    tallies: dict[str, dict[int, Tally]] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "metrics": {name: estimate.to_json() for name, estimate in self.metrics.items()},
            "absent": dict(self.absent),
            "questions": self.questions,
            "skipped": dict(self.skipped),
            "chance": CHANCE,
        }


def choice_tasks(
    dialogues: Sequence[Perspective],
    choices: Sequence[Choices],
    *,
    per_turn: int = 1,
    after: Collection[int] | None = None,
    seed: int = 0,
) -> list[ChoiceTask]:
    """Return the questions asked after every own line of every dialogue, as what a `personatune.dialogue.Rank` takes.

    The question is appended as the partner's next line and leaves no trace: the dialogue goes on without it. The
    traits of a persona take turns, in an order drawn for each dialogue, so every turn meets every kind of trait.
    Tasks of one dialogue follow each other turn by turn: a scorer that keeps its context encodes only what is new.

    Args:
        choices: one a dialogue.
        per_turn: questions after each turn, at most as many as there are choices.
        after: only after these turns (from 1); None asks after each.
    """
    tasks = []
    for number, (dialogue, own) in enumerate(zip(dialogues, choices, strict=True)):
        order = list(own.choices)
        random.Random(f"{seed}|{dialogue.id}|{'|'.join(dialogue.persona.traits)}").shuffle(order)
        asked = 0
        ends = [index + 1 for index, turn in enumerate(dialogue.turns) if turn.speaker == "self"]
        for turn, end in enumerate(ends if order else [], start=1):
            if after is not None and turn not in after:
                continue
            for _ in range(min(per_turn, len(order))):
                choice = order[asked % len(order)]
                question = choice.questions[asked // len(order) % len(choice.questions)]
                asked += 1
                context = Context(dialogue.persona, (*dialogue.turns[:end], Turn("partner", question)))
                task = RankingTask(
                    f"{dialogue.id}:{turn}:{asked}", context, (choice.right, *choice.wrong), ("gold", *choice.kinds)
                )
                tasks.append(ChoiceTask(number, turn, choice.trait, task))
    return tasks


def without_persona(tasks: Sequence[ChoiceTask]) -> list[RankingTask]:
    """Return the same questions after the same turns, put to nobody in particular: the control of Q&A."""
    nobody = Persona(())
    return [
        RankingTask(own.id, Context(nobody, own.context.history), own.candidates, own.kinds)
        for own in (task.task for task in tasks)
    ]


class MultipleChoiceEvaluator:
    """Turns the scores of the answers into the share that is answered rightly; a tie counts as wrong."""

    def __init__(self, bootstrap_samples: int = 1000, seed: int = 0) -> None:
        self.bootstrap_samples = bootstrap_samples
        self.seed = seed

    def evaluate(
        self,
        tasks: Sequence[ChoiceTask],
        scores: Sequence[Sequence[float]],
        choices: Sequence[Choices] = (),
        *,
        bare: Sequence[Sequence[float]] | None = None,
    ) -> ChoiceFigures:
        """Return the share of right answers, over all and after each turn; intervals over dialogues.

        Args:
            scores: one a candidate of each task, as a `personatune.dialogue.Rank` gives them; higher is better.
            choices: where the tasks come from, for the count of what was not asked.
            bare: log-likelihoods of the same candidates `without_persona`. They give ``qa_accuracy_bare``, what is
                right without knowing the persona, and ``qa_pmi_accuracy``, by the difference of both: what the persona
                makes likelier (Holtzman et al. 2021, arXiv 2104.08315), however likely it is in itself.

        Raises:
            UserError: a score that is missing or no finite number.
        """
        skipped = sum((own.skipped for own in choices), Counter[str]())
        if not tasks:
            reasons = "; ".join(f"{count} × {reason}" for reason, count in skipped.items()) or "no persona has a trait"
            return ChoiceFigures({}, {"qa_accuracy": f"nothing to ask: {reasons}"}, 0, dict(skipped))
        absent = {}
        tallies = _tallies("qa_accuracy", tasks, scores)
        if bare is None:
            absent["qa_pmi_accuracy"] = "the answers were not scored without the persona"
        else:
            tallies |= _tallies("qa_accuracy_bare", tasks, bare)
            gains = [[own - other for own, other in zip(*rows, strict=True)] for rows in zip(scores, bare, strict=True)]
            tallies |= _tallies("qa_pmi_accuracy", tasks, gains)
        metrics = {}
        for name, rows in tallies.items():
            found = rate(list(rows.values()), self.bootstrap_samples, self.seed)
            if found is not None:
                metrics[name] = found
        return ChoiceFigures(metrics, absent, len(tasks), dict(skipped), tallies)


def _tallies(name: str, tasks: Sequence[ChoiceTask], scores: Sequence[Sequence[float]]) -> dict[str, dict[int, Tally]]:
    """Return right answers and questions of each dialogue, over all turns and after each."""
    best = best_kinds([task.task for task in tasks], scores)
    by_turn: dict[int, dict[int, list[Tally]]] = defaultdict(lambda: defaultdict(list))
    for task, kind in zip(tasks, best, strict=True):
        for turn in (0, task.turn):  # 0 gathers all
            by_turn[turn][task.dialogue].append((float(kind == "gold"), 1))
    return {
        f"{name}_{turn}" if turn else name: {dialogue: total(row) for dialogue, row in rows.items()}
        for turn, rows in sorted(by_turn.items())
    }


def _true_of(text: str, persona: Persona, asked: str, probes: Iterable[Probe]) -> bool:
    """Say whether an answer of somebody else holds for this persona too, by its keywords.

    The asked trait is told by its probe: "My favorite color is blue" has a keyword of "My favorite color is red".
    """
    others = Persona(tuple(trait for trait in persona.traits if trait != asked))
    return bool(expressed_traits(text, others)) or any(judge_answer(text, probe) == "consistent" for probe in probes)


def _draw(texts: Iterable[str], right: str, count: int, seed: int, is_true: Callable[[str], bool]) -> list[str]:
    """Draw up to ``count`` untrue texts, as near in length to the right answer as there are any."""
    length = len(words(right))
    by_length = sorted(texts, key=lambda text: abs(len(words(text)) - length))
    rng = random.Random(f"{seed}|{right}")
    drawn: list[str] = []
    for start in range(0, len(by_length), _NEAREST):
        window = by_length[start : start + _NEAREST]
        for text in rng.sample(window, len(window)):
            if len(drawn) == count:
                return drawn
            if not is_true(text):
                drawn.append(text)
    return drawn
