"""Textbook PPO: four separate models, every weight of policy and value model trained (arXiv 1707.06347, 1909.08593).

One update: `generate` replies, each with a prompt of its own; run reference, value and reward model over the whole
sequences; per-token KL penalty, GAE, whitened advantages; epochs of clipped policy and value steps, each a plain
forward pass over prompts and replies. The formulas are the project's own (`training.rl_math`), tested against a slow
version, so that both sides optimise the same thing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from conventional.batches import left_padded, right_padded
from conventional.reward import score
from personatune.settings import PPOConfig
from personatune.training import rl_math


@dataclass(frozen=True)
class Models:
    """The four models of conventional RLHF; reference and reward model are frozen."""

    policy: Any
    reference: Any
    value: Any
    reward: Any


@dataclass(frozen=True)
class Batch:
    """Sampled replies. B replies, T tokens of the longest sequence, R of the longest reply.

    Attributes:
        ids, attention: B x T, prompts with their replies, padded behind.
        index: B x R, the position that predicts each reply token.
        tokens, mask: B x R, the replies.
        finished: B, whether a reply came to its end.
    """

    ids: Tensor
    attention: Tensor
    index: Tensor
    tokens: Tensor
    mask: Tensor
    finished: Tensor

    def rows(self, chosen: Tensor) -> Batch:
        """Return some of the replies."""
        return Batch(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class PPORun:
    """What a run took, and its metrics, one row an update."""

    seconds: float
    tokens_generated: int
    sequence_tokens: int
    prompt_tokens: int
    steps: int
    metrics: list[dict[str, float]]


def train_ppo(
    models: Models,
    prompts_of: Callable[[int], Sequence[Sequence[int]]],
    config: PPOConfig,
    *,
    policy_learning_rate: float,
    value_learning_rate: float,
    stop_ids: Sequence[int],
    pad_id: int,
    reward_scale: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> PPORun:
    """Run ``config.updates`` updates on the policy in place.

    Args:
        prompts_of: the token prompts of an update, one for each of ``config.prompts_per_update``.
        reward_scale: mean and spread of the reward model's scores on held-out pairs, taken out of them.
    """
    begin = time.perf_counter()
    torch.manual_seed(seed)
    for frozen in (models.reference, models.reward):
        frozen.eval().requires_grad_(False)
    optimizers = [
        torch.optim.AdamW(model.requires_grad_(True).parameters(), lr=rate, weight_decay=0.0, fused=True)
        for model, rate in ((models.policy, policy_learning_rate), (models.value, value_learning_rate))
    ]
    kl = rl_math.AdaptiveKL(config.kl_coef, config.kl_target, config.kl_horizon)
    metrics: list[dict[str, float]] = []
    generated = sequences = prompt_tokens = steps = 0
    for update in range(config.updates):
        prompts = [list(prompt) for prompt in prompts_of(update) for _ in range(config.replies_per_prompt)]
        batch = sample(models.policy, prompts, config.max_new_tokens, stop_ids, pad_id)
        with torch.no_grad():
            old = reply_logprobs(models.policy, batch)
            reference = reply_logprobs(models.reference, batch)
            values = reply_values(models.value, batch)
            lengths = batch.attention.sum(dim=1).tolist()
            rows = [row[:length] for row, length in zip(batch.ids.tolist(), lengths, strict=True)]
            raw = (score(models.reward, rows, pad_id) - reward_scale[0]) / reward_scale[1]
        scores = raw - config.truncation_penalty * (~batch.finished)
        rewards = rl_math.compute_rewards(scores, old, reference, batch.mask, kl.coef)
        advantages, returns = rl_math.gae(rewards, values, batch.mask, gamma=config.gamma, gae_lambda=config.gae_lambda)
        advantages = rl_math.whiten(advantages, batch.mask)
        for _ in range(config.epochs):
            for chosen in torch.randperm(len(rows)).split(config.minibatch_size):
                _step(models, optimizers, batch.rows(chosen), old[chosen], values[chosen], advantages[chosen],
                      returns[chosen], config)  # fmt: skip
                steps += 1
        spent = float(((old - reference) * batch.mask).sum(dim=1).mean())
        kl.update(spent, len(rows))
        generated += int(batch.mask.sum())
        sequences += int(batch.attention.sum())
        prompt_tokens += sum(map(len, prompts))
        metrics.append(
            {"score": float(scores.mean()), "kl": spent, "reply_tokens": float(batch.mask.sum() / len(rows))}
        )
    return PPORun(time.perf_counter() - begin, generated, sequences, prompt_tokens, steps, metrics)


@torch.no_grad()
def sample(policy: Any, prompts: Sequence[list[int]], new_tokens: int, stop_ids: Sequence[int], pad_id: int) -> Batch:
    """Sample one reply to each prompt with `generate`, from the model's own distribution."""
    ids_B_P, mask_B_P = left_padded(prompts, pad_id)
    out = policy.eval().generate(
        input_ids=ids_B_P,
        attention_mask=mask_B_P,
        max_new_tokens=new_tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=list(stop_ids) or None,
        pad_token_id=pad_id,
    )
    replies = [_until_stop(row, stop_ids) for row in out[:, ids_B_P.shape[1] :].tolist()]
    ids, attention = right_padded([[*prompt, *reply] for prompt, reply in zip(prompts, replies, strict=True)], pad_id)
    tokens, mask = right_padded(replies, pad_id)
    starts = torch.tensor([len(prompt) - 1 for prompt in prompts])
    index = (starts[:, None] + torch.arange(tokens.shape[1])).clamp(max=ids.shape[1] - 1)
    finished = torch.tensor([reply[-1] in stop_ids for reply in replies])
    return Batch(ids, attention, index, tokens, mask.bool(), finished)


