"""Our pipeline's stages as `savings.py` runs them, each in a process of its own: the run's own classes, put together.

With `sides.ours` the only place in the benchmarks that builds personatune's trainers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from personatune.costs.meter import StageMeter
from personatune.model.backbone import get_model_info, load_base_model
from personatune.model.branches import SplitModel
from personatune.model.lora import load_adapter
from personatune.storage import read_json
from personatune.training.ppo import PPOTrainer
from personatune.training.reward import RewardModel, RewardModelTrainer
from personatune.training.rollouts import POLICY
from personatune.training.sft import SFTTrainer
from personatune.training.tracking import SilentTracker
from sides.ours import pair_tokens
from sides.savings_work import FORWARD, FROZEN, Work, pair_accuracy
from sides.steps import StepCount
from sides.turns import peak_bytes


class _EvaluationClock(SilentTracker):
    """Times the held-out evaluations, which count on neither side.

    The shortest one stands for each: what the first takes longer (compiling, allocating) is training's business.
    """

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.evaluations: list[float] = []

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        now = time.perf_counter()
        if "held_out_loss" in metrics:
            self.evaluations.append(now - self._last)
        self._last = now

    @property
    def seconds(self) -> float:
        """Seconds of all evaluations."""
        return len(self.evaluations) * min(self.evaluations, default=0.0)


def sft(work: Work, folder: Path, target_loss: float) -> dict[str, Any]:
    """Fine-tune with LoRA until the held-out loss is at or below the target."""
    prompts = work.prompts()
    clock, steps = _EvaluationClock(), StepCount()
    trainer = SFTTrainer(
        load_base_model(work.settings["model"]),
        prompts,
        work.views("train"),
        work.views("validation"),
        work.config.sft,
        work.config.lora,
        folder,
        seed=work.config.seed,
        target_loss=target_loss,
        open_tracker=lambda _step: clock,
    )
    begin = time.perf_counter()
    result = trainer.train()
    seconds = time.perf_counter() - begin - clock.seconds
    peak = peak_bytes()
    assert trainer.wrapper is not None
    trainer.wrapper.save(folder / "adapter")
    trainer.checkpoints.clear()
    last = result.curve[-1]
    return {
        "seconds": seconds,
        "seconds_by_the_trainer": last.seconds,
        "peak_bytes": peak,
        "flops": last.flops,  # of training alone, as the seconds are
        "tokens": last.tokens,
        "steps": steps.take(),
        "reached": last.loss <= target_loss,
        "stopped": result.stopped,
        "curve": [[point.step, round(point.seconds, 2), round(point.loss, 4)] for point in result.curve],
        "quality": {"held_out_loss": last.loss},
    }


def reward(work: Work, folder: Path, sft_folder: Path) -> dict[str, Any]:
    """Train the reward branch on the merged SFT model."""
    prompts = work.prompts()
    split = SplitModel(_merged(work, sft_folder), work.config.branch)
    model = RewardModel(split, prompts, seed=work.config.seed)
    steps, meter = StepCount(), StageMeter()
    trainer = RewardModelTrainer(model, work.config.reward, folder, seed=work.config.seed, meter=meter)
    pairs, tests = work.pairs("pairs"), work.pairs("test_pairs")
    begin = time.perf_counter()
    trainer.train(pairs)
    seconds = time.perf_counter() - begin
    peak = peak_bytes()
    contexts = [pair.context for pair in tests]
    chosen, rejected = (
        model.score(contexts, [getattr(pair, name) for pair in tests]) for name in ("chosen", "rejected")
    )
    report = trainer.evaluate(tests)
    model.save(folder / "branch")
    trainer.checkpoints.clear()
    parameters = get_model_info(split.backbone).parameters
    top = split.top_layers / split.total_layers
    once = meter.tokens_trained / work.config.reward.epochs
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "flops": meter.flops or parameters * (FORWARD * (1 - top) * once + FROZEN * top * meter.tokens_trained),
        "tokens": pair_tokens(prompts, pairs) * work.config.reward.epochs,
        "steps": steps.take(),
        "pairs": len(pairs),
        "report": {key: report[key] for key in ("score_mean", "score_scale", "length", "check")},
        "quality": {"pair_accuracy": pair_accuracy(chosen, rejected)},
    }


def ppo(work: Work, folder: Path, sft_folder: Path, reward_folder: Path) -> dict[str, Any]:
    """Run PPO on the branches of the one backbone; the policy is the one after the last update, as the other side's."""
    prompts = work.prompts()
    config = work.config.ppo
    split = SplitModel(_merged(work, sft_folder), work.config.branch)
    model = RewardModel(split, prompts, seed=work.config.seed)
    model.load(reward_folder / "branch", read_json(reward_folder / "result.json")["report"])
    steps, meter = StepCount(), StageMeter()
    trainer = PPOTrainer(
        split, prompts, model, work.contexts(), config, folder, judge=lambda: 0.0, seed=work.config.seed, meter=meter
    )
    begin = time.perf_counter()
    result = trainer.train()
    seconds = time.perf_counter() - begin
    peak = peak_bytes()
    split.save_branch(POLICY, folder / "branch")
    trainer.checkpoints.clear()
    with split.active(POLICY):
        judged = work.judged(split.backbone, prompts)
    updates = len(result.metrics)
    prompt_tokens = sum(len(prompts.encode_prompt(context, config.max_new_tokens)) for context in work.contexts())
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "flops": meter.flops or _ppo_flops(split, meter, config.epochs, prompt_tokens),
        "tokens": meter.tokens_trained,
        "steps": steps.take(),
        "updates": updates,
        "replies": updates * config.prompts_per_update * config.replies_per_prompt,
        "stopped": result.stopped,
        "metrics": result.metrics,
        "quality": {"judged": judged},
    }


def _ppo_flops(split: SplitModel, meter: StageMeter, epochs: int, prompt_tokens: int) -> float:
    """Estimate: sampling with prompts shared, the trunk once, reference, critic and reward on it, then the epochs."""
    parameters = get_model_info(split.backbone).parameters
    top, critic = (layers / split.total_layers for layers in (split.top_layers, split.critic_layers))
    sequence_tokens = meter.tokens_trained / epochs
    sampled = prompt_tokens + meter.tokens_generated
    forward = sampled + sequence_tokens * (1 - top) + sequence_tokens * (2 * top + critic)
    return parameters * (FORWARD * forward + FROZEN * (top + critic) * meter.tokens_trained)


def _merged(work: Work, sft_folder: Path) -> Any:
    adapter = load_adapter(load_base_model(work.settings["model"]), sft_folder / "adapter")
    return adapter.merge_and_unload().eval()
