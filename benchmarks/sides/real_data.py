"""Real dialogues, pairs and prompts for the benchmarks: Synthetic-Persona-Chat where it lies, else the packaged set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from personatune.data.preferences import PreferenceGenerator
from personatune.data.processing import DataProcessor, PreparedData
from personatune.data.sources import DatasetLoader
from personatune.dialogue import Context, Perspective, PreferencePair
from personatune.errors import UserError
from personatune.model.prompts import PromptFormat
from personatune.settings import DataConfig, PreferencesConfig

_SHARED = Path(os.environ.get("PERSONATUNE_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
_PART = _SHARED / "synthetic-persona-chat" / "spc_train_04.jsonl"
PACKAGED = "chitchat"


def default_source() -> str:
    """Return a part of Synthetic-Persona-Chat's train split, or the name of the packaged dialogues without it."""
    return str(_PART) if _PART.is_file() else PACKAGED


def read_perspectives(source: str, *, max_turns: int, seed: int = 0) -> PreparedData:
    """Return cleaned and split dialogues as their speakers live them."""
    config = DataConfig(source=source, max_turns=max_turns)
    return DataProcessor(config, seed).process(DatasetLoader(source, seed=seed).load())


def prompts_of_length(
    perspectives: Sequence[Perspective], prompts: PromptFormat, tokens: int, count: int
) -> list[Context]:
    """Return ``count`` real contexts of different dialogues whose prompt is exactly ``tokens`` tokens long.

    Raises:
        UserError: there are not so many.
    """
    found: list[Context] = []
    for view in perspectives:
        for context, _ in view.replies():
            if len(prompts.encode_prompt(context)) == tokens:
                found.append(context)
                break
        if len(found) == count:
            return found
    raise UserError(f"only {len(found)} of {len(perspectives)} dialogues have a prompt of {tokens} tokens, not {count}")


def pairs_from(perspectives: Sequence[Perspective], count: int, seed: int = 0) -> list[PreferencePair]:
    """Return preference pairs without those that would need a model's own samples."""
    kinds = {**PreferencesConfig().kinds, "model_sample": 0.0}
    return PreferenceGenerator(perspectives, PreferencesConfig(kinds=kinds), seed).generate(count).pairs
