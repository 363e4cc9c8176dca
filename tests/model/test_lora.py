"""LoRA: plain PEFT reads our adapters, merging and joining change nothing that the model says."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from personatune.errors import UserError
from personatune.model.backbone import load_base_model
from personatune.model.branches import SplitModel
from personatune.model.lora import LoRAWrapper, join_adapters, load_adapter
from personatune.settings import BranchConfig, LoraConfig

if TYPE_CHECKING:
    from tests.conftest import TinyModels

IDS = torch.tensor([[5, 9, 40, 77, 120, 33, 8], [61, 62, 63, 64, 65, 200, 14]])
SETTINGS = LoraConfig(rank=4, alpha=8)


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def disturb(wrapper: LoRAWrapper, seed: int = 1) -> None:
    """Give an adapter weights of its own, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in wrapper.model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)


@pytest.fixture
def adapter(tiny: TinyModels, family: str, tmp_path: Path) -> tuple[Path, Tensor]:
    """A saved adapter and the logits it had."""
    wrapper = LoRAWrapper(tiny.model(family), SETTINGS)
    disturb(wrapper)
    wrapper.save(tmp_path / "adapter")
    return tmp_path / "adapter", logits(wrapper.model)


def test_a_fresh_adapter_changes_nothing(tiny: TinyModels, family: str) -> None:
    before = logits(tiny.model(family))
    assert torch.equal(logits(LoRAWrapper(tiny.model(family), SETTINGS).model), before)


