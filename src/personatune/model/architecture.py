"""The numbers of an architecture that memory depends on, from its config.json alone: no weights are read.

Parameters are counted on a model that exists on torch's "meta" device only, which is exact for any architecture. What
autograd keeps is counted too: one and two layers of full width, with weights that were never written (and so take no
memory), read a few tokens with gradients on, and every tensor that is kept for the way back is added up. On a CPU that
is the code that training runs; a GPU's attention kernels keep tensors of the same sizes (queries, keys, values, output
and one number a row), and no scores where a CPU keeps them (attention with dropout).
"""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from personatune.costs.estimate.quantities import Architecture, Kept
from personatune.errors import UserError
from personatune.hub import why_no_hub
from personatune.model.backbone import locate
from personatune.model.compiled import decoder_layers
from personatune.model.fused_lora import fuse_lora
from personatune.model.lean_decoder import KINDS
from personatune.model.lora import LoRAWrapper
from personatune.settings import Config, LoraConfig

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_TOKENS = 32
"""Tokens that the counted layers read, and twice as many: what is kept grows evenly, so few will do."""


@dataclass(frozen=True)
class FoundConfig:
    """A model's config.json, and where it comes from in words."""

    config: PretrainedConfig
    source: str


def find_config(source: str, revision: str | None = None) -> FoundConfig:
    """Return the config of a base model: "embedded", a folder, or a hub id (from the hub, or from its local cache).

    For some well-known ids that can't be fetched, the published sizes stand in ``known_architectures.json``, each
    with its source; ``source`` of the result says so.

    Raises:
        UserError: it is nowhere to be found.
    """
    from transformers import AutoConfig

    place = locate(source)
    local = Path(place).is_dir()
    no_hub = "" if local else why_no_hub()
    try:
        config = AutoConfig.from_pretrained(
            place, revision=revision, local_files_only=local or bool(no_hub), trust_remote_code=False
        )
        return FoundConfig(config, "its config.json")
    except (OSError, ValueError, KeyError) as error:
        known = None if local else _known().get(source.rpartition("/")[2].lower())
        if known is None:
            reason = no_hub or (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{source}: no config.json to be had ({reason}); give a folder with one, or one of the sizes known "
                f"without network: {', '.join(sorted(_known()))}"
            ) from error
    config = AutoConfig.for_model(known["model_type"], **known["sizes"])
    return FoundConfig(config, f"published sizes (the hub can't be reached; {known['source']}, {known['retrieved']})")


def read_architecture(found: FoundConfig, name: str, config: Config, dtype: torch.dtype) -> Architecture:
    """Count a model with a run's settings: adapters as wide as its ranks, activations in its number type.

    Raises:
        UserError: an architecture that can't be built from its config, or without a list of decoder layers.
    """
    model = _unreal(found.config, name)
    layers = decoder_layers(model)
    maps = _linear_maps(layers[0])
    shapes = [tuple(module.get_parameter("weight").shape) for module in maps.values()]
    text = model.config.get_text_config()
    heads = text.num_attention_heads
    key_heads = getattr(text, "num_key_value_heads", None) or heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    rank = config.branch.rank
    return Architecture(
        name=name,
        layers=len(layers),
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
        parameters=_numbers(model),
        layer_parameters=_numbers(layers[0]),
        linear_parameters=sum(math.prod(shape) for shape in shapes),
        lora_width=sum(map(sum, shapes)),
        cache_width=key_heads * width,
        inner=max(map(max, shapes)),
        number_bytes=dtype.itemsize,
        lora=_kept(found.config, name, dtype, rank=config.lora.rank, training=True),
        branch=_kept(found.config, name, dtype, rank=rank, training=False, shared_rows=True),
        full=_kept(found.config, name, torch.float32, rank=None, training=True),
        joined=_joined(maps) if _decodes_leanly(model, config, dtype) else 0,
    )


def _unreal(config: PretrainedConfig, name: str) -> PreTrainedModel:
    """Return the model on the meta device: shapes without numbers."""
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (ValueError, RuntimeError, NotImplementedError, TypeError, AttributeError) as error:
        raise UserError(f"{name}: can't be built from its config ({str(error).splitlines()[0][:160]})") from error


def _kept(
    config: PretrainedConfig,
    name: str,
    dtype: torch.dtype,
    *,
    rank: int | None,
    training: bool,
    shared_rows: bool = False,
) -> Kept:
    """Return what autograd keeps of a token: from two layers and one, and from rows of two lengths."""

    def counted(layers: int, tokens: int) -> float:
        shallow = _shallow(config, layers)
        return _kept_bytes(shallow, name, dtype, tokens, rank, training, shared_rows) / tokens

    one, two = counted(1, _TOKENS), counted(2, _TOKENS)
    longer = counted(2, 2 * _TOKENS) - counted(1, 2 * _TOKENS)
    scores = (longer - (two - one)) / _TOKENS
    return Kept(layer=two - one - scores * _TOKENS, ends=2 * one - two, scores=scores)


def _kept_bytes(
    config: PretrainedConfig,
    name: str,
    dtype: torch.dtype,
    tokens: int,
    rank: int | None,
    training: bool,
    shared_rows: bool,
) -> int:
    model = _unreal(config, name).to_empty(device="cpu").to(dtype)  # never written, so no memory is taken
    if rank is not None:
        adapted = LoRAWrapper(model, LoraConfig(rank=rank))
        fuse_lora(adapted.model)
    else:
        model.requires_grad_(True)
    model.train(training)
    own = {weight.untyped_storage()._cdata for weight in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = tensor
        return tensor

    ids = torch.zeros((1, tokens), dtype=torch.long)
    inputs: dict[str, Any] = {}
    if shared_rows:
        inputs = {
            "attention_mask": torch.zeros((1, 1, tokens, tokens), dtype=dtype),
            "position_ids": torch.arange(tokens)[None],
        }
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        try:
            model.get_decoder()(input_ids=ids, use_cache=False, **inputs)
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise UserError(f"{name}: its layers can't be run alone to count what they keep ({reason})") from error
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _shallow(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    """Return the config of the same model with fewer layers."""
    shallow = copy.deepcopy(config)
    shallow.num_hidden_layers = layers
    if getattr(shallow, "layer_types", None):
        shallow.layer_types = shallow.layer_types[:layers]
    return shallow


def _linear_maps(layer: nn.Module) -> dict[str, nn.Module]:
    from transformers.pytorch_utils import Conv1D

    return {name: module for name, module in layer.named_modules() if isinstance(module, (nn.Linear, Conv1D))}


def _decodes_leanly(model: PreTrainedModel, config: Config, dtype: torch.dtype) -> bool:
    """Say whether `lean_decoder` would take this model on a CPU: by what it asks first."""
    plain = dtype == torch.float32 and config.lora.quantization == "none"
    return plain and model.config.model_type in KINDS and getattr(model.config, "hidden_act", None) == "silu"


def _joined(maps: dict[str, nn.Module]) -> int:
    wanted = ("q_proj", "k_proj", "v_proj")
    return sum(_numbers(module) for name, module in maps.items() if name.rpartition(".")[2] in wanted)


def _numbers(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _known() -> dict[str, Any]:
    """Return the architectures known without network, by the last part of their hub id in small letters."""
    text = resources.files("personatune.model").joinpath("known_architectures.json").read_text(encoding="utf-8")
    entries = json.loads(text)["architectures"]
    return {name.lower(): entry for entry in entries for name in entry["names"]}
