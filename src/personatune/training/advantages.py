"""What tells a sampled reply's tokens whether they were better than expected: GAE with a critic, RLOO and GRPO without.

All three share rollouts, rewards, clipped loss and KL controller; they differ in the baseline and in where the KL to
the reference is taken off. Shapes: N replies, K to each of P prompts in a row (N = P · K), R tokens of a reply.
"""

from __future__ import annotations

import torch
from torch import Tensor

from personatune.errors import UserError
from personatune.settings import PPOConfig
from personatune.training import rl_math


def check_group(config: PPOConfig) -> None:
    """Check that a reply has others to its prompt to be compared with, where they are the baseline.

    Raises:
        UserError: one reply a prompt.
    """
    if config.advantages != "gae" and config.replies_per_prompt < 2:
        raise UserError(
            f"ppo.advantages = {config.advantages} compares the replies to one prompt: ppo.replies_per_prompt is "
            f"{config.replies_per_prompt}, expected 2 at least"
        )


def advantages_and_returns(
    config: PPOConfig,
    scores_N: Tensor,
    values_N_R: Tensor,
    logprobs_N_R: Tensor,
    ref_logprobs_N_R: Tensor,
    mask_N_R: Tensor,
    kl_coef: float,
) -> tuple[Tensor, Tensor]:
    """Return advantages and returns, both N × R, of the method that ``config.advantages`` names.

    - "gae": per-token rewards with the KL in them, GAE over the critic's values, whitened over the whole batch.
    - "rloo": a reply's score less its whole KL is its one return; all its tokens get what it leads the others by.
    - "grpo": scores alone, standardised within the prompt; its KL stands in the loss (`kl_in_loss`).
    """
    mask = mask_N_R.to(scores_N)
    if config.advantages == "gae":
        rewards = rl_math.compute_rewards(scores_N, logprobs_N_R, ref_logprobs_N_R, mask_N_R, kl_coef)
        advantages, returns = rl_math.gae(
            rewards, values_N_R, mask_N_R, gamma=config.gamma, gae_lambda=config.gae_lambda
        )
        return rl_math.whiten(advantages, mask_N_R), returns
    kl_N = ((logprobs_N_R - ref_logprobs_N_R) * mask).sum(dim=1)
    returns_N = scores_N - kl_coef * kl_N if config.advantages == "rloo" else scores_N
    returns_P_K = returns_N.view(-1, config.replies_per_prompt)
    group = rloo_advantages if config.advantages == "rloo" else grpo_advantages
    return group(returns_P_K).view(-1, 1) * mask, returns_N[:, None] * mask


def rloo_advantages(returns_P_K: Tensor) -> Tensor:
    """Return RLOO's advantages, P × K, of K replies to each of P prompts.

    A reply's return less the mean of the others' (Ahmadian et al. 2024, arXiv 2402.14740, equation 8).
    """
    replies = returns_P_K.shape[1]
    others = (returns_P_K.sum(dim=1, keepdim=True) - returns_P_K) / (replies - 1)
    return returns_P_K - others


def grpo_advantages(scores_P_K: Tensor) -> Tensor:
    """Return GRPO's advantages, P × K, of K replies to each of P prompts.

    ``(r − mean) / std`` over a prompt's replies (Shao et al. 2024, arXiv 2402.03300, section 4.1.2). The standard
    deviation is the sample's, with 1e-4 added as in TRL: where all scores are equal, nothing is learnt.
    """
    return (scores_P_K - scores_P_K.mean(dim=1, keepdim=True)) / (scores_P_K.std(dim=1, keepdim=True) + 1e-4)


def kl_in_loss(logprobs_N_R: Tensor, ref_logprobs_N_R: Tensor, mask_N_R: Tensor) -> Tensor:
    """Return GRPO's estimate of KL(π ‖ π_ref) as a mean over tokens, with gradients.

    ``π_ref/π − log(π_ref/π) − 1``, never negative and without bias (arXiv 2402.03300, equation 4; Schulman 2020,
    "Approximating KL divergence", k3).
    """
    log_ratio = (ref_logprobs_N_R - logprobs_N_R) * mask_N_R
    return ((torch.expm1(log_ratio) - log_ratio) * mask_N_R).sum() / mask_N_R.sum().clamp(min=1)
