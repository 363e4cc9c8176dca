"""The layers of a Llama-like decoder as bare matrix products, for decoding and scoring on a CPU without gradients.

The library's layers are general; here every token of every row stands in one matrix without padding, and what a
sampler pays for is only what it needs:

- Hidden states are kept as columns, H × N, so that each product is ``W X``. For 16 to 128 tokens the CPU's matrix
  library is 1.1 to 1.6 times as fast that way as at the rows' ``X Wᵀ`` (docs/experiments.md), and beyond no slower.
- Query, key and value matrices are one; LoRA adapters are merged into copies of the layers that have any.
- The head's matrix is packed once for the vector units where torch was built with oneDNN.

Attention is the caller's: `personatune.model.row_cache` keeps keys and values. Whether all this gives what the library
gives is compared on a few tokens before it is used; other architectures, devices and types run on the library's layers.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Takes a layer's number, queries A × D × N, keys and values K × D × N; gives the heads' outputs, (A·D) × M."""

KINDS = frozenset({"llama", "mistral", "qwen2"})
_ROPE_KINDS = frozenset({"default", "linear", "llama3", "yarn"})  # those whose angles don't depend on the length read
_SAMPLED = 4096  # numbers of a weight in training that are compared
_TOLERANCE = 1e-3  # of hidden states, which are normed: about 1 each


class _Unknown(Exception):  # noqa: N818  (no error: a way out)
    """A part that isn't known here."""


@dataclass(slots=True)
class _Layer:
    signature: tuple[Any, ...]
    norm_in: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    norm_mlp: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor


class LeanDecoder:
    """One model's decoder and head. Get it from `lean_decoder`, which looks after changed weights.

    Attributes:
        layers: how many.
        heads, kv_heads, head_width: A, K and D of the shapes here.
        window: tokens that a layer looks back on at most; longer rows need the library's layers.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        if config.model_type not in KINDS or config.hidden_act != "silu":
            raise _Unknown
        if (config.rope_parameters or {}).get("rope_type", "default") not in _ROPE_KINDS:
            raise _Unknown
        if any(weight.device.type != "cpu" or weight.dtype != torch.float32 for weight in model.parameters()):
            raise _Unknown
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_width = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.window: float = getattr(config, "sliding_window", None) or float("inf")
        self._eps = config.rms_norm_eps
        self._averaging = torch.full((config.hidden_size,), 1 / config.hidden_size)
        self._layers: list[_Layer] = []
        self._head: tuple[tuple[Any, ...], Callable[[Tensor], Tensor]] | None = None
        self.refresh(model)

    @property
    def layers(self) -> int:
        return len(self._layers)

    def refresh(self, model: PreTrainedModel) -> None:
        """Take the weights of a model as they are now; what hasn't changed is left alone."""
        decoder = model.get_decoder()
        if _hooked(decoder):
            raise _Unknown
        self._embedding = decoder.embed_tokens
        self._rotary = decoder.rotary_emb
        self._norm = decoder.norm.weight
        modules = list(decoder.layers)
        if type(self._embedding) is not nn.Embedding or len(modules) != model.config.num_hidden_layers:
            raise _Unknown
        old = self._layers if len(self._layers) == len(modules) else [None] * len(modules)
        self._layers = [_layer(module, known) for module, known in zip(modules, old, strict=True)]
        head = model.get_output_embeddings()
        signature = (id(head), *_signature_of(head))
        if self._head is None or self._head[0] != signature:
            self._head = (signature, _head_product(head))

    def run(self, ids_N: Tensor, positions_N: Tensor, attend: Attend, last: Tensor | None = None) -> Tensor:
        """Return the final hidden states of N tokens, N × H.

        Args:
            last: indices of the tokens whose states are wanted; in the last layer ``attend`` must give these columns
                only.
        """
        x_H_N = functional.embedding(ids_N, self._embedding.weight).t().contiguous()
        cos, sin = self._rotary(x_H_N, positions_N[None])
        cos_D_N, sin_D_N = cos[0].t().contiguous(), sin[0].t().contiguous()
        rotated, width = self.heads + self.kv_heads, self.head_width
        for number, layer in enumerate(self._layers):
            qkv = torch.mm(layer.qkv, self._normed(x_H_N, layer.norm_in))
            if layer.qkv_bias is not None:
                qkv += layer.qkv_bias
            qk = _rotate(qkv[: rotated * width].view(rotated, width, -1), cos_D_N, sin_D_N)
            values = qkv[rotated * width :].view(self.kv_heads, width, -1)
            heads = attend(number, qk[: self.heads], qk[self.heads :], values)
            if last is not None and number + 1 == self.layers:
                x_H_N = x_H_N[:, last]
            x_H_N = torch.addmm(x_H_N, layer.out, heads)
            if layer.out_bias is not None:
                x_H_N += layer.out_bias
            normed = self._normed(x_H_N, layer.norm_mlp)
            inner = functional.silu(torch.mm(layer.gate, normed), inplace=True).mul_(torch.mm(layer.up, normed))
            x_H_N = torch.addmm(x_H_N, layer.down, inner)
        return self._normed(x_H_N, self._norm).t()

    def logits(self, hidden_N_H: Tensor) -> Tensor:
        """Return next-token logits, N × V."""
        assert self._head is not None
        return self._head[1](hidden_N_H)

    def _normed(self, x_H_N: Tensor, weight: Tensor) -> Tensor:
        # as a product: sums along the columns of few tokens take ten times as long
        scale = torch.mv(torch.mul(x_H_N, x_H_N).t(), self._averaging).add_(self._eps).rsqrt_()
        return (x_H_N * scale).mul_(weight[:, None])


