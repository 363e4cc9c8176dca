"""One PPO update, from contexts to moved weights (Schulman et al. 2017, arXiv 1707.06347).

1. sample replies to persona contexts with the policy, over one turn or several (`rollouts`),
2. score them with the reward model, add the named terms (`reward_terms`), penalise what was cut off; a reply may be
   paid for the later ones of its conversation too,
3. take the per-token KL to the reference from the reward (adaptive weight),
4. estimate advantages (`advantages`: GAE, whitened over the whole batch; or RLOO or GRPO, which need no critic),
5. several passes of clipped policy and value steps over the same trunk outputs,
6. move the KL weight.

What is known is not computed again: the sampler's log-probabilities are the old ones, the trunk ran once, a prompt is
read once for all its replies, and logits exist on reply tokens only. A critic on fewer layers than the policy begins at
what the reference had there, kept with the trunk's output. A minibatch goes through the layers in batches of
rows of like length whose gradients add up to those of the whole.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from personatune.dialogue import Context, Episode
from personatune.model.branches import SplitModel
from personatune.model.generation import Sampling
from personatune.model.prompts import PromptFormat
from personatune.model.shared_replies import BATCH_TOKENS
from personatune.settings import PPOConfig
from personatune.training import rl_math
from personatune.training.advantages import advantages_and_returns, check_group, kl_in_loss
from personatune.training.distributed import in_turn, join_processes
from personatune.training.divergence import check_losses, require_finite
from personatune.training.reward import RewardModel
from personatune.training.reward_terms import RewardTerms
from personatune.training.rollout_figures import scores_by_turn, text_metrics
from personatune.training.rollouts import (
    CRITIC,
    POLICY,
    Rollouts,
    branch_logprobs,
    branch_values,
    covers,
    place,
    reference_logprobs,
    sample_rollouts,
)

LEAST_COOLED_KL = 0.02  # a weight of 0 would stay 0, however often it is doubled
SELF_CHECK_TOLERANCE = 1e-2  # nats a token; sampler and trainer batch differently, so float noise is allowed for


FIGURES = ("policy_loss", "value_loss", "clip_fraction", "entropy", "ratio")
"""What a step of the optimisers reports, token-weighted means over its replies."""


@dataclass(frozen=True)
class Experience:
    """Rollouts with everything the update needs; all N × R but ``scores`` (N), each reply's own reward without KL.

    Attributes:
        means: of the parts of ``scores``: "learned_score", and "term_…" for each named term, unweighted.
    """

    rollouts: Rollouts
    scores: Tensor
    ref_logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    means: dict[str, float]


class PPOUpdate:
    """The policy and, with GAE, the critic with their optimisers; `update` moves them once.

    Args:
        split: the backbone with the trained reward branch; policy and critic are added here.
        folder: where the trunk's output goes when it outgrows the memory it may take.
        batch_tokens: tokens that go through the layers together; a matter of time and memory, not of the result.
    """

    def __init__(
        self,
        split: SplitModel,
        prompts: PromptFormat,
        reward: RewardModel,
        config: PPOConfig,
        *,
        seed: int = 0,
        folder: Path | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.split = split
        self.prompts = prompts
        self.reward = reward
        self.config = config
        self.seed = seed
        self.folder = folder
        self.batch_tokens = batch_tokens
        split.add_branch(POLICY, head=False, seed=seed + 1)
        self.has_critic = config.advantages == "gae"
        check_group(config)
        if self.has_critic:
            split.add_branch(CRITIC, head=True, seed=seed + 2, layers=split.critic_layers)
        self.critic_below = split.below(CRITIC if self.has_critic else POLICY)
        self.policy_parameters: list[nn.Parameter] = split.parameters(POLICY)
        self.critic_parameters: list[nn.Parameter] = split.parameters(CRITIC) if self.has_critic else []
        self.policy_optimizer = _adam(self.policy_parameters, config.policy_learning_rate)
        self.critic_optimizer = _adam(self.critic_parameters, config.critic_learning_rate) if self.has_critic else None
        self.processes = join_processes()
        self.processes.shard(split.backbone)
        self.terms = RewardTerms(config.reward_terms)
        self.kl = rl_math.AdaptiveKL(config.kl_coef, config.kl_target, config.kl_horizon)
        self.sampling = Sampling(config.max_new_tokens, temperature=1.0)  # unaltered: see `Rollouts`

    def update(self, contexts: Sequence[Context | Episode], number: int) -> tuple[Experience, dict[str, float]]:
        """Do exactly one update, the ``number``-th (it seeds sampling and shuffling); returns its metrics too."""
        experience = self.collect(contexts, number)
        metrics = self.improve(experience, number)
        experience.rollouts.trunk.clear()
        return experience, metrics

    def collect(self, contexts: Sequence[Context | Episode], number: int) -> Experience:
        """Steps 1 to 4: sample, score, penalise, estimate advantages.

        Raises:
            Refused: a log-probability, value or score that is not finite.
        """
        config = self.config
        episodes = [one if isinstance(one, Episode) else Episode(one) for one in contexts]
        with self.processes.whole(self.split.backbone):
            rollouts = sample_rollouts(
                self.split,
                self.prompts,
                [episode.context for episode in episodes],
                replies_per_prompt=config.replies_per_prompt,
                sampling=self.sampling,
                seeds=[hash((self.seed, number, place)) & 0x7FFFFFFF for place in range(len(contexts))],
                folder=self.folder and self.processes.folder(self.folder),
                processes=self.processes,
                lines=[episode.lines[: config.turns_per_episode - 1] for episode in episodes],
            )
            ref_logprobs, values, raw = map(self.processes.summed, self._read(rollouts))
        scores, means = self._scores(rollouts, raw)
        known = {"the policy's logprobs": rollouts.logprobs, "the reference's logprobs": ref_logprobs}
        require_finite({**known, "the critic's values": values, "the scores": scores})
        paid = scores
        if config.turn_credit == "discounted":
            paid = rl_math.turn_returns(scores, rollouts.following, config.turn_discount)
        advantages, returns = advantages_and_returns(
            config, paid, values, rollouts.logprobs, ref_logprobs, rollouts.mask, self.kl.coef
        )
        return Experience(rollouts, scores, ref_logprobs, values, advantages, returns, means)

    def _scores(self, rollouts: Rollouts, raw_N: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return each reply's reward without KL, N: learned, plus named terms, less the penalty; and parts' means."""
        learned = self.reward.normalise(raw_N)
        # Somebody's own function may give each process another number.
        values = self.processes.from_main(lambda: self.terms.values(rollouts.contexts, rollouts.texts))
        scores = learned - self.config.truncation_penalty * (~rollouts.finished).to(learned)
        for name, found in values.items():
            scores = scores + self.terms.weights[name] * torch.tensor(found).to(scores)
        means = {f"term_{name}": math.fsum(found) / len(found) for name, found in values.items()}
        return scores, {"learned_score": float(learned.mean()), **means}

    @torch.no_grad()
    def _read(self, rollouts: Rollouts) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reference's log-probabilities and the critic's values, N × R, and the reward model's scores, N.

        Each process fills in the replies it owns; zeros stand elsewhere.
        """
        ref_logprobs, values = torch.zeros_like(rollouts.logprobs), torch.zeros_like(rollouts.logprobs)
        scores = torch.zeros(len(rollouts), device=self.split.device)
        for numbers in rollouts.trunk.buckets(tokens=self.batch_tokens):
            trunk = rollouts.trunk.batch(numbers)
            logprobs, raised = reference_logprobs(self.split, trunk, self.critic_below)
            place(ref_logprobs, numbers, trunk, logprobs)
            if self.has_critic:
                rollouts.trunk.keep(numbers, raised)
                place(values, numbers, trunk, branch_values(self.split, raised))
            scores[numbers] = self.reward.score_trunk(trunk)
        return ref_logprobs, values, scores

    def improve(self, experience: Experience, number: int) -> dict[str, float]:
        """Steps 5 and 6: optimise on the batch, then move the KL weight; returns the update's metrics."""
        config = self.config
        rollouts = experience.rollouts
        sums: Counter[str] = Counter()
        steps = 0
        for epoch in range(config.epochs):
            generator = torch.Generator().manual_seed(hash((self.seed, number, epoch)) & 0x7FFFFFFF)
            order = _shuffled(len(rollouts), config.replies_per_prompt, generator)
            for numbers in order.split(config.minibatch_size):
                sums.update(self.minibatch(experience, numbers.tolist()))
                steps += 1
        log_ratio = (rollouts.logprobs - experience.ref_logprobs) * rollouts.mask
        kl = float(log_ratio.sum(dim=1).mean())
        self.kl.update(kl, len(rollouts))
        return {
            **{name: total / steps for name, total in sums.items()},
            "score": float(experience.scores.mean()),
            **experience.means,
            **scores_by_turn(experience.scores, rollouts),
            "kl": kl,
            "kl_per_token": float(rl_math.masked_mean(log_ratio, rollouts.mask)),
            "kl_coef": self.kl.coef,
            **self._critic_metrics(experience),
            "reply_tokens": float(rollouts.mask.sum(dim=1).float().mean()),
            "finished": float(rollouts.finished.float().mean()),
            **text_metrics(rollouts),
        }

    def _critic_metrics(self, experience: Experience) -> dict[str, float]:
        if not self.has_critic:
            return {}
        mask = experience.rollouts.mask
        return {"explained_variance": rl_math.explained_variance(experience.values, experience.returns, mask)}

    def minibatch(self, experience: Experience, numbers: Sequence[int]) -> dict[str, float]:
        """Make one optimiser step of policy and critic on some replies; returns token-weighted means over them.

        Raises:
            Refused: a loss or a gradient that is not finite, or a loss that explodes; no weight was moved.
        """
        figures = self.processes.totals(self.gradients(experience, numbers))
        self.processes.sum_gradients([*self.policy_parameters, *self.critic_parameters])
        try:
            norms = {
                name: float(nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm, foreach=True))
                for name, parameters in (("policy", self.policy_parameters), ("critic", self.critic_parameters))
                if parameters
            }
            check_losses(figures, norms, experience.returns[experience.rollouts.mask])
            for optimizer in self._optimizers():
                optimizer.step()
        finally:
            for optimizer in self._optimizers():
                optimizer.zero_grad(set_to_none=True)
        return figures

    def _optimizers(self) -> list[torch.optim.AdamW]:
        return [self.policy_optimizer, *([self.critic_optimizer] if self.critic_optimizer is not None else [])]

    def gradients(self, experience: Experience, numbers: Sequence[int]) -> dict[str, float]:
        """Add the gradients of the losses on some replies to policy and critic; returns what `minibatch` does.

        With more than one process, each does this for the replies it owns; gradients and figures are to be summed.
        """
        trunk = experience.rollouts.trunk
        tokens = int(experience.rollouts.mask[list(numbers)].sum())
        names = FIGURES if self.has_critic else [name for name in FIGURES if name != "value_loss"]
        figures: Counter[str] = Counter(dict.fromkeys(names, 0.0))
        own = [number for number in numbers if number in trunk.piece_of]
        parts = trunk.buckets(trunk.by_row(own), self.batch_tokens)
        for part, factor in self.processes.evenly(parts, lambda: list(trunk.piece_of)[:1]):
            share = factor * int(experience.rollouts.mask[part].sum()) / tokens
            found = self._part_gradients(experience, part, share)
            figures.update({name: value * share for name, value in found.items()})
        return dict(figures)

    def _part_gradients(self, experience: Experience, numbers: list[int], share: float) -> dict[str, float]:
        config = self.config
        trunk = experience.rollouts.trunk.batch(numbers)
        rows, mask = trunk.rows, trunk.rows.reply_mask()

        def of(values_N_R: Tensor) -> Tensor:
            return values_N_R[numbers, : mask.shape[1]]

        logprobs, entropy = branch_logprobs(self.split, trunk, POLICY)
        policy = rl_math.policy_loss(
            rows.by_reply(logprobs),
            of(experience.rollouts.logprobs),
            of(experience.advantages),
            mask,
            config.clip_range,
        )
        loss = policy.loss
        if config.advantages == "grpo":
            loss = loss + self.kl.coef * kl_in_loss(rows.by_reply(logprobs), of(experience.ref_logprobs), mask)
        (loss * share).backward()
        figures = {
            "policy_loss": float(policy.loss.detach()),
            "clip_fraction": policy.clip_fraction,
            "entropy": float(entropy.mean()),
            "ratio": policy.ratio_mean,
        }
        if not self.has_critic:
            return figures
        if self.critic_below != trunk.below:
            trunk = experience.rollouts.trunk.batch(numbers, self.critic_below)
        value_loss = rl_math.value_loss(
            rows.by_reply(branch_values(self.split, trunk)),
            of(experience.values),
            of(experience.returns),
            mask,
            config.value_clip_range,
        )
        (value_loss * share).backward()
        return {**figures, "value_loss": float(value_loss.detach())}

    def slow_down(self, factor: float) -> None:
        """Multiply both learning rates; a checkpoint keeps them."""
        for optimizer in self._optimizers():
            for group in optimizer.param_groups:
                group["lr"] *= factor

    def cool(self) -> None:
        """Slow down: halve both learning rates and raise the weight of the KL penalty; a checkpoint keeps both."""
        self.slow_down(0.5)
        self.kl.coef = max(2 * self.kl.coef, LEAST_COOLED_KL)

    def self_check(self, experience: Experience) -> dict[str, float]:
        """Before the first step: KL 0, ratio 1, and masks that cover the replies and nothing else.

        Raises:
            RuntimeError: one of them doesn't hold: a defect of the program or an unsupported model, not of the data.
        """
        rollouts = experience.rollouts
        policy = torch.zeros_like(rollouts.logprobs)
        covered = True
        with torch.no_grad(), self.processes.whole(self.split.backbone):
            for numbers in rollouts.trunk.buckets(tokens=self.batch_tokens):
                trunk = rollouts.trunk.batch(numbers)
                place(policy, numbers, trunk, branch_logprobs(self.split, trunk, POLICY)[0])
                covered &= covers(trunk, rollouts.tokens[numbers], rollouts.mask[numbers])
        policy = self.processes.summed(policy)
        kl = float((policy - experience.ref_logprobs).abs().max())
        ratio = float((policy - rollouts.logprobs).abs().max())
        checks = {"kl_of_first_batch": kl, "sampler_against_trainer": ratio}
        if kl > 0 or ratio > SELF_CHECK_TOLERANCE or not covered:
            raise RuntimeError(f"PPO's self-check failed before the first step: {checks}, masks right: {covered}")
        return checks


def _shuffled(replies: int, replies_per_prompt: int, generator: torch.Generator) -> Tensor:
    """Return the replies in random order, those to one prompt behind one another: they share its computation."""
    prompts = in_turn(torch.randperm(replies // replies_per_prompt, generator=generator).tolist())
    within = [torch.randperm(replies_per_prompt, generator=generator) for _ in prompts]
    return torch.cat([prompt * replies_per_prompt + order for prompt, order in zip(prompts, within, strict=True)])


def _adam(parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0, fused=True)
