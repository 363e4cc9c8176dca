"""Linear layers that multiply integers: weights of 8 bits, activations of 7, about twice as fast as floats or more.

Weights have one scale an output row, as they are stored; every token's activations get one scale of their own, so a
token's result doesn't depend on its batch. The sums are exact integers on every way they are computed, so that the
verdicts are the same on every machine:

- oneDNN's 8-bit product, of unsigned activations and signed weights. Seven bits, since CPUs with AVX2 and without VNNI
  add two products in 16 bits: 2 * 127 * 127 fits, 2 * 255 * 127 would be cut off without a word.
- the same integers multiplied as float32, where that product is missing, wrong or slower. Integers below 2**24 are
  exact in float32; longer rows are summed in parts that stay below.

``torch._int_mm`` takes two signed sides; for these oneDNN has no kernel before VNNI, and the naive loop behind it is 30
times slower than floats.

A handful of the 384 channels are three to eight times as large as all others; they would leave the others a few steps
only. So an input channel may have a spread: it is divided by it, and its weights are multiplied (Xiao et al. 2022,
SmoothQuant, arXiv 2211.10438). With spreads 7 bits come as near to the float verdicts as 8 bits without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn

WEIGHT_LARGEST = 127
ACTIVATION_LARGEST = 127
GELU_LEAST = -0.17
"""No GELU is below (its minimum is -0.16997); what lies between this and the largest gets all the steps there are."""

_ZERO_POINT = 64  # of activations of both signs
_EXACT_COLUMNS = 2**24 // (WEIGHT_LARGEST * ACTIVATION_LARGEST)
_TIMED = 3
_LARGEST_SPREAD = 8


class EightBitLinear(nn.Module):
    """The inference form of an `nn.Linear`.

    Args:
        linear: the layer; its rows are rounded to 8 bits as `critic_files.quantised` does.
        after_gelu: its inputs are what a GELU gives, so the steps needn't reach far below zero.
        spread: (in,) what each input channel is divided by, at least 1.
    """

    scale: Tensor
    bias: Tensor
    narrowing: Tensor | None

    def __init__(self, linear: nn.Linear, after_gelu: bool = False, spread: Tensor | None = None) -> None:
        super().__init__()
        weight = linear.weight.detach() if spread is None else linear.weight.detach() * spread
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / WEIGHT_LARGEST
        rounded = (weight / scale[:, None]).round()
        bias = linear.bias.detach().clone()
        if after_gelu:
            bias += GELU_LEAST * scale * rounded.sum(dim=1)
        self.after_gelu = after_gelu
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        self.register_buffer("narrowing", None if spread is None else 1 / spread)
        self._product = product_of(rounded.to(torch.int8), 0 if after_gelu else _ZERO_POINT)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the product, (…, out), for ``hidden`` (…, in)."""
        rows = hidden.reshape(-1, hidden.shape[-1])
        if self.narrowing is not None:
            rows = rows * self.narrowing
        if self.after_gelu:
            step = (rows.amax(dim=1, keepdim=True) - GELU_LEAST).div_(ACTIVATION_LARGEST)
            shift = (-GELU_LEAST / step).add_(0.5)
        else:
            largest = torch.maximum(rows.amax(dim=1, keepdim=True), -rows.amin(dim=1, keepdim=True))
            step = largest.clamp_(min=1e-12).div_(ACTIVATION_LARGEST - _ZERO_POINT)
            shift = torch.full_like(step, _ZERO_POINT + 0.5)
        # + 0.5 and cutting the rest off rounds what is never negative, in one pass less than round(); by way of int8,
        # since torch turns floats into that five times faster than into uint8, and up to 127 they are the same bytes
        levels = torch.mul(rows, 1 / step).add_(shift).to(torch.int8).view(torch.uint8)
        result = self._product(levels).mul_(step).mul_(self.scale).add_(self.bias)
        return result.view(*hidden.shape[:-1], -1)


def in_eight_bits(
    module: nn.Module, spreads: Mapping[str, Tensor] | None = None, after_gelu: str = "narrow", place: str = ""
) -> nn.Module:
    """Replace every `nn.Linear` below ``module``, in place, and return it.

    Args:
        spreads: of the inputs of layers, by ``place`` and name ("upper.0.qkv").
        after_gelu: the name of the layers whose inputs a GELU made.
        place: what the names of ``module``'s own layers begin with.
    """
    for name, child in module.named_children():
        full = f"{place}.{name}" if place else name
        if isinstance(child, nn.Linear):
            spread = (spreads or {}).get(full)
            setattr(module, name, EightBitLinear(child, after_gelu=name == after_gelu, spread=spread))
        else:
            in_eight_bits(child, spreads, after_gelu, full)
    return module


