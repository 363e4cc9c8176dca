"""What DPO minimises: each pair's loss on the policy branch, and what is told of it."""

from __future__ import annotations

from torch import Tensor

from personatune.model.branches import SplitModel, Trunk
from personatune.settings import DPOConfig
from personatune.training.encoded_pairs import reply_likelihoods
from personatune.training.preference_math import chosen_losses, implicit_rewards, preference_losses

FIGURES = ("loss", "preference_loss", "accuracy", "lead", "chosen_logprob", "rejected_logprob")


def pair_losses(
    split: SplitModel, config: DPOConfig, trunk: Trunk, reference_N: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return each pair's loss, B, with gradients, and `FIGURES` of each; chosen and rejected replies in turn.

    ``lead`` is beta times the difference of the implicit rewards, ``…_logprob`` the mean over a reply's tokens.

    Args:
        reference_N: the reference's summed log-probability of every reply, N = 2 · B, in nats.
    """
    sums_N, lengths_N = reply_likelihoods(split, trunk)
    rewards_N = implicit_rewards(
        sums_N,
        reference_N.to(sums_N),
        lengths_N,
        length_normalised=config.length_normalised,
        reference=config.reference,
    )
    better, worse = rewards_N[0::2], rewards_N[1::2]
    preference = preference_losses(
        better, worse, beta=config.beta, margin=config.margin, label_smoothing=config.label_smoothing
    )
    losses = preference + config.sft_weight * chosen_losses(sums_N[0::2], lengths_N[0::2])
    means_N = (sums_N / lengths_N).detach()
    figures = {
        "loss": losses.detach(),
        "preference_loss": preference.detach(),
        "accuracy": (better > worse).float(),
        "lead": config.beta * (better - worse).detach(),
        "chosen_logprob": means_N[0::2],
        "rejected_logprob": means_N[1::2],
    }
    return losses, figures
