"""Learning from preferences beside a run's own road: what trains a variant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from personatune.data.preference_files import read_preference_file
from personatune.pipeline.models import load_prompts
from personatune.pipeline.stages import Stage, ppo, read_pairs, save_policy, split_model
from personatune.storage import write_json
from personatune.training.dpo import DPOTrainer


def dpo(stage: Stage) -> dict[str, Any]:
    """Train the policy branch on preference pairs directly, without a reward model."""
    stage.run.require("dpo")
    config, variant = stage.run.config, stage.variant
    assert variant is not None  # DPO stands beside the road
    pairs = read_preference_file(variant.pairs) if variant.pairs else read_pairs(stage.run, "train")
    held_out = read_preference_file(variant.held_out) if variant.held_out else read_pairs(stage.run, "test")
    split = split_model(stage.run)
    for note in split.notes:
        stage.progress.say(note)
    trainer = DPOTrainer(
        split,
        load_prompts(config),
        config.dpo,
        stage.folder,
        seed=config.seed,
        budget=variant.budget(),
        open_tracker=stage.tracker,
        progress=stage.progress,
        meter=stage.meter,
    )
    result = trainer.train(pairs, held_out)
    with stage.progress.task("DPO: held-out pairs", 1) as task:
        report = trainer.evaluate(held_out, config.evaluation.bootstrap_samples)
        task.advance()
    if stage.processes.main:
        save_policy(stage, split)
        write_json(stage.folder / "summary.json", {**result.to_json(), "pairs": len(pairs), "held_out": report})
    return {
        "steps": result.steps,
        "best_step": result.best_step,
        "seconds": result.seconds,
        "likelihood_accuracy": report["likelihood_accuracy"]["all"]["value"],
    }


VARIANT_FUNCTIONS: dict[str, Callable[[Stage], dict[str, Any]]] = {"dpo": dpo, "ppo": ppo}
