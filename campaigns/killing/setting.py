"""A run small enough to be begun a hundred times: a random model, sixty dialogues, every stage."""

from __future__ import annotations

import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "killed"
CHECKPOINTED = ("sft", "reward", "ppo", "compare", "dpo")

# Dropout draws from torch's own generator, the votes of several epochs from orders that depend on the step, and what
# is judged comes in several parts: an inexact resume shows in each of them.
SETTINGS = (
    "model.max_length=384", "lora.rank=8", "lora.dropout=0.1", "data.validation_share=0.2", "data.test_share=0.2",
    "tracking.backends=[csv]", "data.max_dialogues=24", "sft.batch_size=2", "sft.learning_rate=1e-2",
    "sft.validation_dialogues=6", "sft.evaluations=4", "sft.epochs=2", "sft.patience=10",
    "preferences.pairs=24", "preferences.test_pairs=10", "preferences.ppo_prompts=12", "preferences.max_new_tokens=8",
    "branch.layers=1", "branch.rank=2", "reward.epochs=4", "reward.batch_size=4",
    "dpo.epochs=4", "dpo.batch_size=4",
    "ppo.updates=8", "ppo.prompts_per_update=4", "ppo.max_new_tokens=8", "ppo.judge_every=2", "ppo.judge_personas=3",
    "ppo.kl_budget=1000", "ppo.on_untrusted_reward=warn",
    "evaluation.personas=6", "evaluation.turns=6", "evaluation.batch_size=4", "evaluation.quality_contexts=8",
    "evaluation.perplexity_dialogues=8", "evaluation.max_new_tokens=8", "evaluation.bootstrap_samples=100",
    "compare.target_evaluation=1", "compare.choice_steps=4", "compare.full_learning_rates=[1e-4,1e-3]",
)  # fmt: skip


# The real model, a few steps of everything: what matters is how long it computes between two looks at the signals.
EMBEDDED = (
    "data.max_dialogues=32", "tracking.backends=[csv]", "sft.batch_size=2", "sft.compile=off", "sft.evaluations=2",
    "sft.validation_dialogues=12", "preferences.pairs=40", "preferences.test_pairs=16", "preferences.ppo_prompts=16",
    "reward.epochs=1", "ppo.updates=4", "ppo.judge_every=2", "ppo.judge_personas=4", "ppo.on_untrusted_reward=warn",
    "evaluation.personas=6", "evaluation.quality_contexts=8", "evaluation.perplexity_dialogues=8",
    "evaluation.bootstrap_samples=100", "compare.target_evaluation=1", "compare.choice_steps=2",
    "compare.full_learning_rates=[1e-4]", "dpo.epochs=1",
)  # fmt: skip


def make_setting(folder: Path) -> Path:
    """Write the model and the dialogues that the tests use."""
    sys.path.insert(0, str(REPOSITORY))
    from tests.conftest import HandMadeDialogues, TinyModels

    TinyModels().save(folder / "model", layers=2, spread=0.05)
    HandMadeDialogues.write(folder / "made.jsonl", 60)
    return folder


def commands(setting: Path | None, runs: Path) -> list[list[str]]:
    """Return the program's calls that make the run: every stage, and DPO beside them.

    Args:
        setting: what `make_setting` wrote; None takes the embedded model and dialogues.
    """
    program = [sys.executable, "-m", "personatune"]
    places = [] if setting is None else ["--model", str(setting / "model"), "--data", str(setting / "made.jsonl")]
    chosen = [word for one in (EMBEDDED if setting is None else SETTINGS) for word in ("--set", one)]
    return [
        [*program, "run", "--preset", "quick", "--name", NAME, "--runs", str(runs), *places, *chosen],
        [*program, "dpo", "--run", NAME, "--runs", str(runs)],
    ]


def environment() -> dict[str, str]:
    """Return the environment of the program: this repository's code, one thread, no hub."""
    paths = [str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {"OMP_NUM_THREADS": "1", **os.environ, **own}
