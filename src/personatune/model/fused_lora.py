"""LoRA layers that compute what PEFT's do in fewer passes over memory.

PEFT adds up ``x Wᵀ + s · (x Aᵀ) Bᵀ`` from separate operations, two products, a scaling and an addition, each with
a new result as large as the layer's output. Beside a frozen matrix the same sum is two products into one result, and
the gradient of the input is two products into one too. On a CPU, where a new result costs more than the additions in
it, this is worth a tenth of a training step (docs/performance.md).

The modules stay PEFT's own, so saving, loading, merging and switching adapters is untouched.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn


def lora_linear(x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float) -> Tensor:
    """Return ``x Wᵀ + b + s (x Aᵀ) Bᵀ`` with W and b frozen.

    Shapes: x … × I, W O × I, b O, A R × I, B O × R. Products are in W's type; A and B may be wider (float32).
    """
    if torch.compiler.is_compiling():  # the compiler finds the same two products into one result by itself
        x_N_I = x.reshape(-1, x.shape[-1])
        low_N_R = (x_N_I @ down.to(weight.dtype).t()) * scaling
        y_N_O = torch.addmm(nn.functional.linear(x_N_I, weight, bias), low_N_R, up.to(weight.dtype).t())
        return y_N_O.view(*x.shape[:-1], weight.shape[0])
    result: Tensor = cast(Any, _LoRAProduct).apply(x, weight, bias, down, up, scaling)
    return result


class _LoRAProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        x_N_I = x.reshape(-1, x.shape[-1])
        down, up = down.to(weight.dtype), up.to(weight.dtype)
        low_N_R = (x_N_I @ down.t()) * scaling
        y_N_O = x_N_I @ weight.t() if bias is None else torch.addmm(bias, x_N_I, weight.t())
        y_N_O.addmm_(low_N_R, up.t())
        ctx.save_for_backward(x_N_I, weight, down, up, low_N_R)
        ctx.scaling = scaling
        return y_N_O.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        x_N_I, weight, down, up, low_N_R = ctx.saved_tensors
        dy_N_O = dy.reshape(-1, dy.shape[-1])
        dlow_N_R = (dy_N_O @ up) * ctx.scaling
        dx = None
        if ctx.needs_input_grad[0]:
            dx_N_I = dy_N_O @ weight
            dx_N_I.addmm_(dlow_N_R, down)
            dx = dx_N_I.view(*dy.shape[:-1], weight.shape[1])
        # autograd itself casts the gradients of A and B to their own type
        return dx, None, None, dlow_N_R.t() @ x_N_I, dy_N_O.t() @ low_N_R, None


def fuse_lora(model: nn.Module) -> int:
    """Let every LoRA layer that can take the short way; return how many do.

    A layer keeps PEFT's own way if its base is stored in 4 bits, its base weights are trained too, or it uses dropout
    or a variant of LoRA (DoRA and the like). While adapters are off, merged or several, or under autocast, PEFT's way
    is taken as well.
    """
    short = _short_way()
    layers = [layer for layer in model.modules() if _can_be_fused(layer)]
    for layer in layers:
        # Of the class and not an attribute of each module: then all layers of a model share one compiled graph.
        layer.__class__ = short
    return len(layers)


def unfuse_lora(model: nn.Module) -> None:
    """Give every LoRA layer its own forward back."""
    from peft.tuners.lora.layer import Linear

    for layer in model.modules():
        if type(layer) is _short_way():
            layer.__class__ = Linear


@cache
def _short_way() -> Any:
    from peft.tuners.lora.layer import Linear

    class FusedLinear(Linear):  # type: ignore[misc]
        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            active = self.active_adapters
            several = len(active) != 1 or active[0] not in self.lora_A
            mixed = torch.is_autocast_enabled(x.device.type)  # the backward pass would not see its casts
            if self.disable_adapters or self.merged or several or mixed or kwargs:
                plain: Tensor = super().forward(x, *args, **kwargs)
                return plain
            name = active[0]
            base = self.base_layer
            weight = base.weight.t() if self.fan_in_fan_out else base.weight  # GPT-2 stores them transposed
            return lora_linear(
                x, weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
            )

    return FusedLinear


def _can_be_fused(layer: Any) -> bool:
    from peft.tuners.lora.layer import Linear
    from transformers.pytorch_utils import Conv1D

    return (
        type(layer) is Linear
        and type(layer.base_layer) in (nn.Linear, Conv1D)
        and layer.base_layer.weight.is_floating_point()
        and not any(weight.requires_grad for weight in layer.base_layer.parameters())
        and all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
    )
