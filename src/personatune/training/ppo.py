"""PPO for characters: sample, score, keep near the reference, improve (Schulman et al. 2017, arXiv 1707.06347).

Policy, critic and reward are branches on one backbone; the reference is the backbone itself. One update:

1. sample replies to persona contexts with the policy,
2. score them with the reward model, penalise what was cut off,
3. take the per-token KL to the reference from the reward (adaptive weight),
4. estimate advantages (GAE) and whiten them over the whole batch,
5. several passes of clipped policy and value steps over the same trunk outputs,
6. move the KL weight; stop when the KL budget is spent.

An independent judge, which the reward model never saw, looks on every few updates and decides which
checkpoint is the best.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from personatune.config import PPOConfig
from personatune.costs.meter import StageMeter
from personatune.dialogue import Context
from personatune.errors import UserError
from personatune.judging.keywords import copies_trait
from personatune.model import prompts as prompt_forms
from personatune.model.branches import SplitModel
from personatune.model.generation import Sampling
from personatune.model.prompts import PromptFormat
from personatune.progress import Progress, SilentProgress
from personatune.training import rl_math
from personatune.training.checkpoints import CheckpointManager, optimizer_tensors, restore_optimizer
from personatune.training.interrupts import StopRequest
from personatune.training.reward import RewardModel
from personatune.training.rollouts import (
    CRITIC,
    POLICY,
    Rollouts,
    branch_logits,
    branch_logprobs,
    branch_values,
    sample_rollouts,
)
from personatune.training.tracking import SilentTracker, Tracker
from personatune.words import words

SELF_CHECK_TOLERANCE = 1e-2  # nats a token; sampler and trainer batch differently, so float noise is allowed for


@dataclass(frozen=True)
class Experience:
    """Rollouts with everything the update needs; all B × R but ``scores`` (B)."""

    rollouts: Rollouts
    scores: torch.Tensor
    ref_logprobs: torch.Tensor
    values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor


@dataclass
class PPOResult:
    """What the run did: one row of metrics an update, the judge's looks, and why it ended."""

    metrics: list[dict[str, float]] = field(default_factory=list)
    judged: list[dict[str, float]] = field(default_factory=list)
    best_update: int = 0
    stopped: str | None = None
    warnings: list[str] = field(default_factory=list)
    self_checks: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        first, last = (self.metrics[0], self.metrics[-1]) if self.metrics else ({}, {})
        return {
            **asdict(self),
            "updates": len(self.metrics),
            "kl_start": first.get("kl"),
            "kl_end": last.get("kl"),
            "kl_max": max((row["kl"] for row in self.metrics), default=None),
        }


