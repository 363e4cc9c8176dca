"""Our side of the paired benchmarks: the only place here that puts personatune's trainers together.

    python sides/ours.py {ppo,reward,sft} WORK.json

It takes turns as the peer does (see `sides.turns`) on the same work file.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from personatune.costs.meter import StageMeter
from personatune.dialogue import Context, Perspective, PreferencePair
from personatune.model.backbone import load_base_model, load_tokenizer
from personatune.model.branches import SplitModel
from personatune.model.prompts import PromptFormat, prompt_format
from personatune.settings import BranchConfig, LoraConfig, PPOConfig, RewardConfig, SFTConfig
from personatune.training.ppo import PPOTrainer
from personatune.training.reward import BRANCH, RewardModel, RewardModelTrainer
from personatune.training.rl_math import bradley_terry_loss
from personatune.training.sft import SFTTrainer, _schedule
from personatune.training.tracking import SilentTracker, Tracker
from sides.steps import StepCount
from sides.turns import Turns, peak_bytes, say, versions

NEVER = -1  # a token no model has


def load_prompts(work: Mapping[str, Any]) -> PromptFormat:
    """Return the prompt form that every side's tokens come from."""
    return prompt_format(load_tokenizer(work["model"]), "auto", work["max_length"])


class _Endless:
    """A prompt form whose replies never stop before their full length; everything else is the form's own."""

    stop_ids = (NEVER,)

    def __init__(self, prompts: PromptFormat) -> None:
        self._prompts = prompts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prompts, name)


class _EndOfTurn(SilentTracker):
    """Ends a turn every ``stride`` steps of a trainer that logs each step."""

    def __init__(self, turns: Turns, stride: int, meter: StageMeter) -> None:
        self.turns = turns
        self.stride = stride
        self.meter = meter
        self.steps = StepCount()
        self.losses: list[float] = []
        self._trained = 0
        self._generated = 0

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        if "judge" in metrics or "held_out_loss" in metrics:
            return
        self.losses.append(metrics.get("train_loss", metrics.get("policy_loss", 0.0)))
        if step % self.stride:
            return
        self.turns.done(
            optimiser_steps=self.steps.take(),
            tokens_trained=self.meter.tokens_trained - self._trained,
            tokens=self.meter.tokens_generated - self._generated,
            losses=self.losses,
        )
        self.losses = []
        self._trained, self._generated = self.meter.tokens_trained, self.meter.tokens_generated


def ppo(work: dict[str, Any]) -> None:
    """Run one PPO update a turn."""
    prompts: Any = _Endless(load_prompts(work))
    split = SplitModel(load_base_model(work["model"]), _branch(work))
    contexts = [Context.from_json(row) for row in work["contexts"]]
    config = PPOConfig(
        updates=work["rounds"],
        prompts_per_update=len(contexts),
        replies_per_prompt=work["replies_per_prompt"],
        epochs=work["epochs"],
        minibatch_size=len(contexts) * work["replies_per_prompt"],
        policy_learning_rate=work["learning_rate"],
        critic_learning_rate=work["learning_rate"],
        kl_budget=1e9,  # the peer has none
        max_new_tokens=work["reply_tokens"],
        judge_every=work["rounds"] + 1,
    )
    meter = StageMeter()
    turn = _EndOfTurn(Turns(work["rounds"]), 1, meter)
    reward = RewardModel(split, prompts)
    with TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            split,
            prompts,
            reward,
            contexts,
            config,
            Path(folder),
            judge=lambda: 0.0,
            open_tracker=_always(turn),
            meter=meter,
        )
        say(ready=True, prompts=[prompts.encode_prompt(context, work["reply_tokens"]) for context in contexts])
        turn.turns.begin()
        trainer.train()
    _goodbye()


def reward(work: dict[str, Any]) -> None:
    """Train the reward model once a turn, all epochs; the first turn warms up on one batch."""
    prompts = load_prompts(work)
    pairs = [PreferencePair.from_json(row) for row in work["pairs"]]
    model = RewardModel(SplitModel(load_base_model(work["model"]), _branch(work)), prompts)
    say(ready=True, loss=_reward_loss(model, pairs[: work["batch_size"]], work["head"]))
    turns, steps = Turns(work["rounds"]), StepCount()
    turns.begin()
    for number in range(work["rounds"]):
        chosen = pairs if number else pairs[: work["batch_size"]]
        config = RewardConfig(
            learning_rate=work["learning_rate"],
            epochs=work["epochs"],
            batch_size=work["batch_size"],
        )
        with TemporaryDirectory() as folder:
            RewardModelTrainer(model, config, Path(folder)).train(chosen)
            turns.done(
                optimiser_steps=steps.take(),
                pairs=len(chosen) * work["epochs"],
                tokens_trained=pair_tokens(prompts, chosen) * work["epochs"],
            )
    _goodbye()


