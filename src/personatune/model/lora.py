"""LoRA adapters in PEFT's own format: attach, count, save, load, merge, and join two into one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from personatune.errors import UserError
from personatune.model.backbone import ModelInfo, get_model_info
from personatune.settings import BranchConfig, LoraConfig
from personatune.storage import read_json, replacing

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class LoRAWrapper:
    """One LoRA adapter on a base model (Hu et al. 2021, arXiv 2106.09685); QLoRA when the base was loaded in 4 bits.

    ``model`` is the PEFT model to train and call.
    """

    def __init__(self, base: PreTrainedModel, config: LoraConfig | None = None, *, seed: int = 0) -> None:
        """Attach a fresh adapter, which changes nothing until it is trained (its B matrices are zero).

        Raises:
            UserError: ``config.target_modules`` names no layer of this model.
        """
        config = config or LoraConfig()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model: PeftModel = _attach(base, config)

    @classmethod
    def load(cls, base: PreTrainedModel, adapter: Path, *, trainable: bool = False) -> LoRAWrapper:
        """Attach a saved adapter.

        Raises:
            UserError: no adapter in the folder, or it was made for another base.
        """
        wrapper = cls.__new__(cls)
        wrapper.model = load_adapter(base, adapter, trainable=trainable)
        return wrapper

    def get_model_info(self) -> ModelInfo:
        """Count parameters, the adapter's as trainable."""
        return get_model_info(self.model)

    def save(self, target: Path) -> None:
        """Write the adapter so that plain ``PeftModel.from_pretrained`` loads it; all or nothing."""
        save_adapter(self.model, target)

    def merge(self) -> PreTrainedModel:
        """Add the adapter to the base weights and return the plain model; this wrapper is used up."""
        return self.model.merge_and_unload()


def _attach(base: PreTrainedModel, config: LoraConfig) -> PeftModel:
    from peft import LoraConfig as PeftLoraConfig
    from peft import get_peft_model, prepare_model_for_kbit_training

    if getattr(base, "is_loaded_in_4bit", False):
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    settings = PeftLoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.target_modules,
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Conv1D layers of GPT-2: PEFT sets fan_in_fan_out itself and says so
            return get_peft_model(base, settings)
    except ValueError as error:
        raise UserError(f"lora.target_modules = {config.target_modules}: {str(error).splitlines()[0]}") from error


def load_adapter(base: PreTrainedModel, adapter: Path, *, trainable: bool = False) -> PeftModel:
    """Attach the adapter saved in a folder to its base model.

    Raises:
        UserError: no adapter there, a damaged one, or its layers and shapes aren't those of this base.
    """
    from peft import PeftModel, get_peft_model_state_dict

    if not (adapter / "adapter_config.json").is_file():
        raise UserError(f"{adapter}: no adapter_config.json in this folder, so it holds no adapter")
    read_json(adapter / "adapter_config.json")  # a damaged one is told here
    saved = _lora_names(read_tensors(adapter / "adapter_model.safetensors"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT only warns of weights without a place; below they are an error
            model = PeftModel.from_pretrained(base, str(adapter), is_trainable=trainable)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if "size mismatch" in line), lines[0])
        raise _for_another_base(adapter, base, reason) from error
    expected = _lora_names(get_peft_model_state_dict(model, save_embedding_layers=False))
    if saved != expected:
        odd = sorted(saved ^ expected)
        raise _for_another_base(adapter, base, f"{len(odd)} weights without a counterpart, as {odd[0]}")
    return model


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        UserError: it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise UserError(f"{file.parent}: no {file.name} in this folder; delete the folder to have it made again")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise UserError(f"{file}: damaged ({error}); delete its folder to have it made again") from error


def _lora_names(tensors: Iterable[str]) -> set[str]:
    return {name for name in tensors if ".lora_" in name}


def _for_another_base(adapter: Path, base: PreTrainedModel, reason: str) -> UserError:
    config = base.config
    return UserError(
        f"{adapter}: this adapter was made for another base than {config.model_type} "
        f"with {config.num_hidden_layers} layers of width {config.hidden_size} ({reason[:160]})"
    )