class PPOTrainer:
    """Optimises the policy branch against the reward model; `train` runs or resumes it.

    Args:
        split: the backbone with the trained reward branch; policy and critic are added here.
        contexts: what to answer; drawn with replacement of whole shuffled passes.
        judge: returns the independent judge's figure (0 to 1) for the policy as it is now.
        open_tracker: given the update it resumes at, returns where figures go.
    """

    parse_prompt = staticmethod(prompt_forms.parse_prompt)
    compute_rewards = staticmethod(rl_math.compute_rewards)

    def __init__(
        self,
        split: SplitModel,
        prompts: PromptFormat,
        reward: RewardModel,
        contexts: Sequence[Context],
        config: PPOConfig,
        directory: Path,
        *,
        judge: Callable[[], float],
        seed: int = 0,
        open_tracker: Callable[[int], Tracker] = lambda _step: SilentTracker(),
        progress: Progress | None = None,
        meter: StageMeter | None = None,
    ) -> None:
        if not contexts:
            raise UserError("PPO needs contexts to answer, found none; run the stage preferences first")
        self.split = split
        self.prompts = prompts
        self.reward = reward
        self.contexts = list(contexts)
        self.config = config
        self.judge = judge
        self.seed = seed
        self.open_tracker = open_tracker
        self.progress = progress or SilentProgress()
        self.meter = meter
        split.add_branch(POLICY, head=False, seed=seed + 1)
        split.add_branch(CRITIC, head=True, seed=seed + 2)
        self.policy_parameters: list[nn.Parameter] = split.parameters(POLICY)
        self.critic_parameters: list[nn.Parameter] = split.parameters(CRITIC)
        self.policy_optimizer = _adam(self.policy_parameters, config.policy_learning_rate)
        self.critic_optimizer = _adam(self.critic_parameters, config.critic_learning_rate)
        self.kl = rl_math.AdaptiveKL(config.kl_coef, config.kl_target, config.kl_horizon)
        self.sampling = Sampling(config.max_new_tokens, temperature=1.0)  # unaltered: see `Rollouts`
        self.checkpoints = CheckpointManager(directory / "checkpoints")

    def train(self) -> PPOResult:
        """Run all updates, or until the KL budget is spent; the policy branch ends at the best judged checkpoint.

        Raises:
            KeyboardInterrupt: Ctrl-C; the update under way was finished and saved.
            RuntimeError: a step-0 self-check failed (a defect of the program or an unsupported model, not of the data).
        """
        result = PPOResult()
        update = self._resume(result)
        tracker = self.open_tracker(update)
        with StopRequest() as stop, self.progress.task("PPO", self.config.updates) as task:
            task.advance(update)
            if not result.judged:
                self._judge(result, 0, tracker)
            while update < self.config.updates and result.stopped is None:
                experience = self._collect(update)
                if update == 0:
                    result.self_checks = self._self_check(experience)
                metrics = self._improve(experience, update)
                update += 1
                result.metrics.append(metrics)
                tracker.log(metrics, update)
                tracker.samples("rollouts", _rollout_samples(experience), update)
                task.advance(1, reward=metrics["score"], kl=metrics["kl"])
                if metrics["kl"] > self.config.kl_budget:
                    result.stopped = f"KL {metrics['kl']:.2f} nats a reply at update {update} spent the budget"
                if update % self.config.judge_every == 0 or update == self.config.updates or result.stopped:
                    self._judge(result, update, tracker)
                if stop.requested or result.judged[-1]["update"] == update:
                    self._save(result, update)
                if stop.requested:
                    tracker.close()
                    raise KeyboardInterrupt
        tracker.close()
        self._restore_best(result)
        return result

    def _collect(self, update: int) -> Experience:
        """Steps 1 to 4: sample, score, penalise, estimate advantages."""
        config = self.config
        rollouts = sample_rollouts(
            self.split,
            self.prompts,
            self._contexts_of(update),
            replies_per_prompt=config.replies_per_prompt,
            sampling=self.sampling,
            generator=torch.Generator().manual_seed(hash((self.seed, update)) & 0x7FFFFFFF),
        )
        ref_logprobs = branch_logprobs(self.split, rollouts, None)
        with torch.no_grad():
            raw = self.reward.score_trunk(rollouts.trunk)
            values = branch_values(self.split, rollouts)
        cut_off = (~rollouts.finished).to(raw)
        scores = self.reward.normalise(raw) - config.truncation_penalty * cut_off
        rewards = rl_math.compute_rewards(scores, rollouts.logprobs, ref_logprobs, rollouts.mask, self.kl.coef)
        advantages, returns = rl_math.gae(
            rewards, values, rollouts.mask, gamma=config.gamma, gae_lambda=config.gae_lambda
        )
        return Experience(rollouts, scores, ref_logprobs, values, rl_math.whiten(advantages, rollouts.mask), returns)

    def _contexts_of(self, update: int) -> list[Context]:
        """Return an update's contexts: passes over all of them in seeded order, so a resumed run sees the same ones."""
        count = self.config.prompts_per_update
        chosen = []
        for position in range(update * count, (update + 1) * count):
            turn, place = divmod(position, len(self.contexts))
            order = list(range(len(self.contexts)))
            random.Random(f"{self.seed}/{turn}").shuffle(order)
            chosen.append(self.contexts[order[place]])
        return chosen

    def _improve(self, experience: Experience, update: int) -> dict[str, float]:
        """Steps 5 and 6: optimise on the batch, then move the KL weight; returns the update's metrics."""
        config = self.config
        rollouts = experience.rollouts
        sums = {"policy_loss": 0.0, "value_loss": 0.0, "clip_fraction": 0.0, "entropy": 0.0, "ratio": 0.0}
        steps = 0
        for epoch in range(config.epochs):
            generator = torch.Generator().manual_seed(hash((self.seed, update, epoch)) & 0x7FFFFFFF)
            order = torch.randperm(len(rollouts), generator=generator)
            for index in order.split(config.minibatch_size):
                for name, value in self._minibatch(experience, index).items():
                    sums[name] += value
                steps += 1
        if self.meter:
            tokens = int(rollouts.trunk.attention_mask.sum())
            self.meter.add(tokens_trained=tokens * config.epochs, tokens_generated=int(rollouts.mask.sum()))
        log_ratio = (rollouts.logprobs - experience.ref_logprobs) * rollouts.mask
        kl = float(log_ratio.sum(dim=1).mean())
        self.kl.update(kl, len(rollouts))
        return {
            **{name: total / steps for name, total in sums.items()},
            "score": float(experience.scores.mean()),
            "kl": kl,
            "kl_per_token": float(rl_math.masked_mean(log_ratio, rollouts.mask)),
            "kl_coef": self.kl.coef,
            "explained_variance": rl_math.explained_variance(experience.values, experience.returns, rollouts.mask),
            "reply_tokens": float(rollouts.mask.sum(dim=1).float().mean()),
            "finished": float(rollouts.finished.float().mean()),
            **_text_metrics(rollouts),
        }

    def _minibatch(self, experience: Experience, index: torch.Tensor) -> dict[str, float]:
        config = self.config
        rollouts = experience.rollouts.rows(index)
        mask = rollouts.mask
        logits = branch_logits(self.split, rollouts, POLICY)
        policy = rl_math.policy_loss(
            rl_math.token_logprobs(logits, rollouts.tokens) * mask,
            rollouts.logprobs,
            experience.advantages[index],
            mask,
            config.clip_range,
        )
        entropy = float(rl_math.masked_mean(rl_math.token_entropy(logits.detach()), mask))
        policy.loss.backward()
        _apply(self.policy_optimizer, self.policy_parameters, config.max_grad_norm)
        value_loss = rl_math.value_loss(
            branch_values(self.split, rollouts),
            experience.values[index],
            experience.returns[index],
            mask,
            config.value_clip_range,
        )
        value_loss.backward()
        _apply(self.critic_optimizer, self.critic_parameters, config.max_grad_norm)
        return {
            "policy_loss": float(policy.loss.detach()),
            "value_loss": float(value_loss.detach()),
            "clip_fraction": policy.clip_fraction,
            "entropy": entropy,
            "ratio": policy.ratio_mean,
        }

    def _self_check(self, experience: Experience) -> dict[str, float]:
        """Before the first step: KL 0, ratio 1, and masks that cover the replies and nothing else."""
        rollouts = experience.rollouts
        policy = branch_logprobs(self.split, rollouts, POLICY)
        kl = float((policy - experience.ref_logprobs).abs().max())
        ratio = float((policy - rollouts.logprobs).abs().max())
        checks = {"kl_of_first_batch": kl, "sampler_against_trainer": ratio}
        covered = [
            row[start + 1 : start + 1 + int(own.sum())].tolist() == tokens[own].tolist()
            for row, start, own, tokens in zip(
                rollouts.trunk.input_ids, rollouts.starts.tolist(), rollouts.mask, rollouts.tokens, strict=True
            )
        ]
        if kl > 0 or ratio > SELF_CHECK_TOLERANCE or not all(covered):
            raise RuntimeError(f"PPO's self-check failed before the first step: {checks}, masks right: {all(covered)}")
        return checks

    def _judge(self, result: PPOResult, update: int, tracker: Tracker) -> None:
        figure = self.judge()
        result.judged.append({"update": update, "judge": figure})
        tracker.log({"judge": figure}, update)
        trained = [look for look in result.judged if look["update"] > 0]
        if trained:
            result.best_update = int(max(trained, key=lambda look: (look["judge"], look["update"]))["update"])
        self._compare_with_reward(result, update)

    def _compare_with_reward(self, result: PPOResult, update: int) -> None:
        """Say so when the learned reward rises while the independent judge's figure falls."""
        if len(result.judged) < 2 or len(result.metrics) < 2:
            return
        fallen = result.judged[0]["judge"] - result.judged[-1]["judge"]
        half = max(1, len(result.metrics) // 2)
        risen = _mean(result.metrics[half:], "score") - _mean(result.metrics[:half], "score")
        if fallen > 0.05 and risen > 0:
            result.warnings.append(
                f"update {update}: the learned reward rose by {risen:.2f} while the independent judge fell by "
                f"{100 * fallen:.0f} points"
            )

    def _save(self, result: PPOResult, update: int) -> None:
        policy, policy_groups = optimizer_tensors(self.policy_optimizer)
        critic, critic_groups = optimizer_tensors(self.critic_optimizer)
        tensors = {
            "policy": self.split.branch_tensors(POLICY),
            "critic": self.split.branch_tensors(CRITIC),
            "policy_optimizer": policy,
            "critic_optimizer": critic,
        }
        state = {
            "policy_optimizer": policy_groups,
            "critic_optimizer": critic_groups,
            "kl_coef": self.kl.coef,
            "result": asdict(result),
        }
        best = result.best_update == update
        self.checkpoints.save(update, tensors, state, best=best)

    def _resume(self, result: PPOResult) -> int:
        saved = self.checkpoints.load_last()
        if saved is None:
            return 0
        self.split.restore_branch(POLICY, saved.tensors["policy"])
        self.split.restore_branch(CRITIC, saved.tensors["critic"])
        restore_optimizer(self.policy_optimizer, saved.tensors["policy_optimizer"], saved.state["policy_optimizer"])
        restore_optimizer(self.critic_optimizer, saved.tensors["critic_optimizer"], saved.state["critic_optimizer"])
        self.kl.coef = saved.state["kl_coef"]
        for name, value in saved.state["result"].items():
            setattr(result, name, value)
        return saved.step

    def _restore_best(self, result: PPOResult) -> None:
        best = self.checkpoints.load_best()
        if best is not None:
            self.split.restore_branch(POLICY, best.tensors["policy"])
            result.best_update = best.step


def _adam(parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0, fused=True)


def _apply(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], max_grad_norm: float) -> None:
    nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _text_metrics(rollouts: Rollouts) -> dict[str, float]:
    """Distinct-2 over the batch (×100) and the share of replies that repeat a persona sentence."""
    bigrams = [pair for text in rollouts.texts for pair in zip(words(text), words(text)[1:], strict=False)]
    copies = [
        copies_trait(text, context.persona) for text, context in zip(rollouts.texts, rollouts.contexts, strict=True)
    ]
    distinct = 100 * len(set(bigrams)) / len(bigrams) if bigrams else 0.0
    return {"distinct_2": distinct, "copy_share": sum(copies) / len(copies)}


def _rollout_samples(experience: Experience) -> list[dict[str, str]]:
    rollouts = experience.rollouts
    return [
        {
            "persona": " ".join(rollouts.contexts[row].persona.traits),
            "line": rollouts.contexts[row].history[-1].text,
            "reply": rollouts.texts[row],
            "score": f"{float(experience.scores[row]):.2f}",
        }
        for row in range(min(2, len(rollouts)))
    ]


def _mean(rows: Sequence[dict[str, float]], name: str) -> float:
    return math.fsum(row[name] for row in rows) / len(rows)