def _reward_loss(model: RewardModel, pairs: Sequence[PreferencePair], weights: Sequence[float]) -> float:
    """Return the Bradley-Terry loss of a batch under a given head, and put the head back."""
    head = model.split.heads[BRANCH].weight
    before = head.detach().clone()
    contexts = [pair.context for pair in pairs]
    with torch.no_grad():
        head.copy_(torch.tensor(weights)[None])
        chosen = torch.tensor(model.score(contexts, [pair.chosen for pair in pairs]))
        rejected = torch.tensor(model.score(contexts, [pair.rejected for pair in pairs]))
        head.copy_(before)
        return float(bradley_terry_loss(chosen, rejected))


def pair_tokens(prompts: PromptFormat, pairs: Sequence[PreferencePair]) -> int:
    """Return the tokens of both replies of all pairs, each with its context, as a plain trainer would read them."""
    replies = [(pair.context, prompts.encode_reply(text)) for pair in pairs for text in (pair.chosen, pair.rejected)]
    return sum(len(prompts.encode_prompt(context, len(reply))) + len(reply) for context, reply in replies)


def sft(work: dict[str, Any]) -> None:
    """Take ``steps_per_turn`` SFT steps a turn."""
    meter = StageMeter()
    turn = _EndOfTurn(Turns(work["rounds"]), work["steps_per_turn"], meter)
    with TemporaryDirectory() as folder:
        trainer = sft_trainer(work, Path(folder), turn, meter)
        say(ready=True)
        turn.turns.begin()
        trainer.train()
    _goodbye()


def sft_trainer(
    work: Mapping[str, Any], folder: Path, tracker: Tracker | None = None, meter: StageMeter | None = None
) -> SFTTrainer:
    """Return the SFT trainer of the work: as many steps as its turns have, every own turn weighing the same."""
    dialogues = [Perspective.from_json(row) for row in work["dialogues"]]
    config = SFTConfig(
        learning_rate=work["learning_rate"],
        batch_size=work["batch_size"],
        epochs=1,
        max_steps=work["rounds"] * work["steps_per_turn"],
        persona_turn_weight=1.0,
        other_turn_weight=1.0,
        evaluations=1,
        samples=0,
        validation_dialogues=1,
        **work["sft"],
    )
    return SFTTrainer(
        load_base_model(work["model"]),
        load_prompts(work),
        dialogues,
        dialogues[:1],
        config,
        LoraConfig(rank=work["rank"], alpha=work["alpha"]),
        folder,
        open_tracker=_always(tracker or SilentTracker()),
        meter=meter,
    )


def sft_plan(work: Mapping[str, Any], adapter: Path) -> dict[str, Any]:
    """Return what the peer needs to take the very same steps, and save the untrained adapter both begin with.

    The plan has ``batches`` (token ids and loss mask of each dialogue of each step) and ``rates`` (of each step).
    """
    with TemporaryDirectory() as folder:
        trainer = sft_trainer(work, Path(folder))
        steps = range(trainer.total_steps)
        batches = [
            [{"input_ids": row.input_ids, "loss": [int(weight > 0) for weight in row.loss_weights]} for row in batch]
            for batch in map(trainer._batch, steps)
        ]
        warm_up = trainer.config.warmup_share
        rates = [work["learning_rate"] * _schedule(step, trainer.total_steps, warm_up) for step in steps]
        assert trainer.wrapper is not None
        trainer.wrapper.save(adapter)
    return {"batches": batches, "rates": rates}


def random_head(width: int, seed: int = 0) -> list[float]:
    """Return a head's weights that tell replies apart, for comparing losses."""
    draw = random.Random(seed)
    return [draw.gauss(0.0, 0.05) for _ in range(width)]


def _branch(work: Mapping[str, Any]) -> BranchConfig:
    critic = work.get("critic_layers")
    return BranchConfig(layers=work["layers"], critic_layers=critic, rank=work["rank"], alpha=work["alpha"])


def _always(tracker: Tracker) -> Any:
    return lambda _step: tracker


def _goodbye() -> None:
    say(peak_bytes=peak_bytes(), versions=versions("personatune"))


if __name__ == "__main__":
    {"ppo": ppo, "reward": reward, "sft": sft}[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
