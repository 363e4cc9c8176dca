"""What contenders are measured on: the packaged probes, and benchmarks whose files the user brings along."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from personatune.data.ranking_files import CONVAI2, DIALOGUE_NLI, read_ranking_file
from personatune.dialogue import Context, Persona, Perspective, ProbeScript, RankingTask, Turn
from personatune.errors import UserError, did_you_mean
from personatune.evaluation.multiple_choice import ChoiceTask
from personatune.evaluation.ranking import dialogue_of
from personatune.evaluation.reply_figures import Answered
from personatune.judging.persona_probes import ProbePersona, load_persona_probes, persona_probe_scripts

Name = Literal["probes", "derived", "convai2", "spc", "rank", "qa", "selfchat"]
WANTED: dict[Name, str] = {
    "probes": "the packaged PersonaProbes, or a persona file of that format: --on probes=FILE.yaml",
    "derived": "questions made by rule for the personas of a dialogue source, as spc takes it: --on derived=SOURCE",
    "convai2": "a ConvAI2 file with candidates (ParlAI text): --on convai2=FILE",
    "spc": "persona dialogues (file, folder or hub id) with a validation or test split: --on spc=SOURCE",
    "rank": "a file of dialogue-NLI records: --on rank=FILE",
    "qa": "questions on the packaged PersonaProbes, or on a persona file of that format: --on qa=FILE.yaml",
    "selfchat": "pairs of the packaged PersonaProbes, or of a persona file of that format: --on selfchat=FILE.yaml",
}
PACKAGED: tuple[Name, ...] = ("probes", "qa", "selfchat")
"""Those that need no file."""
PROBE_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class BenchmarkSet:
    """One benchmark, read and cut to size.

    Attributes:
        source: where it comes from, as printed.
        split: which part of it, in words; with a limit it says so.
        items: names of the dialogues (rank: records) that intervals resample.
        scripts: probe dialogues, as many in a row for each item; probes and derived.
        turns: turns that people answered, dialogue after dialogue; convai2 and spc.
        dialogues: the same as whole dialogues, one an item, for perplexity.
        tasks: candidates to rank, of ``items`` only; convai2 and rank.
        all_tasks: those of the whole file, for floors whose IDF is that of the file.
        written: replies written with the benchmark, for the ceiling of the probes.
        questions: with answers to choose from, of ``items`` only; qa only.
        all_questions: those about all personas, for floors whose IDF is that of all.
        pairs: personas that talk to each other, one pair an item; selfchat only.
        notes: what is to be known about the figures, as printed under them.
        fingerprint: of everything above.
    """

    name: Name
    source: str
    split: str
    items: list[str]
    scripts: list[ProbeScript] = field(default_factory=list)
    turns: list[Answered] = field(default_factory=list)
    dialogues: list[Perspective] = field(default_factory=list)
    tasks: list[RankingTask] = field(default_factory=list)
    all_tasks: list[RankingTask] = field(default_factory=list)
    written: dict[Context, str] = field(default_factory=dict)
    questions: list[ChoiceTask] = field(default_factory=list)
    all_questions: list[ChoiceTask] = field(default_factory=list)
    pairs: list[tuple[Persona, Persona]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fingerprint: str = ""

    @property
    def talks(self) -> bool:
        """Whether replies are made on it."""
        return bool(self.scripts or self.turns or self.pairs)


def parse_benchmarks(values: Sequence[str]) -> dict[Name, str | None]:
    """Return benchmark name to what was given for it, from ``probes,convai2=FILE`` and repeated options.

    Raises:
        UserError: an unknown benchmark, one named twice, or one whose file isn't given (says how to give it).
    """
    found: dict[Name, str | None] = {}
    cut = re.compile(r",(?=(?:\w+)(?:=|,|$))")
    for value in values:
        for part in cut.split(value):
            name, _, place = part.strip().partition("=")
            if name not in WANTED:
                raise UserError(f"--on {part}: expected one of {', '.join(WANTED)}{did_you_mean(name, WANTED)}")
            known = cast("Name", name)
            if known in found:
                raise UserError(f"--on {name}: named twice; give one file for each benchmark")
            if not place and name not in PACKAGED:
                raise UserError(f"--on {name}: which file? It takes {WANTED[known]}")
            found[known] = place or None
    if not found:
        raise UserError(f"--on: expected one of {', '.join(WANTED)}")
    return found


def read_benchmark(
    name: Name,
    place: str | None,
    *,
    limit: int | None = None,
    turns: int = 6,
    seed: int = 0,
    split: str = "test",
    wordings: int = 1,
) -> BenchmarkSet:
    """Read one benchmark.

    Args:
        limit: at most so many dialogues (rank: records), from the beginning.
        turns: of probe dialogues.
        split: of the packaged personas.
        wordings: of the questions for each trait, how many the probes ask, each in a dialogue of its own.

    Raises:
        UserError: the file is missing, damaged or of another kind, the limit is below 1, or wordings aren't 1 to 3.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: expected 1 or more")
    if name == "probes":
        return _probes(place, limit, turns, seed, split, wordings)
    if name in {"qa", "selfchat"}:
        from personatune.pipeline import persona_sets

        personas, label = probe_personas(name, place, split)
        make = persona_sets.questions if name == "qa" else persona_sets.pairs
        return fingerprinted(*make(personas, place or "PersonaProbes", label, limit, seed))
    assert place is not None  # parse_benchmarks asks for it
    if name in {"spc", "derived"}:
        from personatune.pipeline.dialogue_benchmark import read_dialogues

        source, label, views = read_dialogues(place)
        if name == "derived":
            return _derived(source, label, views, limit, turns, seed)
        return _talking(name, source, label, views, limit)
    return _ranking(name, Path(place), limit)


