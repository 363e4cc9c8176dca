"""Exports are loaded again by their own consumers, plain PEFT and plain transformers, and give the same replies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from personatune.config import Config, LoraConfig, ModelConfig
from personatune.errors import UserError
from personatune.model.lora import LoRAWrapper
from personatune.pipeline.export import export
from personatune.pipeline.models import load_base
from personatune.pipeline.run import Run
from personatune.storage import write_json

if TYPE_CHECKING:
    from tests.conftest import TinyModels


@pytest.fixture
def run(tiny: TinyModels, tmp_path: Path) -> Run:
    """A run on a tiny model whose SFT adapter does something."""
    import torch

    config = Config(model=ModelConfig(base=str(tiny.save(tmp_path / "base"))), lora=LoraConfig(rank=4, alpha=8))
    opened = Run.open(tmp_path / "runs", "one", config)
    wrapper = LoRAWrapper(load_base(config), config.lora)
    generator = torch.Generator().manual_seed(3)
    for name, weight in wrapper.model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    wrapper.save(opened.folder("sft") / "adapter")
    source = {"name": "mine.jsonl", "description": "own form: 9 dialogues", "licence": "CC BY 4.0"}
    data = {"counts": {"added: written dialogues": 7}, "statistics": {"source": source}}
    write_json(opened.folder("prepare") / "data.json", data)
    opened.mark_done("prepare", {})
    opened.mark_done("sft", {})
    return opened


def _greedy(model: object, tokenizer: object) -> str:
    import torch

    ids = tokenizer("Do you have pets?", return_tensors="pt").input_ids  # type: ignore[operator]
    with torch.no_grad():
        out = model.generate(input_ids=ids, max_new_tokens=12, do_sample=False, pad_token_id=0)  # type: ignore[attr-defined]
    return str(out[0].tolist())


def test_adapter_and_merged_model_say_what_the_run_says(run: Run, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from personatune.pipeline.models import load_model

    base = run.config.model.base
    tokenizer = AutoTokenizer.from_pretrained(base)
    said = _greedy(load_model(run, "sft"), tokenizer)
    assert said != _greedy(load_model(run, "base"), tokenizer)

    export(run, "sft", tmp_path / "adapter")
    plain = AutoModelForCausalLM.from_pretrained(base)
    assert _greedy(PeftModel.from_pretrained(plain, str(tmp_path / "adapter")).eval(), tokenizer) == said

    export(run, "sft", tmp_path / "merged", "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert _greedy(merged, AutoTokenizer.from_pretrained(tmp_path / "merged")) == said


def test_the_card_names_base_method_and_what_was_not_measured(run: Run, tmp_path: Path) -> None:
    note = export(run, "sft", tmp_path / "out", rank=2, half=True)
    assert note.startswith("adapter of rank 2, 16 bits, ")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert head["base_model"] == run.config.model.base
    assert "supervised fine-tuning with LoRA" in card
    assert "PPO" not in card.split("## Limits")[0].split("## How it was made")[1].split("##")[0]
    assert "not measured" in card
    assert "own form: 9 dialogues" in card
    assert "CC BY 4.0" in card
    assert "- 7 hand-written dialogues" in card
    assert note in card


def test_a_foreign_folder_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="exists and holds no export"):
        export(run, "sft", tmp_path / "mine")
    with pytest.raises(UserError, match="needs ppo first"):
        export(run, "ppo", tmp_path / "new")
    with pytest.raises(UserError, match="a merged model has none"):
        export(run, "sft", tmp_path / "new", "merged", rank=2)
    assert not (tmp_path / "new").exists()
