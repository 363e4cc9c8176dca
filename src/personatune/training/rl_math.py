"""The mathematics of reward modelling and PPO as pure functions.

Shapes: B replies, R tokens of a reply (right-padded), V vocabulary, ``mask_B_R`` True on a reply's own tokens. Means
are token-weighted over the mask, so a result doesn't depend on how replies were batched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_LOGIT_ROWS = 128
"""Tokens whose logits exist at once, V numbers each: fewer would read the output matrix too often."""


def head_logprobs(hidden_M_H: Tensor, head: nn.Module, tokens_M: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of given tokens and the entropy in nats of each distribution; both M.

    ``head`` maps hidden states to logits (V × H, frozen). Only the log-probabilities have gradients, towards the
    hidden states: ``∂ log p(t) / ∂h = W_t − Σ_v p(v) W_v`` doesn't depend on what is done with them later, so it is
    computed at once, and no more than a few tokens' logits ever exist.
    """
    found: tuple[Tensor, Tensor] = _HeadLogprobs.apply(hidden_M_H, head.weight, head.bias, tokens_M)  # type: ignore[no-untyped-call]
    return found


class _HeadLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_M_H: Tensor, weight_V_H: Tensor, bias_V: Tensor | None, tokens_M: Tensor
    ) -> tuple[Tensor, Tensor]:
        logprobs_M = torch.empty(len(tokens_M), device=hidden_M_H.device)
        entropy_M = torch.empty_like(logprobs_M)
        slope_M_H = torch.empty_like(hidden_M_H) if ctx.needs_input_grad[0] else None
        for begin in range(0, len(tokens_M), _LOGIT_ROWS):
            part = slice(begin, begin + _LOGIT_ROWS)
            logits = nn.functional.linear(hidden_M_H[part], weight_V_H, bias_V).float()
            logprobs = logits.sub_(logits.logsumexp(dim=-1, keepdim=True))
            logprobs_M[part] = logprobs.gather(-1, tokens_M[part, None]).squeeze(-1)
            probabilities = logprobs.exp()
            entropy_M[part] = -torch.linalg.vecdot(probabilities, logprobs)
            if slope_M_H is not None:
                expected = probabilities.to(weight_V_H.dtype) @ weight_V_H
                slope_M_H[part] = weight_V_H[tokens_M[part]] - expected
        ctx.save_for_backward(slope_M_H)
        entropy_M.clamp_(min=0.0)
        ctx.mark_non_differentiable(entropy_M)
        return logprobs_M, entropy_M

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [slope_M_H] = ctx.saved_tensors
        return (gradients[0][:, None] * slope_M_H).to(slope_M_H.dtype), None, None, None


def masked_mean(values_B_R: Tensor, mask_B_R: Tensor) -> Tensor:
    """Return the mean over the tokens of the mask."""
    return (values_B_R * mask_B_R).sum() / mask_B_R.sum().clamp(min=1)


def whiten(values_B_R: Tensor, mask_B_R: Tensor) -> Tensor:
    """Shift and scale to mean 0 and variance 1 over the mask; 0 outside it."""
    mean = masked_mean(values_B_R, mask_B_R)
    variance = masked_mean((values_B_R - mean) ** 2, mask_B_R)
    return (values_B_R - mean) * torch.rsqrt(variance + 1e-8) * mask_B_R


def compute_rewards(
    scores_B: Tensor,
    logprobs_B_R: Tensor,
    ref_logprobs_B_R: Tensor,
    mask_B_R: Tensor,
    kl_coef: float,
) -> Tensor:
    """Return the reward of every token, B × R: the KL penalty on each, the reply's score on the last.

    ``r_t = −β (log π(t) − log π_ref(t)) + [t is last] · score`` (Ziegler et al. 2019, arXiv 1909.08593, section 2.1).
    """
    rewards = -kl_coef * (logprobs_B_R - ref_logprobs_B_R) * mask_B_R
    last_B = mask_B_R.sum(dim=1).long() - 1
    rewards[torch.arange(len(last_B)), last_B] += scores_B
    return rewards


def turn_returns(scores_N: Tensor, following: Sequence[int], discount: float) -> Tensor:
    """Return what each reply of a conversation is paid for, N: ``G_n = score_n + discount · G_following(n)``.

    The discounted return (Sutton & Barto 2018, equation 3.9) with whole replies as steps.

    Args:
        following: for each reply the number of the speaker's next one in the same conversation (a larger number), -1
            at its end.
    """
    returns_N = scores_N.clone()
    for number in reversed(range(len(returns_N))):
        if following[number] >= 0:
            returns_N[number] += discount * returns_N[following[number]]
    return returns_N


