"""A script for `accelerate launch` (or plain Python): trains tiny models and writes what each process came to.

``python train_together.py FOLDER [sft] [reward] [dpo] [ppo] [stop]``; process r writes ``FOLDER/process-r.json``
(curves, and the share of the frozen layers' weights that it holds) and ``FOLDER/process-r.safetensors`` (what was
trained). With "stop", SIGINT reaches the last process alone after its second step.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.conftest import HandMadeDialogues, TinyModels

from personatune.dialogue import Context, Episode, PreferencePair
from personatune.model.branches import SplitModel
from personatune.settings import BranchConfig, DPOConfig, LoraConfig, PPOConfig, RewardConfig, SFTConfig
from personatune.storage import write_json
from personatune.training.distributed import join_processes
from personatune.training.dpo import DPOTrainer
from personatune.training.ppo import PPOTrainer
from personatune.training.reward import BRANCH, RewardModel, RewardModelTrainer
from personatune.training.rollouts import CRITIC, POLICY
from personatune.training.sft import SFTTrainer

Trained = tuple[Any, dict[str, Tensor]]

BRANCHES = BranchConfig(layers=2, critic_layers=1, rank=4, alpha=16)
SFT = SFTConfig(learning_rate=1e-2, batch_size=4, epochs=2, evaluations=2, samples=1, validation_dialogues=5)
REWARD = RewardConfig(learning_rate=1e-2, epochs=2, batch_size=4)
DPO = DPOConfig(learning_rate=5e-3, epochs=2, batch_size=4, evaluations=2)
PPO = PPOConfig(
    updates=3, prompts_per_update=5, replies_per_prompt=2, epochs=2, minibatch_size=4, policy_learning_rate=5e-3,
    critic_learning_rate=5e-3, max_new_tokens=8, judge_every=2, turns_per_episode=2, turn_credit="discounted",
    reward_terms={"length": 0.5},
)  # fmt: skip


class Curve:
    """A tracker that keeps numbers (times excepted), and presses Ctrl-C in one process when a step is logged."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.rows: list[dict[str, float]] = []
        self.stop_at = stop_at

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        figures = {name: value for name, value in metrics.items() if name != "tokens_per_second"}
        self.rows.append({"step": step, **figures})
        if step == self.stop_at and len(metrics) > 1:
            os.kill(os.getpid(), signal.SIGINT)

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None: ...

    def close(self) -> None: ...


def sft(tiny: TinyModels, folder: Path, curve: Curve) -> Trained:
    # 11 dialogues in batches of 4: the last batch of an epoch is uneven
    train, validation = HandMadeDialogues.perspectives(11, seed=1), HandMadeDialogues.perspectives(5, seed=2)
    base, lora = tiny.model(layers=2, spread=0.05), LoraConfig(rank=8, alpha=16)
    trainer = SFTTrainer(base, tiny.prompts(), train, validation, SFT, lora, folder, open_tracker=lambda _: curve)
    trainer.train()
    return base, {name: weight.data for name, weight in trainer.model.named_parameters() if ".lora_" in name}


def preferences(count: int, seed: int) -> list[PreferencePair]:
    return [
        PreferencePair(context, f"I love dogs, {number} of them.", f"My {number} cats.", "generic", "made")
        for number, context in enumerate(HandMadeDialogues.contexts(count, seed))
    ]


def reward(tiny: TinyModels, folder: Path, curve: Curve) -> Trained:
    model = RewardModel(SplitModel(tiny.model(layers=3, spread=0.1), BRANCHES), tiny.prompts())
    trainer = RewardModelTrainer(model, REWARD, folder, open_tracker=lambda _: curve)
    trainer.train(preferences(9, seed=1))
    report = trainer.evaluate(preferences(5, seed=2), 100)
    curve.log({"score_mean": report["score_mean"], "score_scale": report["score_scale"]}, 100)
    return model.split.backbone, model.split.branch_tensors(BRANCH)


def dpo(tiny: TinyModels, folder: Path, curve: Curve) -> Trained:
    split = SplitModel(tiny.model(layers=3, spread=0.1), BRANCHES)
    trainer = DPOTrainer(split, tiny.prompts(), DPO, folder, open_tracker=lambda _: curve)
    trainer.train(preferences(9, seed=1), preferences(5, seed=2))
    return split.backbone, split.branch_tensors(POLICY)


def ppo(tiny: TinyModels, folder: Path, curve: Curve) -> Trained:
    split = SplitModel(tiny.model(layers=3, spread=0.15), BRANCHES)
    model = RewardModel(split, tiny.prompts())
    with torch.no_grad():  # a head with an opinion, as training would leave
        split.heads[BRANCH].weight.copy_(torch.randn(1, 32, generator=torch.Generator().manual_seed(5)))
    alone = HandMadeDialogues.contexts(7, seed=1)  # single replies, and conversations of two
    contexts: list[Context | Episode] = [
        *alone[:3],
        *(Episode(context, ("And where is home for you?",)) for context in alone[3:]),
    ]
    options: dict[str, Any] = {"judge": lambda: 0.5, "open_tracker": lambda _: curve}
    trainer = PPOTrainer(split, tiny.prompts(), model, contexts, PPO, folder, **options)
    trainer.train()
    branches = {branch: split.branch_tensors(branch) for branch in (POLICY, CRITIC)}
    return split.backbone, {
        f"{branch}.{name}": tensor for branch, tensors in branches.items() for name, tensor in tensors.items()
    }


def held(model: Any) -> float:
    """Return the share of the frozen layers' numbers that this process holds."""
    frozen = [weight for name, weight in model.get_decoder().layers.named_parameters() if ".lora_" not in name]
    local = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in frozen]
    return sum(weight.numel() for weight in local) / sum(weight.numel() for weight in frozen)


def main(folder: Path, wanted: Sequence[str]) -> None:
    processes = join_processes()
    tiny = TinyModels()
    stop_at = 2 if "stop" in wanted and processes.rank == processes.count - 1 else None
    found: dict[str, Any] = {"curves": {}, "held": {}}
    weights: dict[str, Tensor] = {}
    for stage in (sft, reward, dpo, ppo):
        name = stage.__name__
        if name in wanted:
            curve = Curve(stop_at)
            found["curves"][name] = curve.rows
            with suppress(KeyboardInterrupt):
                model, trained = stage(tiny, folder / name, curve)
                found["held"][name] = held(model)
                weights |= {f"{name}.{key}": tensor.detach().clone().contiguous() for key, tensor in trained.items()}
    write_json(folder / f"process-{processes.rank}.json", found)
    save_file(weights, folder / f"process-{processes.rank}.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2:])