def probe_personas(name: str, place: str | None, split: str) -> tuple[list[ProbePersona], str]:
    """Return the personas of a split of PersonaProbes, or of a file of that format, and which these are, in words.

    Raises:
        UserError: an unknown split, a file that is missing or breaks the format, or no persona.
    """
    if split not in (*PROBE_SPLITS, "all"):
        choices = (*PROBE_SPLITS, "all")
        raise UserError(f"--probes-split {split}: expected one of {', '.join(choices)}{did_you_mean(split, choices)}")
    chosen = _split(place, split)
    personas = load_persona_probes(chosen, None if place is None else [Path(place)])
    if not personas:
        raise UserError(f"{name}: no persona in {place or f'split {split}'}")
    return personas, "all personas" if chosen is None else f"{split} personas"


def _split(place: str | None, split: str) -> Any:
    return None if split == "all" or place is not None else split


def _probes(place: str | None, limit: int | None, turns: int, seed: int, split: str, wordings: int) -> BenchmarkSet:
    from personatune.judging.persona_probes.scripts import WORDINGS
    from personatune.pipeline.written_replies import written_replies

    personas, label = probe_personas("probes", place, split)
    turns = _script_turns(turns)
    if not 1 <= wordings <= WORDINGS:
        raise UserError(f"--wordings {wordings}: every trait has {WORDINGS} questions, so expected 1 to {WORDINGS}")
    files = None if place is None else [Path(place)]
    personas = personas[:limit]
    scripts = persona_probe_scripts(_split(place, split), turns, seed, files, wordings)[: len(personas) * wordings]
    written = written_replies([persona for persona in personas for _ in range(wordings)], scripts)
    asked = sum(probe is not None for script in scripts for _, probe in script.lines)
    notes = [f"{asked} questions, {wordings} wordings of each, in as many dialogues a persona; the items are personas."]
    return fingerprinted(
        BenchmarkSet(
            "probes",
            "PersonaProbes" if place is None else place,
            part(label, limit),
            [persona.id for persona in personas],
            scripts=scripts,
            written=written,
            notes=notes if wordings > 1 else [],
        ),
        [*_script_lines(scripts), list(written.values())],
    )


