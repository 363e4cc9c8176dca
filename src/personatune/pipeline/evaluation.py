"""Contenders against each other on benchmarks: who takes part, in which order, and what comes out.

The floors and the people's row take part in every table.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from personatune.dialogue import Context
from personatune.errors import UserError
from personatune.evaluation.benchmarks import Benchmark, BenchmarkEvaluator
from personatune.evaluation.floors import CEILING, FLOORS
from personatune.evaluation.overall import read_overall
from personatune.evaluation.results import Result
from personatune.evaluation.significance import LEVEL, SAMPLES, compare_results
from personatune.judging.persona_probes import load_persona_probes
from personatune.pipeline.benchmark_runs import BenchmarkRunner
from personatune.pipeline.benchmark_sets import BenchmarkSet, written_by_people
from personatune.pipeline.contenders import Contender, load_contender
from personatune.pipeline.judging import Judges
from personatune.pipeline.kept_work import key_of
from personatune.pipeline.transcript_files import write_transcripts
from personatune.progress import Progress, SilentProgress
from personatune.settings import EvaluationConfig

_PROBED = (
    "probe_consistency",
    "contradiction_rate",
    "relevance",
    "copy_share",
    "repetition",
    "engagement",
    "prompt_to_line",
    "line_to_line",
    "c_score",
)
COMPARED = {
    "probes": _PROBED,
    "derived": _PROBED,
    "convai2": ("hits1", "f1", "c_score", "trait_score", "relevance", "copy_share", "repetition", "perplexity_word"),
    "spc": ("f1", "c_score", "trait_score", "relevance", "copy_share", "repetition", "perplexity_word"),
    "rank": ("hits1", "entail1", "rand1", "contradict1"),
    "qa": ("qa_pmi_accuracy", "qa_accuracy"),
    "selfchat": (
        "prompt_to_line_drift",
        "line_to_line_drift",
        "c_score_drift",
        "keyword_contradictions_drift",
        "repetition_drift",
    ),
}
"""The figures that models are compared on, pair by pair; every one more makes all of them harder to tell apart."""

PROBE_CEILING = (
    "human on the probes: the answers written with the questions; consistent by a rule of the benchmark, so its "
    "probe_consistency is 1 by construction, all else is measured"
)
_DIALOGUE_NLI = "Dialogue NLI ranking set (Welleck et al. 2019), 542 records"
_CONVAI2 = "ConvAI2 (Persona-Chat, own persona, original wording)"
_CONVAI2_PARTS = {
    (1000, 7801): "validation",
    (500, 3907): "validation, first 500 dialogues (3,907 turns)",
}
_NAMES_THERE = {"entail1": "entail_1", "rand1": "rand_1", "contradict1": "contradict_1", "hits1": "hits_1"}


@dataclass(frozen=True)
class Pool:
    """Training replies that the TF-IDF floor answers with."""

    replies: Sequence[str]
    source: str


def evaluate_contenders(
    references: Sequence[str],
    benchmarks: Sequence[BenchmarkSet],
    out: Path,
    *,
    settings: EvaluationConfig,
    judges: Judges,
    pool: Pool,
    run: str | None = None,
    runs: Path = Path("runs"),
    base: str | None = None,
    seed: int = 0,
    transcripts: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure everyone on everything and return what ``evaluation.json`` holds.

    Finished results and unfinished work lie in ``out/parts``; the same call goes on there. One model is in memory at
    a time; whoever needs none comes first, so that a mistake in a file shows early.

    Args:
        transcripts: folder for the probe dialogues of everyone in ``references`` (`transcript_files`).

    Raises:
        UserError: a contender that can't be found, or replies that don't fit a benchmark; transcripts without probes.
    """
    if transcripts is not None and not any(benchmark.scripts for benchmark in benchmarks):
        raise UserError("--transcripts writes probe dialogues; add probes to --on")
    progress = progress or SilentProgress()
    runner = BenchmarkRunner(out / "parts", settings, judges, seed, progress)
    names = [*dict.fromkeys(references), *(name for name in (*FLOORS, CEILING) if name not in references)]
    human = written_by_people(benchmarks)
    loading: dict[str, Callable[[], Contender]] = {
        name: _loader(name, human, pool, settings, run=run, runs=runs, base=base, seed=seed) for name in names
    }
    results: dict[tuple[str, str], Result] = {}
    for name in sorted(names, key=lambda name: not _needs_no_model(name)):
        contender = loading[name]()
        for benchmark in benchmarks:
            results[name, benchmark.name] = runner.run(contender, benchmark)
            if transcripts is not None and benchmark.scripts and name in references and contender.respond is not None:
                write_transcripts(runner, contender, benchmark, transcripts)
        del contender
        gc.collect()
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "models": list(dict.fromkeys(references)),
        "judges": judges.to_json(),
        "pool": {"source": pool.source, "replies": len(pool.replies)},
        "seed": seed,
        "bootstrap_samples": settings.bootstrap_samples,
        "benchmarks": [
            benchmark_json(
                benchmark,
                [results[name, benchmark.name] for name in names],
                [results[name, benchmark.name].contender for name in dict.fromkeys(references)],  # as printed
                settings,
                seed,
            )
            for benchmark in benchmarks
        ],
        "notes": BenchmarkEvaluator().notes,
    }


