"""The models of a run: the untouched base, the merged SFT model, and the PPO policy on top of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from personatune.errors import UserError, did_you_mean
from personatune.model.backbone import load_base_model, load_tokenizer
from personatune.model.lora import load_adapter
from personatune.model.prompts import PromptFormat, prompt_format
from personatune.pipeline.run import Run
from personatune.settings import Config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ModelName = Literal["base", "sft", "ppo"]


def load_prompts(config: Config) -> PromptFormat:
    """Return the prompt form of a run's base model."""
    tokenizer = load_tokenizer(config.model.base, revision=config.model.revision)
    return prompt_format(tokenizer, config.model.prompt_format, config.model.max_length)


def load_base(config: Config, *, quantized: bool = True) -> PreTrainedModel:
    """Return the untouched base model of a run.

    Args:
        quantized: False gives plain weights whatever ``lora.quantization`` says: packed ones can't be trained.
    """
    model, kind = config.model, config.lora.quantization if quantized else "none"
    return load_base_model(model.base, revision=model.revision, dtype=model.dtype, quantization=kind)


def load_model(run: Run, name: str) -> PreTrainedModel:
    """Return a model of a run as one plain model, adapters merged.

    A policy's adapter stands on the merged SFT model, as it was trained; ``ppo/adapter`` is the two joined.

    Args:
        name: a `ModelName`, or a variant's name ("dpo").

    Raises:
        UserError: the stage that makes it isn't done, or there is no such variant.
    """
    if name == "base":
        return load_base(run.config)
    adapter = adapter_folder(run, name)
    return load_adapter(load_base(run.config), adapter).merge_and_unload().eval()


def adapter_folder(run: Run, name: str) -> Path:
    """Return where the adapter of a run's model lies, on the untouched base.

    Raises:
        UserError: the stage that makes it isn't done, or there is no such variant.
    """
    if name in get_args(ModelName) and name != "base":
        run.require("chat" if name == "ppo" else name, name)
    else:
        _require_variant(run, name)
    return run.directory / name / "adapter"


def trained_models(run: Run) -> list[str]:
    """Return the models a run has: its stages' and the variants that are done, stages first."""
    stages = [name for name in get_args(ModelName) if name == "base" or name in run.finished()]
    others = [name for name in sorted(run.finished()) if (run.directory / name / "adapter").is_dir()]
    return list(dict.fromkeys([*stages, *others]))


def _require_variant(run: Run, name: str) -> None:
    if name in run.finished() and (run.directory / name / "adapter").is_dir():
        return
    if name == "dpo":
        run.require("chat", "dpo")
    known = trained_models(run)
    raise UserError(f"run {run.name} has no model {name!r}; it has {', '.join(known)}{did_you_mean(name, known)}")
