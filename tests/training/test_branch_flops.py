"""Operations of reward model and PPO: what PyTorch's own counter finds in the trainers' passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from personatune.costs.flops import BranchWork, RowSizes, ppo_flops
from personatune.costs.meter import StageMeter
from personatune.dialogue import PreferencePair
from personatune.model.branches import SplitModel
from personatune.model.work import branch_work
from personatune.settings import BranchConfig, PPOConfig, RewardConfig
from personatune.training.ppo import PPOTrainer
from personatune.training.reward import BRANCH, RewardModel, RewardModelTrainer
from personatune.training.rollouts import POLICY

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

LAYERS, TOP = 6, 4
BRANCHES = BranchConfig(layers=TOP, rank=4, alpha=8)


def counting() -> FlopCounterMode:
    """PyTorch's counter, told of the product in place by which the fused LoRA layers add to a result."""

    def product(_sum: torch.Size, left: torch.Size, right: torch.Size, **_options: object) -> int:
        return 2 * left[0] * left[1] * right[1]

    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: product})


def without_attention(work: BranchWork) -> BranchWork:
    """Return the work without attention: PyTorch's counter knows neither the causal half nor the CPU's kernel."""
    return replace(work, whole=replace(work.whole, attention_width=0))


@pytest.fixture
def make_trainer(tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path) -> Callable[..., PPOTrainer]:
    def make(critic_layers: int | None = None, **settings: Any) -> PPOTrainer:
        branch = BRANCHES.model_copy(update={"critic_layers": critic_layers})
        split = SplitModel(tiny.model(layers=LAYERS, hidden=64, spread=0.1), branch)
        prompts = tiny.prompts()
        fixed = {"updates": 1, "prompts_per_update": 1, "replies_per_prompt": 4, "epochs": 2, "max_new_tokens": 6}
        config, reward = PPOConfig(**{**fixed, **settings}), RewardModel(split, prompts)
        return PPOTrainer(split, prompts, reward, dialogues.contexts(1), config, tmp_path, judge=lambda: 0.5)

    return make


@pytest.fixture
def trainer(make_trainer: Callable[..., PPOTrainer]) -> PPOTrainer:
    return make_trainer()


@pytest.mark.parametrize("critic_layers", [None, TOP - 1])
def test_an_update_of_ppo_is_what_pytorch_counts_pass_by_pass(
    make_trainer: Callable[..., PPOTrainer], critic_layers: int | None
) -> None:
    trainer = make_trainer(critic_layers=critic_layers)
    step, work = trainer.step, without_attention(branch_work(trainer.split, POLICY))
    assert trainer.critic_work is not None
    critic = without_attention(trainer.critic_work)
    experience = step.collect(trainer.contexts, 0)
    pieces = experience.rollouts.trunk.pieces
    sizes, drawn = RowSizes.of(piece.sizes for piece in pieces), int(experience.rollouts.mask.sum())
    assert work.adapters == sum(weight.numel() for weight in trainer.split.parameters(POLICY))
    with counting() as trunk, torch.no_grad():
        trainer.split.trunk(experience.rollouts.trunk.batch(range(4)).rows)
    assert work.trunk(sizes) == pytest.approx(trunk.get_total_flops(), rel=0.02)
    with counting() as reading:
        step._read(experience.rollouts)
    assert (critic.adapters == work.adapters) == (critic_layers is None)
    read = work.forward(sizes, drawn, drawn, adapted=False) + critic.forward(sizes, drawn, 0, adapted=True)
    read += work.forward(sizes, 4, 0, adapted=True)
    assert read == pytest.approx(reading.get_total_flops(), rel=0.02)
    with counting() as learning:
        step.improve(experience, 0)
    learned = 2 * (work.training(sizes, drawn, drawn) + critic.training(sizes, drawn, 0))
    # the trunk's output gets no gradient: a few products fewer than counted
    assert learned == pytest.approx(learning.get_total_flops(), rel=0.05)
    whole = ppo_flops(work, critic, [piece.sizes for piece in pieces], epochs=2)
    prompt, replies = pieces[0].sizes
    sampled = work.sampling([prompt], [(prompt, reply) for reply in replies])
    assert whole == pytest.approx(sampled + work.trunk(sizes) + read + learned)
    without = ppo_flops(work, None, [piece.sizes for piece in pieces], epochs=2)
    values = critic.forward(sizes, drawn, 0, adapted=True) + 2 * critic.training(sizes, drawn, 0)
    assert without == pytest.approx(whole - values)
    assert make_trainer(advantages="rloo").critic_work is None


def test_sampling_is_a_forward_pass_over_the_prompt_once_and_what_was_said(trainer: PPOTrainer) -> None:
    work = branch_work(trainer.split, POLICY)
    assert work.sampling([30], [(30, 8)]) == pytest.approx(work.whole.forward([37], 8))
    twice, shared = work.sampling([30, 30], [(30, 8), (30, 8)]), work.sampling([30], [(30, 8), (30, 8)])
    assert twice - shared == pytest.approx(work.whole.forward([30], 0))


def test_replies_see_their_prompt_and_themselves() -> None:
    assert RowSizes.of([(10, [3])]) == RowSizes(13, 13.0**2)
    assert RowSizes.of([(10, [3, 4]), (5, [])]) == RowSizes(22, 10**2 + 2 * 10 * 7 + 3**2 + 4**2 + 5**2)


def test_both_stages_report_operations(
    trainer: PPOTrainer, tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    trainer.meter = StageMeter()
    trainer.train()
    assert trainer.meter.flops > 0
    assert trainer.meter.tokens_trained > 0
    split, meter = SplitModel(tiny.model(layers=LAYERS, hidden=64), BRANCHES), StageMeter()
    pairs = [
        PreferencePair(context, "I like my two dogs.", "No.", "persona_swap", f"{number}")
        for number, context in enumerate(dialogues.contexts(4))
    ]
    reward = RewardModel(split, tiny.prompts())
    RewardModelTrainer(reward, RewardConfig(epochs=2, batch_size=2), tmp_path / "reward", meter=meter).train(pairs)
    work = branch_work(split, BRANCH)
    items = [[reward.encode(pair.context, reply) for reply in (pair.chosen, pair.rejected)] for pair in pairs]
    rows = [(len(chosen[0]), [len(chosen[1]), len(rejected[1])]) for chosen, rejected in items]
    sizes = RowSizes.of(rows)
    assert meter.flops == pytest.approx(work.trunk(sizes) + 2 * work.training(sizes, 2 * len(pairs), 0))
