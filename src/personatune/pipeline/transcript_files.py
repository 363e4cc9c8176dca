"""The probe dialogues of one contender as a page to be read: what was said, unedited, with the judges' marks."""

from __future__ import annotations

from pathlib import Path

from personatune.evaluation.probe_figures import dialogue_names
from personatune.pipeline.benchmark_runs import BenchmarkRunner
from personatune.pipeline.benchmark_sets import BenchmarkSet
from personatune.pipeline.contenders import Contender
from personatune.report.transcript_page import transcript_page
from personatune.storage import write_text


def write_transcripts(runner: BenchmarkRunner, contender: Contender, benchmark: BenchmarkSet, folder: Path) -> Path:
    """Write ``<contender>, <split>.md`` into a folder and return its path."""
    dialogues, judged = runner.judged_dialogues(contender, benchmark)
    decoding = ", ".join(f"{name} {value}" for name, value in (contender.decoding or {}).items())
    told = [
        f"{benchmark.source}: {benchmark.split}, in the order of the benchmark. No dialogue was left out or edited.",
        f"Decoding: {decoding or 'none'}. Seed {runner.seed}.",
    ]
    place = folder / f"{_in_a_file_name(contender.name)}-{_in_a_file_name(benchmark.split)}.md"
    names = dialogue_names(benchmark.items, len(dialogues))
    write_text(place, transcript_page(f"{contender.name} talks", told, names, dialogues, judged))
    return place


def _in_a_file_name(text: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text).lower().split())[:60]
