"""Exports are loaded again by their own consumers, plain PEFT and plain transformers, and give the same replies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from personatune.cards.character import CardCharacter
from personatune.cards.schema import card_of
from personatune.dialogue import Context, Persona, Turn
from personatune.errors import UserError
from personatune.model.generation import Chatbot
from personatune.model.lora import LoRAWrapper, join_adapters
from personatune.model.sampling import Sampling
from personatune.pipeline.export import export
from personatune.pipeline.flagship import FLAGSHIP, flagship_folder
from personatune.pipeline.models import load_base
from personatune.pipeline.run import Run
from personatune.plain_text import markdown_text
from personatune.settings import Config, LoraConfig, ModelConfig
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


PERSONA = Persona(("I have two dogs.", "I am a chef."))


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


def _python_of(card: str) -> str:
    return card.split("```python\n")[1].split("```", maxsplit=1)[0]


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_the_cards_own_lines_of_python_load_the_folder_they_stand_in(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: Any
) -> None:
    from personatune.pipeline.models import load_model, load_prompts

    export(run, "sft", tmp_path / "out", form)
    monkeypatch.chdir(tmp_path / "out")
    exec(_python_of((tmp_path / "out" / "README.md").read_text(encoding="utf-8")), {})
    bot = Chatbot(load_model(run, "sft"), load_prompts(run.config), Sampling(max_new_tokens=40))
    reply = bot([Context(PERSONA, (Turn("partner", "Hi, do you have pets?"),))])[0]
    assert capsys.readouterr().out.strip() == reply


@pytest.mark.parametrize("precision", ["f16", "q8_0"])
def test_a_gguf_file_says_what_the_run_says(run: Run, tmp_path: Path, precision: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from personatune.pipeline.models import load_model

    note = export(run, "sft", tmp_path / "out", "gguf", precision=precision)
    [file] = [file.name for file in (tmp_path / "out").iterdir() if file.suffix == ".gguf"]
    assert (file, note.startswith(f"merged, GGUF {precision}")) == (f"one-sft-{precision}.gguf", True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out", gguf_file=file)
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "out", gguf_file=file, dtype=torch.float32).eval()
    own = load_model(run, "sft")
    if precision == "f16":
        assert _greedy(read, tokenizer) == _greedy(own, tokenizer)
    ids = tokenizer("Do you have pets?", return_tensors="pt").input_ids
    with torch.no_grad():
        difference = (read(input_ids=ids).logits - own(input_ids=ids).logits).square().mean().sqrt()
        spread = own(input_ids=ids).logits.std()
    assert float(difference) < {"f16": 0.01, "q8_0": 0.15}[precision] * float(spread)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert (head["library_name"], head["base_model_relation"]) == ("gguf", "quantized")
    assert f"- Weights: {markdown_text(note)}" in card
    assert f'gguf_file="{file}"' in card


def test_an_ollama_folder_has_a_modelfile_for_each_persona_beside_the_weights(run: Run, tmp_path: Path) -> None:
    data = {"name": "../Mara", "description": "{{char}} is a smith.", "first_mes": "Hm?",
            "mes_example": "<START>\n{{user}}: hi\n{{char}}: Iron first."}  # fmt: skip
    card = CardCharacter(card_of({"spec": "chara_card_v2", "spec_version": "2.0", "data": data}, "a card"))
    export(run, "sft", tmp_path / "out", "ollama", precision="q8_0", personas=[PERSONA, card])
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "README.md", "mara.Modelfile", "one-sft-q8_0.gguf", "persona-1.Modelfile",
    ]  # fmt: skip
    told = (tmp_path / "out" / "mara.Modelfile").read_text(encoding="utf-8")
    assert told.startswith("FROM ./one-sft-q8_0.gguf\n")
    assert "- Mara is a smith" in told or "- I am a smith." in told
    says = [line for line in told.splitlines() if line.startswith("MESSAGE")]
    assert says == [
        'MESSAGE user """hi"""', 'MESSAGE assistant """Iron first."""',
        'MESSAGE user """…"""', 'MESSAGE assistant """Hm?"""',
    ]  # fmt: skip
    assert "ollama create mara -f mara.Modelfile" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_an_export_replaces_an_earlier_one_and_nothing_else(run: Run, tmp_path: Path) -> None:
    export(run, "sft", tmp_path / "out", "merged")
    export(run, "sft", tmp_path / "out", "adapter")
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "README.md").write_text("# My project", encoding="utf-8")
    with pytest.raises(UserError, match="exists and holds no export"):
        export(run, "sft", tmp_path / "project")
    with pytest.raises(UserError, match="give the new folder a name, as in my-model"):
        export(run, "sft", Path())
    (tmp_path / "out" / "photos").mkdir()
    with pytest.raises(UserError, match="exists and holds no export"):
        export(run, "sft", tmp_path / "out")


def _updates(folder: Path) -> dict[str, Any]:
    """Return what an adapter adds to each weight."""
    from safetensors.torch import load_file

    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    weights = load_file(folder / "adapter_model.safetensors")
    modules = {name.rsplit(".lora_", 1)[0] for name in weights}
    scale = settings["lora_alpha"] / settings["r"]
    return {name: scale * weights[f"{name}.lora_B.weight"] @ weights[f"{name}.lora_A.weight"] for name in modules}


@pytest.mark.parametrize("strength", [1.0, 1.25, 0.5])
def test_the_step_from_sft_is_taken_as_often_as_asked(run: Run, tmp_path: Path, strength: float) -> None:
    import torch

    wrapper = LoRAWrapper(load_base(run.config), LoraConfig(rank=2, alpha=6))
    generator = torch.Generator().manual_seed(4)
    for name, weight in wrapper.model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator)
    wrapper.save(run.folder("dpo") / "branch")
    sft, branch = run.folder("sft") / "adapter", run.folder("dpo") / "branch"
    join_adapters(sft, branch, run.folder("dpo") / "adapter")
    run.mark_done("dpo", {})
    note = export(run, "dpo", tmp_path / "out", strength=strength)
    assert note.startswith("adapter" if strength == 1.0 else f"the step from SFT {strength:g} times")
    found, first, second = _updates(tmp_path / "out"), _updates(sft), _updates(branch)
    assert found
    for name, update in found.items():
        torch.testing.assert_close(update, first[name] + strength * second[name], rtol=1e-4, atol=1e-5)


def test_there_is_no_step_from_sft_to_itself(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sft has none"):
        export(run, "sft", tmp_path / "out", strength=2.0)
    with pytest.raises(UserError, match="leave it out for a merged model"):
        export(run, "sft", tmp_path / "out", "merged", strength=2.0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("form", "options", "told"),
    [
        ("gguf", {"half": True}, "--precision says the bits"),
        ("ollama", {}, "give --persona"),
        ("gguf", {"personas": [PERSONA]}, "gguf has none"),
        ("merged", {"precision": "q8_0"}, "a GGUF file's"),
        ("ollama", {"rank": 2, "personas": [PERSONA]}, "--rank is an adapter's"),
    ],
)
def test_options_of_another_form_are_refused(
    run: Run, tmp_path: Path, form: Any, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        export(run, "sft", tmp_path / "out", form, **options)
    assert not (tmp_path / "out").exists()


def test_the_shipped_adapter_is_exported_without_a_run(tmp_path: Path) -> None:
    note = export(None, FLAGSHIP, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    shipped = (flagship_folder() / "README.md").read_text(encoding="utf-8")
    assert "consistent answers" in card  # measured figures
    assert "## Limits" in card
    assert next(line for line in shipped.splitlines() if line.startswith("- Licence of the data")) in card
    assert [line for line in card.splitlines() if line.startswith("- Weights")] == [f"- Weights: {note}"]
    assert yaml.safe_load(card.split("---")[1])["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_what_would_be_uploaded_is_told_and_without_the_option_nothing_is(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from personatune.cli import app

    pushed: list[tuple[Path, str, bool]] = []

    def push(folder: Path, name: str, *, private: bool) -> str:
        pushed.append((folder, name, private))
        return f"https://hub/{name}"

    monkeypatch.setattr("personatune.export.hub.push_folder", push)
    words = ["export", "--run", "one", "--stage", "sft", "--runs", str(run.directory.parent), "--to"]
    told = CliRunner().invoke(app, [*words, str(tmp_path / "a")])
    assert (told.exit_code, pushed) == (0, []), told.output
    told = CliRunner().invoke(app, [*words, str(tmp_path / "b"), "--push-to-hub", "me/max"])
    assert pushed == [(tmp_path / "b", "me/max", True)]
    assert "uploading README.md, adapter_config.json, adapter_model.safetensors" in told.output
