"""Judges one model of a run on held-out personas; what was finished before an interrupt is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import personatune
from personatune.costs.meter import StageMeter
from personatune.data.processing import PreparedData
from personatune.evaluation.suite import TestSet, evaluate_model, make_test_set
from personatune.pipeline.judging import find_judges
from personatune.pipeline.kept_work import Chunk, Drawing, in_chunks
from personatune.pipeline.models import ModelName, adapter_folder, load_model, load_prompts
from personatune.pipeline.run import Run
from personatune.pipeline.variants import sha256_of
from personatune.progress import Progress


def judge_model(run: Run, name: ModelName, unfinished: Path, progress: Progress, meter: StageMeter) -> dict[str, Any]:
    """Return all figures of a model of the run (`evaluate_model`).

    Args:
        unfinished: a folder for finished parts: dialogues, replies, losses, the judge's answers.
    """
    config = run.config
    judges = find_judges(config.evaluation.judge)
    head = {"model": name, **made_from(run, name, "test"), "settings": config.evaluation.model_dump(mode="json")}

    def keep(what: str, items: int, size: int, work: Callable[[Chunk], Sequence[Any]], drawing: Drawing) -> list[Any]:
        place = unfinished / f"{name}.{what}.jsonl"
        return in_chunks(place, {**head, "what": what}, items, size, work, drawing=drawing)

    return evaluate_model(
        name,
        load_model(run, name),
        load_prompts(config),
        run_test_set(run),
        config.evaluation,
        seed=config.seed,
        judge=judges.evaluator(
            unfinished / f"{name}.judge.json", config.evaluation.bootstrap_samples, config.seed, progress
        ),
        why_no_judge=judges.why_no_judge,
        encoder=judges.encoder,
        why_no_encoder=judges.why_no_encoder,
        progress=progress,
        meter=meter,
        keep=keep,
    )


def run_test_set(run: Run) -> TestSet:
    """Return what the models of a run are judged on."""
    data = PreparedData.load(run.folder("prepare"))
    return make_test_set(data.test, run.config.evaluation, run.config.seed)


def made_from(run: Run, model: str, *parts: str) -> dict[str, Any]:
    """Return what makes kept work of a run's model another's: the model, parts of the data, seed and version."""
    adapter = None if model == "base" else sha256_of(adapter_folder(run, model) / "adapter_model.safetensors")
    return {
        "personatune": personatune.__version__,
        "base": run.config.model.model_dump(mode="json"),
        "adapter": adapter,
        "data": {part: sha256_of(run.folder("prepare") / f"{part}.jsonl") for part in parts},
        "seed": run.config.seed,
    }