class InputSpreads:
    """Finds out, while a float network reads, which input channels of its linear layers are far larger than the rest.

    Use as a context around forward passes; then ask `found`. Spreads are powers of two, so that dividing is exact.

    Args:
        module, place: whose layers, and what their names begin with.
        behind: names of the layers to look at: those behind a LayerNorm. What a GELU or attention gives has rare
            peaks in many channels; spreading these too cost more in rounded weights than it gained (logits were 0.26
            off instead of 0.13).
    """

    def __init__(self, module: nn.Module, place: str, behind: Collection[str]) -> None:
        self._layers = {
            f"{place}.{name}": layer
            for name, layer in module.named_modules()
            if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in behind
        }
        self._largest: dict[str, Tensor] = {}

    def __enter__(self) -> InputSpreads:
        self._hooks = [
            layer.register_forward_pre_hook(lambda _, inputs, name=name: self._see(name, inputs[0]))
            for name, layer in self._layers.items()
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def found(self) -> dict[str, Tensor]:
        """Return (in,) for each layer that has such channels."""
        spreads = {name: _spread(largest) for name, largest in self._largest.items()}
        return {name: spread for name, spread in spreads.items() if float(spread.max()) > 1}

    def _see(self, name: str, hidden: Tensor) -> None:
        largest = hidden.detach().abs().flatten(0, -2).amax(dim=0)
        self._largest[name] = torch.maximum(self._largest[name], largest) if name in self._largest else largest


def _spread(largest: Tensor) -> Tensor:
    """Return the power of two that brings a channel's largest value to about the median channel's, 1 to 8."""
    ratio = largest / largest.median().clamp(min=1e-12)
    return torch.exp2((torch.log2(ratio.clamp(min=1e-12)) - 0.5).round()).clamp(1, _LARGEST_SPREAD)


Product = Callable[[Tensor], Tensor]
"""From levels (n, in), uint8 of 0 to 127, to their exact sums with the weights, (n, out), as float32."""


def product_of(weight: Tensor, zero_point: int) -> Product:
    """Return the faster exact product on this machine for ``weight`` (out, in), int8 of -127 to 127."""
    return integer_product(weight, zero_point) if integers_pay() else float_product(weight, zero_point)


def integer_product(weight: Tensor, zero_point: int) -> Product:
    """Return oneDNN's product of unsigned by signed 8-bit integers, summed in 32 bits.

    Raises:
        AttributeError, RuntimeError: this build of torch has no such product, or not for this CPU.
    """
    packed = torch.ops.onednn.qlinear_prepack(weight.contiguous(), None)
    ones = torch.ones(len(weight))
    zeros = torch.zeros(len(weight), dtype=torch.int32)

    def product(levels: Tensor) -> Tensor:
        found: Tensor = torch.ops.onednn.qlinear_pointwise(
            levels, 1.0, zero_point, packed, ones, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return found

    return product


def float_product(weight: Tensor, zero_point: int) -> Product:
    """Return the same product by float32, exact since every part of a sum stays below 2**24."""
    parts = [part.float().t().contiguous() for part in weight.split(_EXACT_COLUMNS, dim=1)]

    def product(levels: Tensor) -> Tensor:
        values = levels.float().sub_(zero_point)
        total = torch.mm(values[:, :_EXACT_COLUMNS], parts[0])
        for number, part in enumerate(parts[1:], start=1):
            total += torch.mm(values[:, number * _EXACT_COLUMNS :][:, : len(part)], part)
        return total

    return product


@lru_cache(maxsize=1)
def integers_pay() -> bool:
    """Return whether the integer product exists here, is exact at its extremes, and is faster than floats.

    Only speed hangs on the answer, no number does.
    """
    weight = torch.full((256, 1536), WEIGHT_LARGEST, dtype=torch.int8)
    weight[::2, ::3] = -WEIGHT_LARGEST
    levels = torch.full((64, 1536), ACTIVATION_LARGEST, dtype=torch.uint8)
    levels[::2, ::5] = 0
    floats = float_product(weight, _ZERO_POINT)
    try:
        integers = integer_product(weight, _ZERO_POINT)
        exact = torch.equal(integers(levels), floats(levels))
    except (AttributeError, RuntimeError):  # another build of torch, another kind of CPU
        return False
    return exact and _seconds(integers, levels) < _seconds(floats, levels)


def _seconds(product: Product, levels: Tensor) -> float:
    best = float("inf")
    for _ in range(_TIMED):
        started = time.perf_counter()
        product(levels)
        best = min(best, time.perf_counter() - started)
    return best
