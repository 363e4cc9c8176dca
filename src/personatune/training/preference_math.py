"""The mathematics of learning from preferences without a reward model, as pure functions.

Shapes: B pairs, N replies. A reply's log-probability is the sum over its tokens, its end marker among them.
"""

from __future__ import annotations

from torch import Tensor, nn


def implicit_rewards(
    logprobs_N: Tensor, ref_logprobs_N: Tensor, lengths_N: Tensor, *, length_normalised: bool, reference: bool
) -> Tensor:
    """Return what DPO compares, N, before beta.

    ``log π(y|x) − log π_ref(y|x)`` (Rafailov et al. 2023, arXiv 2305.18290, equation 5); divided by the reply's tokens
    when ``length_normalised``; without the reference's part it is SimPO's reward (Meng et al. 2024, arXiv 2405.14734,
    equation 4).
    """
    rewards = logprobs_N - ref_logprobs_N if reference else logprobs_N
    return rewards / lengths_N if length_normalised else rewards


def preference_losses(
    chosen_B: Tensor, rejected_B: Tensor, *, beta: float, margin: float = 0.0, label_smoothing: float = 0.0
) -> Tensor:
    """Return each pair's loss, B, from the implicit rewards of its replies.

    ``−(1 − ε) log σ(h) − ε log σ(−h)`` with ``h = β (chosen − rejected) − γ``: DPO (arXiv 2305.18290, equation 7),
    SimPO's target margin γ (arXiv 2405.14734, equation 6), and label smoothing ε for pairs that are the wrong way
    round (cDPO, Mitchell 2023, "A note on DPO with noisy preferences", equation 3).
    """
    lead = beta * (chosen_B - rejected_B) - margin
    right, wrong = nn.functional.logsigmoid(lead), nn.functional.logsigmoid(-lead)
    return -(1 - label_smoothing) * right - label_smoothing * wrong


def chosen_losses(chosen_logprobs_B: Tensor, lengths_B: Tensor) -> Tensor:
    """Return the mean token loss of each chosen reply, B (RPO's second term: Pang et al. 2024, arXiv 2404.19733)."""
    return -chosen_logprobs_B / lengths_B