def benchmark_json(
    benchmark: BenchmarkSet, results: Sequence[Result], models: Sequence[str], settings: EvaluationConfig, seed: int
) -> dict[str, Any]:
    """Return one benchmark's rows, their overall reading, the differences between models, and published figures."""
    ours = [result for result in results if result.contender in models]
    differences = compare_results(ours, COMPARED[benchmark.name], SAMPLES, seed)
    overall: list[dict[str, Any]] = []
    why_no_overall = None
    try:
        overall = [row.to_json() for row in read_overall(results, settings.bootstrap_samples, seed)]
    except ValueError as error:
        why_no_overall = str(error)
    return {
        "name": benchmark.name,
        "source": benchmark.source,
        "split": benchmark.split,
        "items": len(benchmark.items),
        "fingerprint": benchmark.fingerprint,
        "rows": [
            {
                "contender": result.contender,
                "kind": result.kind,
                "metrics": {name: estimate.to_json() for name, estimate in result.metrics.items()},
                "absent": result.absent,
                "settings": result.settings,
            }
            for result in results
        ],
        "overall": overall,
        "why_no_overall": why_no_overall,
        "differences": [difference.to_json() for difference in differences],
        "differences_are": f"paired bootstrap over {len(benchmark.items)} items, {SAMPLES:,} resamples; p corrected "
        f"for all comparisons of this table (Holm), significant below {LEVEL}",
        "published": _published(benchmark, results),
        "notes": [*([PROBE_CEILING] if benchmark.name == "probes" else []), *benchmark.notes],
    }


def run_pool(run: str | None, runs: Path) -> Pool:
    """Return the training replies of a run, or, without one, those written with the probes' training personas.

    Raises:
        UserError: there is no such run, or its data is damaged.
    """
    if run is not None:
        from personatune.data.processing import PreparedData
        from personatune.pipeline.run import Run

        opened = Run.open(runs, run)
        if "prepare" in opened.done():
            data = PreparedData.load(opened.folder("prepare"))
            return Pool([reply for view in data.train for _, reply in view.replies()], f"training data of run {run}")
    personas = load_persona_probes("train")
    replies = [trait.consistent for persona in personas for trait in persona.traits]
    return Pool(replies, "replies written with the probes' training personas")


def _loader(
    name: str,
    human: Mapping[Context, str],
    pool: Pool,
    settings: EvaluationConfig,
    *,
    run: str | None,
    runs: Path,
    base: str | None,
    seed: int,
) -> Callable[[], Contender]:
    def load() -> Contender:
        if name == "tfidf":
            contender = load_contender(name, pool=pool.replies)
            return replace(contender, identity={"pool": key_of(list(pool.replies))})
        if _needs_no_model(name):
            return load_contender(name, human=human)
        from personatune.model.generation import Sampling

        sampling = Sampling(
            settings.max_new_tokens, settings.temperature, settings.repetition_penalty, settings.no_repeat_ngram
        )
        return load_contender(name, run=run, runs=runs, base=base, sampling=sampling, seed=seed)

    return load


def _needs_no_model(name: str) -> bool:
    return name in FLOORS or name == CEILING or name.endswith(".jsonl")


def _published(benchmark: BenchmarkSet, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return published rows of this benchmark's data set, and ours where data, split, metric and unit agree."""
    evaluator = BenchmarkEvaluator()
    dataset = {"convai2": _CONVAI2, "rank": _DIALOGUE_NLI}.get(benchmark.name)
    if dataset is None:
        return []
    here = _split_there(benchmark)
    places = {}
    for metric in {name for result in results for name in result.metrics}:
        there = _NAMES_THERE.get(metric, metric)
        fitting = [place for place in evaluator.benchmarks() if (place.metric, place.dataset) == (there, dataset)]
        place = next((place for place in fitting if _agrees(place, metric, here)), None)
        if place is not None:
            places[metric] = place
    models = {result.contender: result.metrics for result in results}
    rows = [row for row in evaluator.compare(models, places) if row.benchmark.dataset == dataset]
    measured = {row.benchmark for row in rows if row.kind == "measured"}
    kept = [row for row in rows if row.kind != "not measured" or row.benchmark in measured]
    return [row.to_json() for row in kept]


def _agrees(place: Benchmark, metric: str, here: str | None) -> bool:
    """Say whether our figure is of that split and unit; perplexities never are: their units are other tokens."""
    return place.split == here and not metric.startswith("perplexity")


def _split_there(benchmark: BenchmarkSet) -> str | None:
    """Return how the published figures name the part that was measured, None where it is none of theirs."""
    if benchmark.name == "rank":
        return "evaluation" if len(benchmark.items) == 542 else None
    return _CONVAI2_PARTS.get((len(benchmark.items), len(benchmark.turns)))