def _derived(
    source: str, label: str, views: Sequence[Perspective], limit: int | None, turns: int, seed: int
) -> BenchmarkSet:
    from personatune.evaluation.suite import probe_scripts

    shuffled = list(views)
    random.Random(seed).shuffle(shuffled)  # personas of one dialogue, or one file, don't stand together
    scripts = probe_scripts(shuffled, len(shuffled) if limit is None else limit, _script_turns(turns), seed)
    if not scripts:
        raise UserError(f"derived: no persona of {source} has three sentences that a rule makes a question for")
    asked = sum(probe is not None for script in scripts for _, probe in script.lines)
    items = [f"persona {number}" for number in range(1, len(scripts) + 1)]
    notes = [f"{asked} questions made by rule of persona sentences, personas drawn by seed; nobody wrote answers."]
    benchmark = BenchmarkSet("derived", source, part(label, limit), items, scripts=scripts, notes=notes)
    return fingerprinted(benchmark, _script_lines(scripts))


def _script_turns(turns: int) -> int:
    from personatune.judging.persona_probes.scripts import MIN_TURNS
    from personatune.judging.small_talk import INTERLUDES

    if not MIN_TURNS <= turns <= len(INTERLUDES):
        raise UserError(f"evaluation.turns={turns}: probe dialogues take {MIN_TURNS} to {len(INTERLUDES)} turns")
    return turns


def _script_lines(scripts: Sequence[ProbeScript]) -> list[Any]:
    return [[script.persona.traits, [line for line, _ in script.lines]] for script in scripts]


def _ranking(name: Name, path: Path, limit: int | None) -> BenchmarkSet:
    file = read_ranking_file(path)
    wanted = CONVAI2 if name == "convai2" else DIALOGUE_NLI
    if file.format != wanted:
        other = "rank" if name == "convai2" else "convai2"
        raise UserError(f"{path}: found {file.format} records, expected {wanted}; give it as --on {other}={path}")
    items = list(dict.fromkeys(dialogue_of(task) for task in file.tasks))[:limit]
    kept = set(items)
    tasks = [task for task in file.tasks if dialogue_of(task) in kept]
    if name == "rank":
        benchmark = BenchmarkSet(
            name, path.name, part("all records", limit), items, tasks=tasks, all_tasks=file.tasks
        )  # fmt: skip
        return fingerprinted(benchmark, [file.sha256, limit])
    turns = [Answered(dialogue_of(task), task.context, task.candidates[task.kinds.index("gold")]) for task in tasks]
    benchmark = BenchmarkSet(
        name,
        path.name,
        part("all dialogues of the file", limit),
        items,
        turns=turns,
        dialogues=whole_dialogues(turns),
        tasks=tasks,
        all_tasks=file.tasks,
    )
    return fingerprinted(benchmark, [file.sha256, limit])


def _talking(name: Name, source: str, label: str, views: Sequence[Perspective], limit: int | None) -> BenchmarkSet:
    turns = [Answered(view.id, context, reply) for view in views[:limit] for context, reply in view.replies()]
    if not turns:
        raise UserError(f"{source}: no reply to a partner's line; expected dialogues of two speakers with personas")
    items = list(dict.fromkeys(turn.dialogue for turn in turns))
    benchmark = BenchmarkSet(
        name, source, part(label, limit), items, turns=turns, dialogues=whole_dialogues(turns)
    )  # fmt: skip
    return fingerprinted(benchmark, [[turn.context.to_json(), turn.reference] for turn in turns])


def whole_dialogues(turns: Sequence[Answered]) -> list[Perspective]:
    """Return each dialogue up to its last answered turn, in order."""
    last = {turn.dialogue: turn for turn in turns}
    return [
        Perspective(name, turn.context.persona, (*turn.context.history, Turn("self", turn.reference)))
        for name, turn in last.items()
    ]


def part(label: str, limit: int | None) -> str:
    """Name a part of a benchmark, cut to a limit or not."""
    return label if limit is None else f"{label}, first {limit}"


def fingerprinted(benchmark: BenchmarkSet, content: Any) -> BenchmarkSet:
    """Return the benchmark with the fingerprint of a JSON value that holds all of its content."""
    digest = hashlib.sha256(json.dumps([benchmark.name, benchmark.items, content]).encode()).hexdigest()
    return BenchmarkSet(**{**benchmark.__dict__, "fingerprint": digest[:24]})


def written_by_people(benchmarks: Sequence[BenchmarkSet]) -> dict[Context, str]:
    """Return the written replies of all benchmarks, for the ceiling row."""
    return {context: reply for benchmark in benchmarks for context, reply in benchmark.written.items()}