def reply_logprobs(model: Any, batch: Batch) -> Tensor:
    """Return the log-probabilities of the replies' tokens, B x R, from one plain forward pass over everything."""
    logits_B_T_V = model(input_ids=batch.ids, attention_mask=batch.attention).logits
    logits_B_R_V = logits_B_T_V[torch.arange(len(batch.ids))[:, None], batch.index]
    logprobs_B_R_V = torch.log_softmax(logits_B_R_V, dim=-1)
    return logprobs_B_R_V.gather(-1, batch.tokens[..., None]).squeeze(-1) * batch.mask


def reply_values(model: Any, batch: Batch) -> Tensor:
    """Return the value model's estimate before each reply token, B x R."""
    backbone = getattr(model, model.base_model_prefix)
    hidden_B_T_H = backbone(input_ids=batch.ids, attention_mask=batch.attention).last_hidden_state
    values_B_T = model.score(hidden_B_T_H).squeeze(-1)
    return values_B_T.gather(1, batch.index) * batch.mask


def _step(
    models: Models,
    optimizers: Sequence[torch.optim.Optimizer],
    batch: Batch,
    old: Tensor,
    old_values: Tensor,
    advantages: Tensor,
    returns: Tensor,
    config: PPOConfig,
) -> None:
    policy_loss = rl_math.policy_loss(
        reply_logprobs(models.policy, batch), old, advantages, batch.mask, config.clip_range
    ).loss
    _apply(policy_loss, models.policy, optimizers[0], config.max_grad_norm)
    value_loss = rl_math.value_loss(
        reply_values(models.value, batch), old_values, returns, batch.mask, config.value_clip_range
    )
    _apply(value_loss, models.value, optimizers[1], config.max_grad_norm)


def _apply(loss: Tensor, model: Any, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> None:
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()


def _until_stop(reply: list[int], stop_ids: Sequence[int]) -> list[int]:
    end = next((place for place, token in enumerate(reply) if token in stop_ids), len(reply) - 1)
    return reply[: end + 1]
