"""LoRA's forward and backward as one operation a layer: the same numbers with fewer passes over memory.

PEFT computes ``W x + s · B (A x)`` as five operations, three of which write and keep a tensor as large as the layer's
output. Here the low-rank part is added onto the product in place, and the backward pass keeps the layer's input and
``A x`` only. Where something stands in the way (other number types, quantised weights, dropout, merged or several
adapters) PEFT's own forward runs.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def fuse_lora(model: PreTrainedModel) -> None:
    """Let every LoRA layer of a PEFT-equipped model compute fused; calling it again changes nothing."""
    from peft.tuners.lora.layer import Linear

    for module in model.modules():
        if type(module) is Linear and _weight(module.get_base_layer()) is not None:
            module.forward = MethodType(_forward, module)


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Stands in for ``peft.tuners.lora.layer.Linear.forward``."""
    active = [name for name in self.active_adapters if name in self.lora_A]
    if args or kwargs or self.disable_adapters or self.merged or len(active) != 1:
        return type(self).forward(self, x, *args, **kwargs)  # type: ignore[no-any-return]
    [name] = active
    base = self.get_base_layer()
    weight, down, up = _weight(base), self.lora_A[name].weight, self.lora_B[name].weight
    unlike = weight is None or not x.dtype == weight.dtype == down.dtype == up.dtype
    dropout = not isinstance(self.lora_dropout[name], nn.Identity) and self.training
    if unlike or dropout or name in self.lora_variant or torch.is_autocast_enabled(x.device.type):
        return type(self).forward(self, x)  # type: ignore[no-any-return]
    return _LoraLinear.apply(x, weight, base.bias, down, up, self.scaling[name])  # type: ignore[no-any-return]


def _weight(base: nn.Module) -> Tensor | None:
    """Return a layer's weight as out × in, without copying; None for what isn't a plain linear map."""
    from transformers.pytorch_utils import Conv1D

    if type(base) is nn.Linear:
        return base.weight
    return base.weight.t() if type(base) is Conv1D else None


class _LoraLinear(torch.autograd.Function):
    """``y = x Wᵀ + b + s (x Aᵀ) Bᵀ`` with W and b frozen (Hu et al. 2021, arXiv 2106.09685, equation 3)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        result = nn.functional.linear(x, weight, bias)
        rows = x.reshape(-1, x.shape[-1])
        low_T_r = rows @ down.t()
        result.view(-1, result.shape[-1]).addmm_(low_T_r, up.t(), alpha=scaling)
        ctx.save_for_backward(rows, low_T_r, weight, down, up)
        ctx.scaling = scaling
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, low_T_r, weight, down, up = ctx.saved_tensors
        out = gradients[0].reshape(-1, gradients[0].shape[-1])
        low = (out @ up).mul_(ctx.scaling)
        to_up = out.t().mm(low_T_r).mul_(ctx.scaling) if ctx.needs_input_grad[4] else None
        to_down = low.t().mm(rows) if ctx.needs_input_grad[3] else None
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = out.mm(weight).addmm_(low, down).view(*gradients[0].shape[:-1], -1)
        return to_x, None, None, to_down, to_up, None
