"""QLoRA by one switch: the whole road with the base model in four bits, full fine-tuning beside it in plain weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from personatune.pipeline.notebook import bring_to, open_run
from personatune.pipeline.run import STAGES
from personatune.progress import SilentProgress
from personatune.storage import read_json

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

SMALL = (
    "model.max_length=384", "lora.rank=4", "data.validation_share=0.2", "data.test_share=0.2", "data.written=0",
    "tracking.backends=[csv]", "data.max_dialogues=12", "sft.batch_size=4", "sft.learning_rate=1e-2",
    "sft.validation_dialogues=4", "sft.evaluations=2", "preferences.pairs=16", "preferences.test_pairs=10",
    "preferences.ppo_prompts=12", "preferences.max_new_tokens=6", "branch.layers=1", "branch.rank=2",
    "reward.epochs=1", "ppo.updates=2", "ppo.prompts_per_update=2", "ppo.max_new_tokens=6", "ppo.judge_every=1",
    "ppo.judge_personas=2", "ppo.kl_budget=100", "evaluation.personas=3", "evaluation.turns=5",
    "evaluation.quality_contexts=4", "evaluation.perplexity_dialogues=4", "evaluation.max_new_tokens=6",
    "evaluation.bootstrap_samples=100", "evaluation.judge=none", "compare.target_evaluation=1",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra qlora")
def test_a_whole_run_in_four_bits(tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path) -> None:
    tiny.save(tmp_path / "model", layers=2, spread=0.05, hidden=64)  # four bits need widths of 64
    data = dialogues.write(tmp_path / "made.jsonl", 60)
    settings = [f"model.base={tmp_path / 'model'}", *SMALL]
    run = open_run("quick", "packed", data=str(data), qlora=True, settings=settings, runs=tmp_path / "runs")
    assert bring_to(run, "report", SilentProgress()) == list(STAGES)
    sft = read_json(run.folder("sft") / "summary.json")
    assert sft["model"]["parameter_bytes"] < 4 * sft["model"]["parameters"]  # the base is packed
    comparison = read_json(run.folder("compare") / "comparison.json")
    assert comparison["full"]["steps"] > 0
    report = read_json(run.directory / "report" / "report.json")
    assert set(report["models"]) == {"base", "sft", "ppo"}
