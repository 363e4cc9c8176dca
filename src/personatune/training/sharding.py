"""FSDP for a frozen backbone: each process keeps a part of every layer's weights and gathers a layer when it runs.

Only frozen weights are spread (`torch.distributed.fsdp.fully_shard`, FSDP2). What is trained, adapters and heads, is
about a hundredth of a model: it stays whole in every process, so gradients, clipping, optimisers and checkpoints are
those of DDP. Embeddings stay whole too: they are read outside the decoder, at both its ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from personatune.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def shard_frozen_layers(model: PreTrainedModel) -> None:
    """Spread the frozen weights of every decoder layer over the processes; calling it again changes nothing.

    Raises:
        UserError: a quantised model, one without known layers, or one whose layers are trained themselves.
    """
    from torch.distributed.fsdp import fully_shard

    if getattr(model, "is_quantized", False):
        raise UserError("lora.quantization = nf4 can't be sharded; use distributed.strategy = ddp")
    if sharded_layers(model):
        return
    layers, decoder = _layers(model), model.get_decoder()
    if not layers:
        raise UserError(f"{model.config.model_type}: no layers that can be sharded; use distributed.strategy = ddp")
    inside = dict(item for layer in layers for item in _weights(layer).items())
    adapters = {weight for weight, name in inside.items() if ".lora_" in name}
    for layer in layers:
        fully_shard(layer, reshard_after_forward=True, ignored_params=adapters & set(_weights(layer)))
    fully_shard(decoder, ignored_params=adapters | (set(_weights(decoder)) - set(inside)))


def sharded_layers(model: PreTrainedModel) -> list[Any]:
    """Return the layers that are spread over the processes."""
    from torch.distributed.fsdp import FSDPModule

    decoder = model.get_decoder()
    return [module for module in decoder.modules() if isinstance(module, FSDPModule) and module is not decoder]


@contextmanager
def whole_layers(model: PreTrainedModel) -> Iterator[None]:
    """Hold every layer whole inside the block; all processes enter and leave it together."""
    layers = sharded_layers(model)
    for layer in layers:
        layer.set_reshard_after_forward(False, recurse=False)
        layer.unshard()
    try:
        with torch.no_grad():
            yield
    finally:
        for layer in layers:
            layer.set_reshard_after_forward(True, recurse=False)
            layer.reshard()


def _layers(model: PreTrainedModel) -> list[nn.Module]:
    names = set(model._no_split_modules or ())
    return [module for module in model.get_decoder().modules() if type(module).__name__ in names]


def _weights(module: nn.Module) -> dict[nn.Parameter, str]:
    return {weight: name for name, weight in module.named_parameters()}
