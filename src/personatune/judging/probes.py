"""Probe dialogues: the partner asks about a persona's traits one after the other, small talk in between.

Questions are derived for any persona (`judging.derived_probes`) or hand-written (`judging.persona_probes`).
The share of consistent answers is the headline figure `probe_consistency`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personatune.dialogue import Context, Persona, Probe, ProbeScript, Respond, Turn
from personatune.judging.derived_probes import attribute_of, make_probe
from personatune.judging.keywords import Verdict, judge_answer
from personatune.judging.small_talk import INTERLUDES, OPENINGS

MIN_PROBES = 3


@dataclass(frozen=True, slots=True)
class ProbeDialogue:
    """One probe dialogue that was held: a reply for every line of the script, a verdict for every probe."""

    script: ProbeScript
    replies: tuple[str, ...]
    verdicts: tuple[Verdict | None, ...]

    def to_json(self) -> dict[str, Any]:
        lines = [
            {"partner": line, "probe": _probe_to_json(probe), "reply": reply, "verdict": verdict}
            for (line, probe), reply, verdict in zip(self.script.lines, self.replies, self.verdicts, strict=True)
        ]
        return {"persona": self.script.persona.to_json(), "lines": lines}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ProbeDialogue:
        lines = tuple((line["partner"], _probe_from_json(line["probe"])) for line in row["lines"])
        return cls(
            ProbeScript(Persona.from_json(row["persona"]), lines),
            tuple(line["reply"] for line in row["lines"]),
            tuple(line["verdict"] for line in row["lines"]),
        )


def make_script(persona: Persona, turns: int, seed: int = 0) -> ProbeScript | None:
    """Return the partner's lines of one dialogue: small talk first, then the probes in seeded order between small talk.

    Traits that one question asks for together are asked once. None when fewer than three probes can be made.

    Raises:
        ValueError: ``turns`` leaves no room for an opening and three probes, or needs more small talk than there is.
    """
    if not MIN_PROBES < turns <= len(INTERLUDES):
        raise ValueError(f"a probe dialogue has {MIN_PROBES + 1} to {len(INTERLUDES)} partner lines, not {turns}")
    rng = random.Random(f"{seed}|{'|'.join(persona.traits)}")
    probes = _distinct_probes(persona, seed, rng)[: turns - 1]
    if len(probes) < MIN_PROBES:
        return None
    small_talk: list[Probe | None] = [None] * (turns - 1 - len(probes))
    order: list[Probe | None] = [*probes, *small_talk]
    rng.shuffle(order)
    interludes = iter(rng.sample(INTERLUDES, len(small_talk)))
    lines = [(probe.question, probe) if probe else (next(interludes), None) for probe in order]
    return ProbeScript(persona, ((rng.choice(OPENINGS), None), *lines))


def hold_dialogues(
    scripts: Sequence[ProbeScript], respond: Respond, on_turn: Callable[[int], None] = lambda replies: None
) -> list[ProbeDialogue]:
    """Hold all dialogues in lock-step, one ``respond`` call for a turn of all of them, and judge the answers.

    ``on_turn`` gets the number of replies just made.
    """
    replies: list[list[str]] = [[] for _ in scripts]
    for turn in range(max((len(script.lines) for script in scripts), default=0)):
        speaking = [number for number, script in enumerate(scripts) if turn < len(script.lines)]
        said = respond([_context(scripts[number], replies[number]) for number in speaking])
        for number, reply in zip(speaking, said, strict=True):
            replies[number].append(reply)
        on_turn(len(speaking))
    return [judge_dialogue(script, said) for script, said in zip(scripts, replies, strict=True)]


def judge_dialogue(script: ProbeScript, replies: Sequence[str]) -> ProbeDialogue:
    """Give every answer to a probe its verdict; small talk has none."""
    verdicts = tuple(
        judge_answer(reply, probe) if probe else None for (_, probe), reply in zip(script.lines, replies, strict=True)
    )
    return ProbeDialogue(script, tuple(replies), verdicts)


def _context(script: ProbeScript, replies: Sequence[str]) -> Context:
    turns: list[Turn] = []
    for (line, _), reply in zip(script.lines, replies, strict=False):
        turns += [Turn("partner", line), Turn("self", reply)]
    return Context(script.persona, (*turns, Turn("partner", script.lines[len(replies)][0])))


def _distinct_probes(persona: Persona, seed: int, rng: random.Random) -> list[Probe]:
    """One probe for each broad attribute first; a second one only where that is needed to reach three."""
    first: list[Probe] = []
    spare: list[Probe] = []
    questions: set[str] = set()
    asked: set[str] = set()
    traits = list(persona.traits)
    rng.shuffle(traits)
    for trait in traits:
        probe = make_probe(trait, persona, seed)
        if probe is None:
            continue
        for other_seed in range(seed + 1, seed + 12):
            if probe is None or probe.question not in questions:
                break
            probe = make_probe(trait, persona, other_seed)
        if probe is None or probe.question in questions:
            continue
        attribute = attribute_of(trait) or ""
        (spare if attribute in asked else first).append(probe)
        questions.add(probe.question)
        asked.add(attribute)
    return first + spare[: max(0, MIN_PROBES - len(first))]


def _probe_to_json(probe: Probe | None) -> dict[str, Any] | None:
    if probe is None:
        return None
    return {
        "trait": probe.trait,
        "question": probe.question,
        "keywords": list(probe.keywords),
        "contradicting": list(probe.contradicting),
    }


def _probe_from_json(row: Mapping[str, Any] | None) -> Probe | None:
    if row is None:
        return None
    return Probe(row["trait"], row["question"], tuple(row["keywords"]), tuple(row["contradicting"]))