def test_plain_peft_loads_a_saved_adapter_to_the_same_logits(
    tiny: TinyModels, family: str, adapter: tuple[Path, Tensor]
) -> None:
    from peft import PeftModel

    folder, expected = adapter
    plain = PeftModel.from_pretrained(tiny.model(family), str(folder))
    assert torch.equal(logits(plain), expected)
    assert not torch.allclose(logits(tiny.model(family)), expected, atol=1e-2)
    assert sorted(file.name for file in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    targets = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["target_modules"]
    assert targets == sorted(targets)  # PEFT's set has another order in each process


def test_we_load_what_we_saved_frozen_or_to_train_on(
    tiny: TinyModels, family: str, adapter: tuple[Path, Tensor]
) -> None:
    folder, expected = adapter
    for trainable in (False, True):
        wrapper = LoRAWrapper.load(tiny.model(family), folder, trainable=trainable)
        assert torch.equal(logits(wrapper.model), expected)
        assert (wrapper.get_model_info().trainable_parameters > 0) == trainable


def test_a_merged_adapter_is_a_plain_model_that_says_the_same(
    tiny: TinyModels, family: str, adapter: tuple[Path, Tensor]
) -> None:
    folder, expected = adapter
    merged = LoRAWrapper.load(tiny.model(family), folder).merge()
    assert type(merged) is type(tiny.model(family))
    assert torch.allclose(logits(merged), expected, atol=1e-4)
    assert not any("lora" in name for name, _ in merged.named_parameters())


@pytest.mark.parametrize("layers", [1, 2, "all"])
def test_two_adapters_joined_are_the_one_merged_and_the_other_on_top(
    tiny: TinyModels, family: str, adapter: tuple[Path, Tensor], tmp_path: Path, layers: Any
) -> None:
    from peft import PeftModel

    folder, _ = adapter
    split = SplitModel(
        LoRAWrapper.load(tiny.model(family), folder).merge(), BranchConfig(layers=layers, rank=2, alpha=16)
    )
    split.add_branch("policy", head=False, seed=3)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in split.parameters("policy"):
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    split.save_branch("policy", tmp_path / "branch")
    with split.active("policy"):
        expected = logits(split.backbone)
    join_adapters(folder, tmp_path / "branch", tmp_path / "joined")
    plain = PeftModel.from_pretrained(tiny.model(family), str(tmp_path / "joined"))
    assert torch.allclose(logits(plain), expected, atol=2e-4)
    assert torch.allclose(logits(plain.merge_and_unload()), expected, atol=2e-4)
    alone = PeftModel.from_pretrained(tiny.model(family), str(folder))
    assert not torch.allclose(logits(alone), expected, atol=1e-2)


def test_the_adapters_parameters_are_counted_by_hand(tiny: TinyModels) -> None:
    info = LoRAWrapper(tiny.model(layers=2, hidden=32), SETTINGS).get_model_info()
    # q, o: 32→32; k, v: 32→16 (two of four heads); gate, up: 32→64; down: 64→32; rank 4; two layers
    by_hand = 2 * 4 * (2 * (32 + 32) + 2 * (32 + 16) + 2 * (32 + 64) + (64 + 32))
    assert info.trainable_parameters == by_hand
    assert info.trainable_share == pytest.approx(by_hand / info.parameters)


def test_only_the_named_modules_are_adapted(tiny: TinyModels) -> None:
    wrapper = LoRAWrapper(tiny.model(), LoraConfig(rank=4, alpha=8, target_modules=["q_proj", "v_proj"]))
    trained = {
        name.split(".lora_")[0].rsplit(".", 1)[1] for name, w in wrapper.model.named_parameters() if w.requires_grad
    }
    assert trained == {"q_proj", "v_proj"}


def test_modules_the_model_doesnt_have_are_a_users_error(tiny: TinyModels) -> None:
    with pytest.raises(UserError, match=r"lora\.target_modules = \['c_attn'\]"):
        LoRAWrapper(tiny.model("llama"), LoraConfig(target_modules=["c_attn"]))


@pytest.mark.parametrize(
    "shape", [{"hidden": 64}, {"family": "gpt2"}, {"family": "qwen2", "hidden": 16}, {"layers": 2}, {"layers": 5}]
)
def test_an_adapter_for_another_base_is_a_users_error(tiny: TinyModels, tmp_path: Path, shape: dict[str, Any]) -> None:
    wrapper = LoRAWrapper(tiny.model("llama", layers=3), SETTINGS)
    disturb(wrapper)
    wrapper.save(tmp_path / "adapter")
    with pytest.raises(UserError, match=r"adapter: this adapter was made for another base than") as caught:
        load_adapter(tiny.model(**shape), tmp_path / "adapter")
    assert "\n" not in str(caught.value)


def test_a_folder_without_an_adapter_is_a_users_error(tiny: TinyModels, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no adapter_config\.json in this folder"):
        load_adapter(tiny.model(), tmp_path)


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_truncated_adapter_is_a_users_error(tiny: TinyModels, tmp_path: Path, file: str) -> None:
    LoRAWrapper(tiny.model(), SETTINGS).save(tmp_path / "adapter")
    broken = tmp_path / "adapter" / file
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UserError, match=rf"{file}: (damaged|not valid JSON)"):
        load_adapter(tiny.model(), tmp_path / "adapter")


def test_an_adapter_without_its_weights_is_a_users_error(tiny: TinyModels, tmp_path: Path) -> None:
    LoRAWrapper(tiny.model(), SETTINGS).save(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"adapter: no adapter_model\.safetensors in this folder"):
        load_adapter(tiny.model(), tmp_path / "adapter")


def test_saving_again_replaces_the_adapter(tiny: TinyModels, tmp_path: Path) -> None:
    wrapper = LoRAWrapper(tiny.model(), SETTINGS)
    wrapper.save(tmp_path / "adapter")
    disturb(wrapper)
    wrapper.save(tmp_path / "adapter")
    assert torch.equal(logits(load_adapter(tiny.model(), tmp_path / "adapter")), logits(wrapper.model))
    shutil.rmtree(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []  # nothing was left beside it


def test_the_adapters_start_is_a_matter_of_its_seed_alone(tiny: TinyModels) -> None:
    def start(seed: int) -> list[Tensor]:
        torch.rand(seed + 1)  # whatever was drawn before
        return [
            w.detach() for w in LoRAWrapper(tiny.model(), SETTINGS, seed=seed).model.parameters() if w.requires_grad
        ]

    assert all(torch.equal(a, b) for a, b in zip(start(1), start(1), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(start(1), start(2), strict=True))


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra qlora")
def test_a_model_in_four_bits_trains_a_step_on_the_cpu(tiny: TinyModels, tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "base", "llama", hidden=64)
    base = load_base_model(str(folder), quantization="nf4")
    wrapper = LoRAWrapper(base, SETTINGS)
    info = wrapper.get_model_info()
    full = LoRAWrapper(tiny.model("llama", hidden=64), SETTINGS).get_model_info()
    assert info.parameters == full.parameters
    assert info.parameter_bytes < 0.7 * full.parameter_bytes
    optimizer = torch.optim.AdamW([w for w in wrapper.model.parameters() if w.requires_grad], lr=1e-2)
    losses = []
    for _ in range(4):
        loss = wrapper.model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
