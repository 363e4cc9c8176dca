"""personatune: chatbots that stay in character, proved with measured numbers.

``import personatune as pt`` offers every public name below and loads none of them before it is used,
so that the import stays fast (no torch until something needs it).
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Context": "dialogue",
    "Dialogue": "dialogue",
    "Persona": "dialogue",
    "Perspective": "dialogue",
    "PreferencePair": "dialogue",
    "Probe": "dialogue",
    "Turn": "dialogue",
    "UserError": "errors",
    "load_config": "config",
    "merge_configs": "config",
    "save_config": "config",
    "get_default_config": "config",
    "MetricsTracker": "costs.meter",
    "DatasetLoader": "data.sources",
    "DataProcessor": "data.processing",
    "PreferenceGenerator": "data.preferences",
    "load_base_model": "model.backbone",
    "load_tokenizer": "model.backbone",
    "get_model_info": "model.backbone",
    "LoRAWrapper": "model.lora",
    "CheckpointManager": "training.checkpoints",
    "SFTTrainer": "training.sft",
    "RewardModel": "training.reward",
    "RewardModelTrainer": "training.reward",
    "PPOTrainer": "training.ppo",
    "parse_prompt": "model.prompts",
    "compute_rewards": "training.rl_math",
    "PersonaEvaluator": "evaluation.persona",
    "EngagementEvaluator": "evaluation.engagement",
    "QualityEvaluator": "evaluation.quality",
    "BenchmarkEvaluator": "evaluation.benchmarks",
}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604  (names resolved by __getattr__)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"personatune.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'personatune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
