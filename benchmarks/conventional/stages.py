"""The conventional pipeline's stages as `savings.py` runs them, each in a process of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from conventional.ppo import Models, train_ppo
from conventional.reward import load_scorer, score_all, train_reward
from conventional.sft import fine_tune
from personatune.dialogue import Context
from personatune.model.backbone import get_model_info, locate
from personatune.model.prompts import PromptFormat
from personatune.storage import read_json
from personatune.training.sft import held_out_loss
from sides.savings_work import FORWARD, TRAINED, Work, pair_accuracy
from sides.turns import peak_bytes


def sft(work: Work, folder: Path, learning_rate: float, *, share: float = 1.0) -> dict[str, Any]:
    """Fine-tune every weight for one epoch, or for its first ``share``; the model is kept after a whole epoch."""
    prompts = work.prompts()
    model = _load(locate(work.settings["model"]))
    dialogues = work.encoded("train", prompts)
    batch_size = work.settings["conventional_batch"]
    steps = None if share >= 1 else max(1, round(share * len(dialogues) / batch_size))
    trained = fine_tune(
        model, dialogues, learning_rate=learning_rate, batch_size=batch_size, pad_id=prompts.pad_id, first_steps=steps
    )
    peak = peak_bytes()
    loss = held_out_loss(model, work.encoded("validation", prompts), prompts.pad_id)
    if steps is None:
        _save(model, prompts, folder / "model")
    return {
        "seconds": trained.seconds,
        "peak_bytes": peak,
        "flops": TRAINED * get_model_info(model).parameters * trained.tokens,
        "tokens": trained.tokens,
        "steps": trained.steps,
        "learning_rate": learning_rate,
        "quality": {"held_out_loss": loss},
    }


def reward(work: Work, folder: Path, sft_folder: Path) -> dict[str, Any]:
    """Train a reward model of its own, every weight, from the fine-tuned model."""
    prompts = work.prompts()
    model = load_scorer(sft_folder / "model", prompts.pad_id)
    pairs = [(_whole(prompts, pair.context, pair.chosen), _whole(prompts, pair.context, pair.rejected))
             for pair in work.pairs("pairs")]  # fmt: skip
    config = work.config.reward
    trained = train_reward(
        model,
        pairs,
        learning_rate=work.settings["conventional_reward_rate"],
        batch_size=config.batch_size,
        epochs=config.epochs,
        pad_id=prompts.pad_id,
    )
    peak = peak_bytes()
    tests = work.pairs("test_pairs")
    chosen, rejected = (
        score_all(model, [_whole(prompts, pair.context, getattr(pair, name)) for pair in tests], prompts.pad_id)
        for name in ("chosen", "rejected")
    )
    scores = torch.tensor(chosen + rejected)
    _save(model, prompts, folder / "model")
    return {
        "seconds": trained.seconds,
        "peak_bytes": peak,
        "flops": TRAINED * get_model_info(model).parameters * trained.tokens,
        "tokens": trained.tokens,
        "steps": trained.steps,
        "pairs": len(pairs),
        "scale": [float(scores.mean()), float(scores.std().clamp(min=1e-6))],
        "quality": {"pair_accuracy": pair_accuracy(chosen, rejected)},
    }


def ppo(work: Work, folder: Path, sft_folder: Path, reward_folder: Path) -> dict[str, Any]:
    """Run textbook PPO with four models."""
    prompts = work.prompts()
    config = work.config.ppo
    value = load_scorer(sft_folder / "model", prompts.pad_id)
    torch.nn.init.zeros_(value.score.weight)  # as our critic begins: no opinion
    models = Models(
        policy=_load(sft_folder / "model"),
        reference=_load(sft_folder / "model"),
        value=value,
        reward=load_scorer(reward_folder / "model", prompts.pad_id),
    )
    contexts = work.contexts()
    count = config.prompts_per_update

    def prompts_of(update: int) -> list[list[int]]:
        chosen = contexts[update * count : (update + 1) * count]
        return [prompts.encode_prompt(context, config.max_new_tokens) for context in chosen]

    begin = time.perf_counter()
    run = train_ppo(
        models,
        prompts_of,
        config,
        policy_learning_rate=config.policy_learning_rate / 10,
        value_learning_rate=config.critic_learning_rate / 10,
        stop_ids=prompts.stop_ids,
        pad_id=prompts.pad_id,
        reward_scale=tuple(read_json(reward_folder / "result.json")["scale"]),
    )
    seconds = time.perf_counter() - begin
    peak = peak_bytes()
    parameters = get_model_info(models.policy).parameters
    passes = (
        4 * run.sequence_tokens + run.prompt_tokens + run.tokens_generated
    )  # old, reference, value, reward; sampling
    trained = 2 * config.epochs * run.sequence_tokens
    _save(models.policy, prompts, folder / "model")
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "flops": parameters * (FORWARD * passes + TRAINED * trained),
        "tokens": run.sequence_tokens * config.epochs,
        "steps": run.steps,
        "updates": len(run.metrics),
        "replies": len(run.metrics) * count * config.replies_per_prompt,
        "metrics": run.metrics,
        "quality": {"judged": work.judged(models.policy.eval(), prompts)},
    }


def _whole(prompts: PromptFormat, context: Context, text: str) -> list[int]:
    reply = prompts.encode_reply(text)
    return [*prompts.encode_prompt(context, reserve=len(reply)), *reply]


def _load(folder: Path | str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def _save(model: Any, prompts: PromptFormat, folder: Path) -> None:
    model.save_pretrained(folder)
    prompts.tokenizer.save_pretrained(folder)
