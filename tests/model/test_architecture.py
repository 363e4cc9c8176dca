"""What is read from a config.json: parameters exactly, and what autograd really keeps of a token."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from personatune.errors import UserError
from personatune.model.architecture import find_config, read_architecture
from personatune.model.backbone import get_model_info
from personatune.model.fused_lora import fuse_lora
from personatune.model.lora import LoRAWrapper
from personatune.settings import Config, LoraConfig

if TYPE_CHECKING:
    from tests.conftest import TinyModels

KNOWN = json.loads(resources.files("personatune.model").joinpath("known_architectures.json").read_text())


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "mistral"])
def test_counts_are_those_of_the_loaded_model(tiny: TinyModels, family: str, tmp_path: Path) -> None:
    model = tiny.model(family)
    model.save_pretrained(tmp_path)
    found = read_architecture(find_config(str(tmp_path)), "tiny", Config(), torch.float32)
    assert found.parameters == get_model_info(model).parameters
    assert found.layers == model.config.num_hidden_layers
    adapted = LoRAWrapper(model, LoraConfig(rank=3))
    assert 3 * found.lora_width * found.layers == adapted.get_model_info().trainable_parameters


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_a_real_training_step_keeps_is_what_was_counted_on_two_layers(
    tiny: TinyModels, family: str, tmp_path: Path
) -> None:
    model = tiny.model(family)
    model.save_pretrained(tmp_path)
    found = read_architecture(find_config(str(tmp_path)), "tiny", Config(), torch.float32)
    adapted = LoRAWrapper(model, LoraConfig())
    fuse_lora(adapted.model)
    adapted.model.train()
    kept, token = _kept_by_a_step(model, rows=3, tokens=24), found.lora
    layer = token.layer + 24 * token.scores
    assert (token.scores > 0) == (family == "gpt2")  # its attention has dropout
    assert kept == pytest.approx(3 * 24 * (found.layers * layer + token.ends), rel=0.1)


def _kept_by_a_step(model: Any, rows: int, tokens: int) -> int:
    own = {weight.data_ptr() for weight in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ids = torch.randint(0, model.config.vocab_size, (rows, tokens))
        model.get_decoder()(input_ids=ids, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("entry", KNOWN["architectures"], ids=lambda entry: entry["names"][0])
def test_sizes_known_without_network_give_the_published_number_of_parameters(entry: dict[str, Any]) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(entry["model_type"], **entry["sizes"]))
    assert sum(weight.numel() for weight in model.parameters()) == entry["parameters"]
    assert entry["source"]
    assert entry["retrieved"]


def test_a_known_name_without_network_says_where_its_sizes_come_from() -> None:
    found = find_config("openai-community/gpt2-medium")
    assert found.config.num_hidden_layers == 24
    assert "can't be reached" in found.source
    assert "2019" in found.source


def test_an_unknown_name_without_network_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match=r"someone/nowhere: no config\.json .* gpt2-medium"):
        find_config("someone/nowhere")