_decoders: weakref.WeakKeyDictionary[Any, LeanDecoder | None] = weakref.WeakKeyDictionary()


@torch.inference_mode()
def lean_decoder(model: PreTrainedModel) -> LeanDecoder | None:
    """Return the lean decoder of a model with its weights of this moment, or None where only the library's will do."""
    core = model.get_decoder()
    try:
        if core not in _decoders:
            _decoders[core] = None
            made = LeanDecoder(model)
            if _agrees(made, model):
                _decoders[core] = made
        known = _decoders[core]
        if known is not None:
            known.refresh(model)
        return known
    except (_Unknown, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None  # another architecture, or a torch without the operations used here


def _agrees(lean: LeanDecoder, model: PreTrainedModel) -> bool:
    """Compare with the library's layers on a few tokens: whole rows, a token more, and rows that share a prompt."""
    from personatune.model.row_cache import RowCache, SharedPromptCache

    words = min(model.config.vocab_size, 97)
    rows = [[(7 * index + 3) % words for index in range(length)] for length in (6, 3)]
    further = [[5 % words, 11 % words], [2 % words, 13 % words]]
    cache = RowCache(lean, len(rows))
    ours = [cache.extend(rows), cache.step([0, 1], [further[0][0], further[1][0]])]
    shared = SharedPromptCache(lean, rows, 2)
    ours.append(shared.step([0, 1, 2, 3], [further[0][0]] * 2 + [further[1][0]] * 2)[[0, 2]])
    ours.append(shared.step([1, 3], [further[0][1], further[1][1]]))
    decoder = model.get_decoder()
    for result, extra in zip(ours, (0, 1, 1, 2), strict=True):
        for hidden, row, more in zip(result, rows, further, strict=True):
            plain = decoder(input_ids=torch.tensor([[*row, *more[:extra]]]), use_cache=False).last_hidden_state[0, -1]
            if not torch.allclose(hidden, plain, rtol=_TOLERANCE, atol=_TOLERANCE):
                return False
    return True


def _layer(module: Any, known: _Layer | None) -> _Layer:
    attention, mlp = module.self_attn, module.mlp
    linear = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
    wide = (mlp.gate_proj, mlp.up_proj, mlp.down_proj)
    norms = (module.input_layernorm, module.post_attention_layernorm)
    if any(map(_hooked, (module, attention, mlp, *norms))):
        raise _Unknown
    signature = tuple(part for one in (*linear, *wide) for part in _signature_of(one))
    signature += tuple((norm.weight.data_ptr(), norm.weight._version, _sum(norm.weight)) for norm in norms)
    if known is not None and known.signature == signature:
        return known
    if any(_bias(one) is not None for one in wide):
        raise _Unknown
    biases = [_bias(one) for one in linear[:3]]
    if len({bias is None for bias in biases}) != 1:
        raise _Unknown
    joined = None if biases[0] is None else torch.cat([bias for bias in biases if bias is not None])[:, None]
    out_bias = _bias(linear[3])
    return _Layer(
        signature=signature,
        norm_in=norms[0].weight,
        qkv=torch.cat([_weight(one) for one in linear[:3]]),
        qkv_bias=joined,
        out=_weight(linear[3]),
        out_bias=None if out_bias is None else out_bias[:, None],
        norm_mlp=norms[1].weight,
        gate=_weight(wide[0]),
        up=_weight(wide[1]),
        down=_weight(wide[2]),
    )


def _signature_of(linear: Any) -> tuple[Any, ...]:
    """Return what changes when a layer multiplies by something else: weights written or replaced, other adapters."""
    tensors = tuple((id(weight), weight.data_ptr(), weight._version, _sum(weight)) for weight in linear.parameters())
    adapters = (tuple(linear.active_adapters), linear.disable_adapters, linear.merged) if _is_lora(linear) else ()
    scaling = tuple(linear.scaling.items()) if _is_lora(linear) else ()
    return (*tensors, adapters, scaling)


def _sum(weight: Tensor) -> float | None:
    """Return the sum of some of a trainable weight's numbers: a fused optimiser writes without counting up its version.

    A step of Adam moves nearly all numbers of a matrix, so a few thousand of them show it; all would take longer than
    scoring a short record.
    """
    if not weight.requires_grad:
        return None
    numbers = weight.detach().reshape(-1)
    return float(numbers[:: max(1, len(numbers) // _SAMPLED)].sum(dtype=torch.float64))


def _weight(linear: Any) -> Tensor:
    """Return a layer's matrix, active LoRA adapters merged into a copy."""
    if type(linear) is nn.Linear and not _hooked(linear):
        return linear.weight
    if not _is_lora(linear) or type(linear.base_layer) is not nn.Linear or _hooked(linear):
        raise _Unknown
    weight = linear.base_layer.weight
    if linear.disable_adapters or linear.merged:
        if linear.disable_adapters and linear.merged:
            raise _Unknown  # the library would take the merged adapter out again
        return weight
    for adapter in linear.active_adapters:
        if adapter not in linear.lora_A:
            continue
        if adapter in linear.lora_variant or linear.lora_bias.get(adapter):
            raise _Unknown
        weight = weight + linear.get_delta_weight(adapter)
    return weight


def _bias(linear: Any) -> Tensor | None:
    return (linear.base_layer if _is_lora(linear) else linear).bias


def _is_lora(linear: Any) -> bool:
    # by name, so that nobody waits for PEFT; the fused layers are a subclass
    return any(
        (kind.__module__, kind.__name__) == ("peft.tuners.lora.layer", "Linear") for kind in type(linear).__mro__
    )


def _hooked(module: Any) -> bool:
    """Return whether somebody listens to a module: then it must be called as it is."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _head_product(head: Any) -> Callable[[Tensor], Tensor]:
    """Return how hidden states become logits: packed for the vector units, or the module itself."""
    if type(head) is not nn.Linear or head.bias is not None or _hooked(head):
        return head
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(head.weight.detach(), 64)

        def product(hidden: Tensor) -> Tensor:
            return torch.ops.mkldnn._linear_pointwise(hidden.contiguous(), packed, None, "none", [], "")

        few = torch.linspace(-1, 1, 3 * head.in_features).view(3, -1)
        if torch.allclose(product(few), head(few), rtol=1e-4, atol=1e-4):
            return product
    except (RuntimeError, AttributeError, NotImplementedError):
        pass  # a torch without oneDNN
    return lambda hidden: torch.mm(head.weight, hidden.t()).t()


def _rotate(qk_A_D_N: Tensor, cos_D_N: Tensor, sin_D_N: Tensor) -> Tensor:
    """Turn queries and keys by their positions (Su et al. 2021, arXiv 2104.09864), halves paired as Llama does."""
    half = qk_A_D_N.shape[1] // 2
    turned = qk_A_D_N * cos_D_N
    turned[:, :half].addcmul_(qk_A_D_N[:, half:], sin_D_N[:half], value=-1)
    turned[:, half:].addcmul_(qk_A_D_N[:, :half], sin_D_N[half:])
    return turned