def gae(
    rewards_B_R: Tensor, values_B_R: Tensor, mask_B_R: Tensor, *, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Return advantages and returns, both B × R (Schulman et al. 2016, arXiv 1506.02438, equations 11 to 16).

    A reply ends its episode: the value after its last token is 0.
    """
    width = rewards_B_R.shape[1]
    advantages = torch.zeros_like(rewards_B_R)
    running = torch.zeros_like(rewards_B_R[:, 0])
    for t in reversed(range(width)):
        inside = mask_B_R[:, t].to(rewards_B_R.dtype)
        following = values_B_R[:, t + 1] * mask_B_R[:, t + 1] if t + 1 < width else torch.zeros_like(running)
        delta = rewards_B_R[:, t] + gamma * following - values_B_R[:, t]
        running = (delta + gamma * gae_lambda * running) * inside
        advantages[:, t] = running
    return advantages, (advantages + values_B_R) * mask_B_R


@dataclass(frozen=True)
class PolicyLoss:
    """``loss`` to minimise; ``clip_fraction`` is the share of tokens whose ratio the clip held back."""

    loss: Tensor
    clip_fraction: float
    ratio_mean: float


def policy_loss(
    logprobs_B_R: Tensor, old_logprobs_B_R: Tensor, advantages_B_R: Tensor, mask_B_R: Tensor, clip_range: float
) -> PolicyLoss:
    """Return PPO's clipped surrogate (Schulman et al. 2017, arXiv 1707.06347, equation 7), negated."""
    ratio = torch.exp((logprobs_B_R - old_logprobs_B_R) * mask_B_R)
    plain = -advantages_B_R * ratio
    clipped = -advantages_B_R * ratio.clamp(1 - clip_range, 1 + clip_range)
    held_back = (clipped > plain).to(plain.dtype)
    return PolicyLoss(
        masked_mean(torch.maximum(plain, clipped), mask_B_R),
        float(masked_mean(held_back, mask_B_R)),
        float(masked_mean(ratio.detach(), mask_B_R)),
    )


def value_loss(
    values_B_R: Tensor, old_values_B_R: Tensor, returns_B_R: Tensor, mask_B_R: Tensor, clip_range: float
) -> Tensor:
    """Return half the mean squared error of the values, with steps beyond ``clip_range`` not rewarded.

    The clipping is that of OpenAI's implementation (``max`` of the clipped and the plain square).
    """
    held = old_values_B_R + (values_B_R - old_values_B_R).clamp(-clip_range, clip_range)
    squares = torch.maximum((values_B_R - returns_B_R) ** 2, (held - returns_B_R) ** 2)
    return 0.5 * masked_mean(squares, mask_B_R)


def explained_variance(values_B_R: Tensor, returns_B_R: Tensor, mask_B_R: Tensor) -> float:
    """Return 1 − Var(returns − values) / Var(returns) over the mask; 1 is a perfect critic, below 0 a harmful one."""
    error = (returns_B_R - values_B_R)[mask_B_R.bool()]
    variance = returns_B_R[mask_B_R.bool()].var(unbiased=False)
    return float(1 - error.var(unbiased=False) / variance) if float(variance) > 0 else 0.0


def bradley_terry_loss(chosen_B: Tensor, rejected_B: Tensor) -> Tensor:
    """Return −log σ(chosen − rejected), averaged over pairs (Bradley & Terry 1952; Ouyang et al. 2022, equation 1)."""
    return -torch.nn.functional.logsigmoid(chosen_B - rejected_B).mean()


@dataclass
class AdaptiveKL:
    """Keeps the KL to the reference near a target (Ziegler et al. 2019, arXiv 1909.08593, section 2.2).

    Attributes:
        coef: β, the weight of the penalty now.
        target: wanted KL, nats a reply.
        horizon: replies over which an error of 100 % would be corrected (errors count 20 % at most).
    """

    coef: float
    target: float
    horizon: int

    def update(self, kl: float, replies: int) -> None:
        """Move β after a batch of ``replies`` replies whose mean KL was ``kl``."""
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.coef *= 1 + error * replies / self.horizon
