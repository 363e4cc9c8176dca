"""Two chatbots with two personas talk to each other, and what becomes of their personas round by round."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from personatune.copying import copies_trait
from personatune.dialogue import Context, Persona, Perspective, Respond, Turn
from personatune.errors import UserError
from personatune.evaluation.judged import JudgedEvaluator
from personatune.evaluation.tallies import Tally, rate, total
from personatune.evaluation.transcripts import own_lines
from personatune.intervals import Estimate, bootstrap, paired_difference
from personatune.judging.keywords import contradicted_traits, trait_coverage
from personatune.judging.small_talk import OPENINGS
from personatune.words import words

ROUNDS = 8
FIRST, SECOND = 0, 1
_NGRAM = 3


@dataclass(frozen=True, slots=True)
class SelfChat:
    """One talk: the first speaker opens with given small talk; in every round the second answers, then the first.

    Attributes:
        lines: what the first and the second speaker said, one line a round; the opening is not among them.
    """

    id: str
    personas: tuple[Persona, Persona]
    opening: str
    lines: tuple[tuple[str, ...], tuple[str, ...]]

    def perspective(self, speaker: int) -> Perspective:
        """Return the talk as one speaker lives it, each own line of which is an answer (so without an own opening)."""
        turns = _turns(self.opening, self.lines, speaker)
        return Perspective(f"{self.id}/{speaker + 1}", self.personas[speaker], turns[1 if speaker == FIRST else 0 :])

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "personas": [persona.to_json() for persona in self.personas],
            "opening": self.opening,
            "lines": [list(said) for said in self.lines],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> SelfChat:
        first, second = (Persona.from_json(persona) for persona in row["personas"])
        return cls(row["id"], (first, second), row["opening"], (tuple(row["lines"][0]), tuple(row["lines"][1])))


@dataclass(frozen=True, slots=True)
class Drift:
    """One measure over the rounds of self-chats; the items are chats.

    Attributes:
        rounds: round (from 1) to the rate in it; a round in which there is nothing to count is absent.
        first_half, second_half: mean over chats of the chat's rate in that half; the middle of an odd number of rounds
            belongs to neither.
        change: second half minus first half, paired by chat: an interval without 0 is a drift that chance explains in
            one case of twenty.
        halves: of each chat its rates in both halves, None where one of them has nothing to count.
    """

    rounds: dict[int, Estimate]
    first_half: Estimate
    second_half: Estimate
    change: Estimate
    halves: tuple[tuple[float, float] | None, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "rounds": {str(number): estimate.to_json() for number, estimate in self.rounds.items()},
            "first_half": self.first_half.to_json(),
            "second_half": self.second_half.to_json(),
            "change": self.change.to_json(),
        }


@dataclass(frozen=True)
class DriftFigures:
    """The drift of every measure, why one is absent, and who judged."""

    drifts: dict[str, Drift]
    absent: dict[str, str]
    judge: str | None
    decision: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "judge": self.judge,
            "decision": self.decision,
            "drift": {name: drift.to_json() for name, drift in self.drifts.items()},
            "absent": dict(self.absent),
        }


def pair_personas(
    personas: Sequence[Persona], count: int | None = None, seed: int = 0
) -> list[tuple[Persona, Persona]]:
    """Draw pairs of different personas without a common sentence, each persona in at most one pair.

    Args:
        count: how many; None is as many as there are.

    Raises:
        UserError: there are too few personas for ``count`` pairs, or for one.
    """
    left = list({frozenset(persona.traits): persona for persona in personas}.values())
    random.Random(seed).shuffle(left)
    pairs: list[tuple[Persona, Persona]] = []
    while left and len(pairs) != count:
        first = left.pop()
        place = next((at for at, other in enumerate(left) if set(first.traits).isdisjoint(other.traits)), None)
        if place is not None:
            pairs.append((first, left.pop(place)))
    if len(pairs) < (count or 1):
        raise UserError(
            f"self-chat: found {len(pairs)} pairs among {len(personas)} personas, expected {count or 1}; "
            "give more personas or ask for fewer chats"
        )
    return pairs


def hold_self_chats(
    first: Respond,
    second: Respond,
    pairs: Sequence[tuple[Persona, Persona]],
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
    start: int = 0,
    on_turn: Callable[[int], None] = lambda replies: None,
) -> list[SelfChat]:
    """Let two chatbots talk about nothing in particular, all chats in lock-step.

    Args:
        first: answers for the first persona of each pair. A model takes two functions of its own
            (`Chatbot.in_dialogues`, called twice): each keeps what its side has read.
        start: number of the first chat, where the pairs are a part of more: names and openings go by it.
        on_turn: gets the number of replies just made.
    """
    numbers = range(start, start + len(pairs))
    openings = [random.Random(f"{seed}|{number}").choice(OPENINGS) for number in numbers]
    lines: list[tuple[list[str], list[str]]] = [([], []) for _ in pairs]
    for _ in range(rounds):
        for speaker, respond in ((SECOND, second), (FIRST, first)):
            contexts = [
                Context(pair[speaker], _turns(opening, said, speaker))
                for pair, opening, said in zip(pairs, openings, lines, strict=True)
            ]
            for said, reply in zip(lines, respond(contexts), strict=True):
                said[speaker].append(reply)
            on_turn(len(pairs))
    return [
        SelfChat(f"self-chat-{number + 1}", pair, opening, (tuple(said[FIRST]), tuple(said[SECOND])))
        for number, pair, opening, said in zip(numbers, pairs, openings, lines, strict=True)
    ]


def evaluate_drift(
    chats: Sequence[SelfChat],
    judged: JudgedEvaluator | None,
    *,
    speakers: Sequence[int] = (FIRST, SECOND),
    bootstrap_samples: int = 1000,
    seed: int = 0,
) -> DriftFigures:
    """Return every judged and keyword measure by round, and its change from the first to the second half.

    Args:
        judged: None leaves the judged measures out.
        speakers: whose lines count: both where the same model speaks twice, one where two models meet.

    Raises:
        ValueError: no chats, or chats of unequal length or of less than two rounds.
    """
    rounds = {len(said) for chat in chats for said in chat.lines}
    if len(rounds) != 1 or min(rounds) < 2:
        raise ValueError(f"self-chats of two rounds or more, all of one length, are needed; found {sorted(rounds)}")
    views = [chat.perspective(speaker) for chat in chats for speaker in speakers]
    tallies = [keyword_tallies(view) for view in views]
    if judged is not None:
        for row, dialogue in zip(tallies, judged.judge_dialogues(views), strict=True):
            row.update(dialogue.tallies())
    drifts: dict[str, Drift] = {}
    absent = {} if judged else {"judged measures": "no judge was given"}
    for measure in tallies[0]:
        by_chat = [
            [total(tally) for tally in zip(*(row[measure] for row in tallies[at : at + len(speakers)]), strict=True)]
            for at in range(0, len(tallies), len(speakers))
        ]
        found = _drift(by_chat, bootstrap_samples, seed)
        if isinstance(found, Drift):
            drifts[measure] = found
        else:
            absent[measure] = found
    return DriftFigures(drifts, absent, judged.judge.name if judged else None, judged.decision if judged else None)


def keyword_tallies(dialogue: Perspective) -> dict[str, list[Tally]]:
    """Return one tally an own line for each measure by keywords.

    ``trait_coverage``, ``keyword_contradictions`` (share of lines that turn a trait round), ``copy_share`` (share that
    repeat one word by word) and ``repetition`` (share of the line's word 3-grams that the speaker said before).
    """
    persona = dialogue.persona
    counted = 1 if persona.traits else 0
    rows: dict[str, list[Tally]] = {
        measure: [] for measure in ("trait_coverage", "keyword_contradictions", "copy_share", "repetition")
    }
    said: set[tuple[str, ...]] = set()
    for line in own_lines(dialogue):
        rows["trait_coverage"].append((trait_coverage(line, persona) if counted else 0.0, counted))
        rows["keyword_contradictions"].append((float(bool(contradicted_traits(line, persona))), counted))
        rows["copy_share"].append((float(copies_trait(line, persona)), counted))
        spoken = words(line)
        grams = [tuple(spoken[start : start + _NGRAM]) for start in range(len(spoken) - _NGRAM + 1)]
        repeated = 0
        for gram in grams:
            repeated += gram in said
            said.add(gram)
        rows["repetition"].append((float(repeated), len(grams)))
    return rows


def _drift(by_chat: Sequence[Sequence[Tally]], samples: int, seed: int) -> Drift | str:
    """Return the drift of one measure from its tallies, chats × rounds, or why there is none."""
    rounds = len(by_chat[0])
    by_round = {number + 1: rate([chat[number] for chat in by_chat], samples, seed) for number in range(rounds)}
    half = rounds // 2
    halves = [(total(chat[:half]), total(chat[rounds - half :])) for chat in by_chat]
    values = [(early[0] / early[1], late[0] / late[1]) if early[1] and late[1] else None for early, late in halves]
    counted = [value for value in values if value is not None]
    if not counted:
        return "no chat has something to count in both halves"
    first, second = [early for early, _ in counted], [late for _, late in counted]
    return Drift(
        {number: found for number, found in by_round.items() if found is not None},
        bootstrap(first, samples, seed),
        bootstrap(second, samples, seed),
        paired_difference(second, first, samples, seed),
        tuple(values),
    )


def _turns(opening: str, lines: Sequence[Sequence[str]], speaker: int) -> tuple[Turn, ...]:
    """Return the turns so far, seen by one speaker; both have said equally much, or the second one line more."""
    roles = ["self" if speaker == other else "partner" for other in (FIRST, SECOND)]
    turns = [Turn(roles[FIRST], opening)]
    for number, line in enumerate(lines[SECOND]):
        turns.append(Turn(roles[SECOND], line))
        turns += [Turn(roles[FIRST], said) for said in lines[FIRST][number : number + 1]]
    return tuple(turns)
