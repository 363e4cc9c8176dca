"""The models of a run: the untouched base, the merged SFT model, and the PPO policy on top of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from personatune.config import Config
from personatune.model.backbone import load_base_model, load_tokenizer
from personatune.model.lora import load_adapter
from personatune.model.prompts import PromptFormat, prompt_format
from personatune.pipeline.run import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ModelName = Literal["base", "sft", "ppo"]


def load_prompts(config: Config) -> PromptFormat:
    """Return the prompt form of a run's base model."""
    tokenizer = load_tokenizer(config.model.base, revision=config.model.revision)
    return prompt_format(tokenizer, config.model.prompt_format, config.model.max_length)


def load_base(config: Config) -> PreTrainedModel:
    """Return the untouched base model of a run."""
    model, lora = config.model, config.lora
    return load_base_model(model.base, revision=model.revision, dtype=model.dtype, quantization=lora.quantization)


def load_model(run: Run, name: ModelName) -> PreTrainedModel:
    """Return a model of a run as one plain model, adapters merged.

    The PPO policy's adapter stands on the merged SFT model, as it was trained; ``ppo/adapter`` is the two joined.

    Raises:
        UserError: the stage that makes it isn't done.
    """
    base = load_base(run.config)
    if name == "base":
        return base
    run.require("chat" if name == "ppo" else name, name)
    return load_adapter(base, run.directory / name / "adapter").merge_and_unload().eval()
