"""Negative log-likelihood of tokens without keeping their logits, by far the largest tensor of a small model."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

_CHUNK = 256
"""Rows whose logits exist at once: 50 MB at 49,152 words, and still a product of full speed."""


def token_nll(hidden_N_H: Tensor, head: nn.Module, targets_N: Tensor) -> Tensor:
    """Return ``-log softmax(head(hidden))[target]``, N, in float32.

    Below a frozen linear head the gradient of a token's loss is known as soon as its logits are: ``(p - onehot) W``, H
    numbers in place of V. So the logits are worked off in chunks on the way forward and never kept. A head that is
    trained itself takes the plain way.
    """
    if _frozen_linear(head):
        return cast(Tensor, _FrozenHeadLoss.apply(hidden_N_H, head.weight, head.bias, targets_N))
    return nn.functional.cross_entropy(head(hidden_N_H).float(), targets_N, reduction="none")


def _frozen_linear(head: nn.Module) -> bool:
    return (
        type(head) is nn.Linear
        and head.weight.is_floating_point()
        and not any(weight.requires_grad for weight in head.parameters())
    )


class _FrozenHeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_N_H: Tensor, weight_V_H: Tensor, bias_V: Tensor | None, targets_N: Tensor) -> Tensor:
        nll_N = torch.empty(len(targets_N), device=hidden_N_H.device)
        wanted = ctx.needs_input_grad[0]
        gradient_N_H = torch.empty_like(hidden_N_H) if wanted else None
        for start in range(0, len(targets_N), _CHUNK):
            rows = slice(start, start + _CHUNK)
            target_C = targets_N[rows, None]
            logits_C_V = nn.functional.linear(hidden_N_H[rows].to(weight_V_H.dtype), weight_V_H, bias_V).float()
            logits_C_V -= logits_C_V.amax(dim=-1, keepdim=True)
            right_C = logits_C_V.gather(1, target_C)
            total_C = logits_C_V.exp_().sum(dim=-1, keepdim=True)
            nll_N[rows] = (total_C.log() - right_C).squeeze(1)
            if gradient_N_H is not None:
                logits_C_V /= total_C
                logits_C_V.scatter_add_(1, target_C, torch.full_like(total_C, -1.0))
                gradient_N_H[rows] = (logits_C_V.to(weight_V_H.dtype) @ weight_V_H).to(hidden_N_H.dtype)
        if gradient_N_H is not None:
            ctx.save_for_backward(gradient_N_H)
        return nll_N

    @staticmethod
    def backward(ctx: Any, dnll_N: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient_N_H,) = ctx.saved_tensors
        return gradient_N_H * dnll_N[:, None].to(gradient_N_H.dtype), None, None, None