def save_adapter(model: PeftModel, target: Path, adapter: str = "default") -> None:
    """Write one adapter of a PEFT model as a folder in PEFT's format; all or nothing."""
    with replacing(target) as temporary:
        model.save_pretrained(str(temporary), selected_adapters=[adapter], save_embedding_layers=False)
        nested = temporary / adapter  # PEFT puts every adapter but "default" into a folder of its own
        if nested.is_dir():
            for file in nested.iterdir():
                file.replace(temporary / file.name)
            nested.rmdir()
        (temporary / "README.md").unlink(missing_ok=True)  # an empty card of PEFT's; `export` writes a real one
        settings = read_json(temporary / "adapter_config.json")
        if isinstance(settings["target_modules"], list):  # a set in PEFT: each process would write another order
            settings["target_modules"].sort()
        (temporary / "adapter_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def branch_config(base: PreTrainedModel, layers: nn.ModuleList, branch: BranchConfig) -> Any:
    """Return PEFT's settings for a branch: LoRA on all linear maps of the given layers, adapted before or not."""
    from peft import LoraConfig as PeftLoraConfig
    from transformers.pytorch_utils import Conv1D

    inside = set(layers.modules())
    linear = (nn.Linear, Conv1D)
    targets = {
        name.removesuffix(".base_layer"): module  # as PEFT keeps a map that another branch adapts
        for name, module in base.named_modules()
        if module in inside and isinstance(module, linear) and ".lora_" not in name
    }
    return PeftLoraConfig(
        r=branch.rank,
        lora_alpha=branch.alpha,
        target_modules=list(targets),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in targets.values()),  # GPT-2 stores them transposed
        task_type="CAUSAL_LM",
    )


def top_layers(branch: BranchConfig, available: int) -> int:
    """Return how many layers a branch changes.

    Raises:
        UserError: more than the model has.
    """
    if branch.layers == "all":
        return available
    if branch.layers > available:
        raise UserError(f"branch.layers = {branch.layers}: the model has {available} layers; use {available} or all")
    return branch.layers


def critic_layers(branch: BranchConfig, available: int) -> int:
    """Return how many layers PPO's critic changes.

    Raises:
        UserError: more than the other branches do.
    """
    most = top_layers(branch, available)
    if branch.critic_layers is None:
        return most
    if branch.critic_layers > most:
        raise UserError(
            f"branch.critic_layers = {branch.critic_layers}: the branches change {most} layers; use {most} or null"
        )
    return branch.critic_layers


def join_adapters(first: Path, second: Path, target: Path, *, strength: float = 1.0) -> None:
    """Write one adapter that changes the base as much as two do one after the other, the second one ``strength`` times.

    Two low-rank updates add up: ``s₁B₁A₁ + s₂B₂A₂ = [s₁B₁ s₂B₂] [A₁; A₂]``. The scalings go into B, so the joined
    adapter has scaling 1. Layers that only one of the two changes are padded with zeros to the common rank.
    """
    from safetensors.torch import save_file

    configs = [read_json(folder / "adapter_config.json") for folder in (first, second)]
    weights = [read_tensors(folder / "adapter_model.safetensors") for folder in (first, second)]
    ranks = [int(config["r"]) for config in configs]
    modules = sorted({name.rsplit(".lora_", 1)[0] for tensors in weights for name in tensors})
    joined: dict[str, Tensor] = {}
    strengths = (1.0, strength)
    for module in modules:
        downs: list[Tensor] = []
        ups: list[Tensor] = []
        here = next(tensors for tensors in weights if f"{module}.lora_A.weight" in tensors)
        for config, tensors, rank, factor in zip(configs, weights, ranks, strengths, strict=True):
            down = tensors.get(f"{module}.lora_A.weight")
            up = tensors.get(f"{module}.lora_B.weight")
            if down is None or up is None:
                down = torch.zeros(rank, here[f"{module}.lora_A.weight"].shape[1])
                up = torch.zeros(here[f"{module}.lora_B.weight"].shape[0], rank)
            downs.append(down)
            ups.append(up * (factor * config["lora_alpha"] / rank))
        joined[f"{module}.lora_A.weight"] = torch.cat(downs, dim=0).contiguous()
        joined[f"{module}.lora_B.weight"] = torch.cat(ups, dim=1).contiguous()
    common = dict(configs[0])
    common.update(r=sum(ranks), lora_alpha=sum(ranks), lora_dropout=0.0)
    common["target_modules"] = sorted(module.removeprefix("base_model.model.") for module in modules)
    with replacing(target) as temporary:
        temporary.mkdir()
        save_file(joined, temporary / "adapter_model.safetensors", metadata={"format": "pt"})
        (temporary / "adapter_config.json").write_text(json.dumps(common, indent=2), encoding="utf-8")
