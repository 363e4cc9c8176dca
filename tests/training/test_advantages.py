"""RLOO and GRPO: known answers, and training without a critic on PPO's own rollouts."""

from __future__ import annotations

import math
import os
import signal
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from personatune.errors import UserError
from personatune.model.branches import SplitModel, Trunk
from personatune.settings import BranchConfig, PPOConfig
from personatune.training.advantages import advantages_and_returns, grpo_advantages, kl_in_loss, rloo_advantages
from personatune.training.budget import Budget
from personatune.training.ppo import PPOTrainer
from personatune.training.reward import RewardModel
from personatune.training.rollouts import CRITIC, POLICY

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels


class LikesHalfTheTokens(RewardModel):
    """The share of a reply's tokens that are liked, less that of the others: computed by hand, in place of a branch."""

    def score_trunk(self, trunk: Trunk) -> Tensor:
        liked = self.split.backbone.get_input_embeddings().weight[:, 0] > 0
        replies = trunk.rows.tokens.split(list(trunk.rows.lengths))
        return torch.stack([2 * liked[reply].float().mean() - 1 for reply in replies])


class CtrlC:
    """A tracker that presses Ctrl-C when an update is logged."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        if step == self.at and "kl" in metrics:
            os.kill(os.getpid(), signal.SIGINT)

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None: ...

    def close(self) -> None: ...


def settings(method: str, **changes: Any) -> PPOConfig:
    defaults: dict[str, Any] = {
        "advantages": method, "updates": 4, "prompts_per_update": 4, "replies_per_prompt": 3, "epochs": 2,
        "minibatch_size": 6, "policy_learning_rate": 5e-3, "max_new_tokens": 6, "judge_every": 2,
    }  # fmt: skip
    return PPOConfig(**{**defaults, **changes})


def trainer(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], folder: Path, config: PPOConfig, **options: Any
) -> PPOTrainer:
    split = SplitModel(tiny.model(layers=2, spread=0.15), BranchConfig(layers=1, rank=4, alpha=16))
    reward = LikesHalfTheTokens(split, tiny.prompts())
    contexts = dialogues.contexts(6, seed=1)
    return PPOTrainer(split, tiny.prompts(), reward, contexts, config, folder, judge=lambda: 0.5, **options)


def test_rloo_takes_off_the_mean_of_the_others() -> None:
    found = rloo_advantages(torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]]))
    assert found.tolist() == [[-3.0, -1.5, 4.5], [0.0, 0.0, 0.0]]  # others' means: 4, 3.5, 1.5
    pair = rloo_advantages(torch.tensor([[1.0, 4.0]]))
    assert pair.tolist() == [[-3.0, 3.0]]


def test_grpo_standardises_within_a_prompt_and_learns_nothing_from_equal_scores() -> None:
    found = grpo_advantages(torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]]))
    std = statistics.stdev([1.0, 2.0, 6.0])
    assert found[0].tolist() == pytest.approx([(score - 3) / (std + 1e-4) for score in (1.0, 2.0, 6.0)])
    assert found[1].tolist() == [0.0, 0.0, 0.0]


def test_the_kl_of_the_loss_is_k3_never_negative_and_pulls_towards_the_reference() -> None:
    logprobs = torch.tensor([[-1.0, -2.0, -9.0]], requires_grad=True)
    reference, mask = torch.tensor([[-1.5, -1.0, 0.0]]), torch.tensor([[True, True, False]])
    found = kl_in_loss(logprobs, reference, mask)
    by_hand = [math.exp(-0.5) + 0.5 - 1, math.exp(1.0) - 1.0 - 1]
    assert float(found.detach()) == pytest.approx(statistics.fmean(by_hand))
    found.backward()
    assert logprobs.grad is not None
    # Minimising lowers the token that became likelier, raises the one that became less likely, ignores the padding.
    assert logprobs.grad[0].tolist() == pytest.approx([(1 - math.exp(-0.5)) / 2, (1 - math.exp(1.0)) / 2, 0.0])
    assert float(kl_in_loss(reference, reference, mask)) == 0.0


def test_a_replys_tokens_share_one_advantage_and_only_rloo_has_the_kl_in_it() -> None:
    scores = torch.tensor([1.0, 3.0])
    mask = torch.tensor([[True, True], [True, False]])
    logprobs, reference = torch.tensor([[-1.0, -1.0], [-2.0, 0.0]]), torch.tensor([[-2.0, -1.0], [-1.0, -7.0]])
    zeros = torch.zeros(2, 2)

    def found(method: str) -> tuple[Tensor, Tensor]:
        config = settings(method, replies_per_prompt=2)
        return advantages_and_returns(config, scores, zeros, logprobs, reference, mask, kl_coef=0.5)

    advantages, returns = found("rloo")  # KL of the replies: 1 and -1, so their returns are 0.5 and 3.5
    assert returns.tolist() == [[0.5, 0.5], [3.5, 0.0]]
    assert advantages.tolist() == [[-3.0, -3.0], [3.0, 0.0]]
    advantages, returns = found("grpo")
    assert returns.tolist() == [[1.0, 1.0], [3.0, 0.0]]
    assert advantages[0].tolist() == pytest.approx([-1 / math.sqrt(2)] * 2, abs=1e-3)
    assert advantages[1].tolist() == pytest.approx([1 / math.sqrt(2), 0.0], abs=1e-3)


def test_the_first_gradient_of_rloo_is_that_of_reinforce_with_its_baseline(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    """Sum over replies of (return - mean of the others') * grad log p(reply), by plain forward passes."""
    learner = trainer(tiny, dialogues, tmp_path, settings("rloo", truncation_penalty=0.0))
    step = learner.step
    experience = step.collect(learner._contexts_of(0), 0)
    rollouts = experience.rollouts
    step.gradients(experience, list(range(len(rollouts))))
    fast = {name: w.grad.clone() for name, w in learner.split.backbone.named_parameters() if w.grad is not None}
    step.policy_optimizer.zero_grad()
    scores = experience.scores.view(-1, 3)
    loss = torch.zeros(())
    for row in range(len(rollouts)):
        prompt = step.prompts.encode_prompt(rollouts.contexts[row], learner.config.max_new_tokens)
        reply = rollouts.tokens[row, : int(rollouts.mask[row].sum())]
        ids = torch.cat([torch.tensor(prompt), reply])
        with learner.split.active(POLICY):
            logits = learner.split.backbone(input_ids=ids[None]).logits[0, len(prompt) - 1 : -1]
        logprob = torch.log_softmax(logits, dim=-1).gather(1, reply[:, None]).sum()
        own, others = (
            float(scores[row // 3, row % 3]),
            (float(scores[row // 3].sum()) - float(scores[row // 3, row % 3])),
        )
        loss = loss - (own - others / 2) * logprob
    (loss / int(rollouts.mask.sum())).backward()
    plain = {name: w.grad for name, w in learner.split.backbone.named_parameters() if w.grad is not None}
    assert fast.keys() == plain.keys()
    assert max(float(gradient.abs().max()) for gradient in plain.values()) > 1e-4
    for name, gradient in plain.items():
        assert torch.allclose(fast[name], gradient, atol=1e-5), name


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_it_learns_to_say_what_is_rewarded_without_a_critic(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path, method: str
) -> None:
    config = settings(
        method, updates=20, prompts_per_update=8, kl_coef=0.0, kl_budget=500.0, truncation_penalty=0.0,
        policy_learning_rate=1e-2, judge_every=20,
    )  # fmt: skip
    learner = trainer(tiny, dialogues, tmp_path, config)
    result = learner.train()
    scores = [row["score"] for row in result.metrics]
    assert statistics.fmean(scores[-5:]) > statistics.fmean(scores[:2]) + 0.15
    assert CRITIC not in learner.split.heads
    assert not {"value_loss", "explained_variance"} & set(result.metrics[0])
    assert result.self_checks["kl_of_first_batch"] == 0.0


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_an_interrupted_run_arrives_where_an_uninterrupted_one_does(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path, method: str
) -> None:
    whole = trainer(tiny, dialogues, tmp_path / "whole", settings(method))
    expected = whole.train()
    with pytest.raises(KeyboardInterrupt):
        trainer(
            tiny, dialogues, tmp_path / "parts", settings(method), open_tracker=lambda _: CtrlC(3)
        ).train()  # fmt: skip
    resumed = trainer(tiny, dialogues, tmp_path / "parts", settings(method))
    assert resumed.train() == expected
    for name, tensor in whole.split.branch_tensors(POLICY).items():
        assert torch.equal(resumed.split.branch_tensors(POLICY)[name], tensor), name


def test_one_reply_a_prompt_has_nothing_to_be_compared_with(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"ppo\.replies_per_prompt is 1, expected 2 at least"):
        trainer(tiny, dialogues, tmp_path, settings("rloo", replies_per_prompt=1))


def test_the_seconds_it_may_take_end_a_run_that_is_judged_all_the_same(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    config = settings("rloo", updates=10_000, judge_every=10_000, kl_budget=1e9)
    result = trainer(tiny, dialogues, tmp_path, config, budget=Budget(0.5)).train()
    updates = len(result.metrics)
    assert 0 < updates < 10_000
    assert result.stopped == f"its 0 seconds were spent at update {updates}"
    assert result.judged[-1]["update"] == updates
    assert 0.5 <= result.seconds < 30
