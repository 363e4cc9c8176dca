"""LoRA against conventional full fine-tuning: same data, same order, same batches, to the same held-out loss.

Full fine-tuning is tuned too: a few steps at each of several learning rates, and the best held-out loss chooses.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from personatune.costs.meter import MetricsTracker, StageCost, StageMeter, joint_peak
from personatune.data.processing import PreparedData
from personatune.errors import UserError
from personatune.pipeline.models import load_base, load_prompts
from personatune.pipeline.run import Run
from personatune.progress import Progress
from personatune.storage import read_json, write_json
from personatune.training.distributed import Processes
from personatune.training.divergence import DivergedError
from personatune.training.sft import SFTTrainer
from personatune.training.sft_result import HeldOutPoint, SFTResult
from personatune.training.tracking import Tracker

UNEVEN = 0.25
"""By how much one side's share of the processors may exceed the other's: the stages of a demo on two free cores got 1.8
to 2.0 of them, one that something else ran beside 1.3."""


def compare_fine_tuning(
    run: Run,
    folder: Path,
    meter: StageMeter,
    costs: MetricsTracker,
    progress: Progress,
    open_tracker: Callable[[int], Tracker],
    processes: Processes,
) -> dict[str, Any]:
    """Train every weight until the held-out loss that the run's LoRA reached, and compare what both took.

    The target is one of the losses on LoRA's own held-out curve (``compare.target_evaluation``); LoRA's time is what
    it had trained until then, full fine-tuning's until it was at or below it. Evaluations are counted on neither
    side. A side that doesn't reach the target within its steps makes the savings unknown, not large.

    Returns:
        What ``comparison.json`` holds: ``target_loss``, ``lora`` and ``full`` (wall_seconds, cpu_seconds,
        peak_memory_bytes, money, reached, loss, steps, tokens, flops), ``savings`` (time_saved, cost_saved,
        memory_saved or None), ``why``, ``disturbed`` (None, or how the machine was not the same to both),
        ``full_learning_rate``, ``choice`` (learning_rate, loss, steps of each rate that was tried) and ``note``.
    """
    config = run.config
    curve = [HeldOutPoint(**point) for point in read_json(run.directory / "sft" / "summary.json")["curve"]]
    target = _target(curve, config.compare.target_evaluation)
    data = PreparedData.load(run.folder("prepare"))
    choice = _try_rates(run, folder, data, meter, progress)
    rate = config.compare.full_learning_rate or _best_rate(choice)
    settings = config.sft.model_copy(
        update={
            "learning_rate": rate,
            "max_steps": max(1, round(target.step * config.compare.max_steps_ratio)),
            "epochs": config.sft.epochs * max(1, round(config.compare.max_steps_ratio)),
            "evaluations": max(1, round(config.sft.evaluations * config.compare.max_steps_ratio)),
            "samples": 0,
        }
    )
    base = load_base(config, quantized=False)
    trainer = SFTTrainer(
        base,
        load_prompts(config),
        data.train,
        data.validation,
        settings,
        None,
        folder,
        seed=config.seed,
        target_loss=target.loss,
        open_tracker=open_tracker,
        progress=progress,
        meter=meter,
    )
    result = trainer.train()
    peak = joint_peak(meter.device, processes.gather(meter.peak_memory()))
    if not processes.main:  # its ledger has the costs of all
        return {"savings": {}}
    peaks = {"lora": costs.costs()["sft"].peak_memory_bytes, "full": peak}
    lora = StageCost("lora", target.seconds, 0.0, peaks["lora"])
    full = StageCost("full", result.curve[-1].seconds, 0.0, peaks["full"])
    reached = result.curve[-1].loss <= target.loss
    savings = costs.calculate_savings(lora, full)
    unknown = {"time_saved": None, "cost_saved": None, "memory_saved": savings.memory_saved}
    known = {name: getattr(savings, name) for name in unknown}
    comparison: dict[str, Any] = {
        "target_loss": target.loss,
        "lora": _side(replace(lora, money=savings.ours.money), target, True),
        "full": _side(replace(full, money=savings.conventional.money), result.curve[-1], reached),
        "savings": known if reached else unknown,
        "why": None if reached else _not_reached(result, target),
        "disturbed": disturbed(target, result.curve[-1]) if meter.device == "cpu" else None,
        "full_learning_rate": rate,
        "choice": choice,
        "note": _note(rate, choice),
        "curves": {"lora": [asdict(point) for point in curve], "full": [asdict(point) for point in result.curve]},
    }
    write_json(folder / "comparison.json", comparison)
    return comparison


def _try_rates(
    run: Run, folder: Path, data: PreparedData, meter: StageMeter, progress: Progress
) -> list[dict[str, Any]]:
    """Train a fresh base model for a few steps at each learning rate; nothing where one was set.

    One that diverged has no loss.
    A rate that was tried before an interrupt is not tried again. Each has warm-up and decay of its own within its
    steps, as the whole training has.
    """
    config = run.config
    if config.compare.full_learning_rate is not None:
        return []
    place = folder / "choice.json"
    tried: list[dict[str, Any]] = read_json(place) if place.is_file() else []
    for done in tried:  # a kill came before this was deleted
        shutil.rmtree(folder / f"choice-{done['learning_rate']:g}", ignore_errors=True)
    for rate in config.compare.full_learning_rates[len(tried) :]:
        settings = config.sft.model_copy(
            update={"learning_rate": rate, "max_steps": config.compare.choice_steps, "evaluations": 1, "samples": 0}
        )
        trainer = SFTTrainer(
            load_base(config, quantized=False),
            load_prompts(config),
            data.train,
            data.validation,
            settings,
            None,
            folder / f"choice-{rate:g}",
            seed=config.seed,
            progress=progress,
            meter=meter,
        )
        try:
            last = trainer.train().curve[-1]
            found: dict[str, Any] = {"learning_rate": rate, "loss": last.loss, "steps": last.step}
        except DivergedError as error:
            progress.say(str(error))
            found = {"learning_rate": rate, "loss": None, "steps": settings.max_steps}
        del trainer
        gc.collect()  # the peak of the next one must be its own
        tried.append(found)
        write_json(place, tried)
        shutil.rmtree(folder / f"choice-{rate:g}", ignore_errors=True)
    return tried


def _best_rate(choice: list[dict[str, Any]]) -> float:
    trained = [row for row in choice if row["loss"] is not None]
    if not trained:
        raise UserError("every one of compare.full_learning_rates diverged; give smaller ones")
    return float(min(trained, key=lambda row: row["loss"])["learning_rate"])


def _note(rate: float, choice: list[dict[str, Any]]) -> str:
    if not choice:
        return f"Full fine-tuning at a learning rate of {rate:g}, which was set."
    ends = ["diverged" if row["loss"] is None else f"held-out loss {row['loss']:.3f}" for row in choice]
    tried = ", ".join(f"{row['learning_rate']:g} ({end})" for row, end in zip(choice, ends, strict=True))
    return (
        f"Full fine-tuning at a learning rate of {rate:g}, the best after {choice[0]['steps']:g} steps of {tried}; "
        "that search is not counted in its time."
    )


def _target(curve: list[HeldOutPoint], evaluation: int | None) -> HeldOutPoint:
    if evaluation is None:
        return min(curve, key=lambda point: point.loss)
    if evaluation >= len(curve):
        raise UserError(
            f"compare.target_evaluation = {evaluation}: SFT was evaluated {len(curve) - 1} times after its start; "
            f"choose 1 to {len(curve) - 1}"
        )
    return curve[evaluation]


def _side(cost: StageCost, point: HeldOutPoint, reached: bool) -> dict[str, Any]:
    return {
        "wall_seconds": cost.wall_seconds,
        "peak_memory_bytes": cost.peak_memory_bytes,
        "money": cost.money,
        "reached": reached,
        "loss": point.loss,
        "steps": point.step,
        "tokens": point.tokens,
        "flops": point.flops,
        "cpu_seconds": point.cpu_seconds,
    }


def disturbed(lora: HeldOutPoint, full: HeldOutPoint) -> str | None:
    """Say where one side got less of the processors than the other: then the clock compares two machines.

    Both sides multiply matrices on all cores, so the share of the clock's time in which processors worked for them is
    alike where nothing else ran.
    """
    if not (lora.cpu_seconds and full.cpu_seconds):
        return None
    shares = [side.cpu_seconds / side.seconds for side in (lora, full)]
    if max(shares) <= min(shares) * (1 + UNEVEN):
        return None
    return (
        f"other work ran beside one side: LoRA got {shares[0]:.1f} processors and full fine-tuning {shares[1]:.1f}; "
        f"by processor time {1 - lora.cpu_seconds / full.cpu_seconds:.0%} saved"
    )


def _not_reached(result: SFTResult, target: HeldOutPoint) -> str:
    return (
        f"full fine-tuning came to a held-out loss of {result.best.loss:.4f}, not to {target.loss:.4f}, "
        f"in {result.curve[-1].step} steps"
    )
