"""Adapters of lower rank: the nearest ones, in PEFT's format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from personatune.errors import UserError
from personatune.model.lora import LoRAWrapper, load_adapter
from personatune.model.smaller_adapters import shrink_adapter
from personatune.settings import LoraConfig

if TYPE_CHECKING:
    from tests.conftest import TinyModels


def _adapter(tiny: TinyModels, folder: Path, rank: int) -> Path:
    wrapper = LoRAWrapper(tiny.model(), LoraConfig(rank=rank, alpha=2 * rank))
    generator = torch.Generator().manual_seed(1)
    for name, weight in wrapper.model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.1
    wrapper.save(folder)
    return folder


def _update(tiny: TinyModels, folder: Path) -> dict[str, torch.Tensor]:
    plain = dict(tiny.model().named_parameters())
    merged = load_adapter(tiny.model(), folder).merge_and_unload()
    return {name: weight.detach() - plain[name].detach() for name, weight in merged.named_parameters()}


def test_the_update_is_the_truncated_singular_value_decomposition(tiny: TinyModels, tmp_path: Path) -> None:
    source = _adapter(tiny, tmp_path / "whole", rank=6)
    lost = shrink_adapter(source, tmp_path / "small", rank=2)
    whole, small = _update(tiny, source), _update(tiny, tmp_path / "small")
    difference = total = 0.0
    for name, update in whole.items():
        if not update.any():
            continue
        values = torch.linalg.svdvals(update)
        error = float((update - small[name]).norm())
        assert error == pytest.approx(float(values[2:].norm()), rel=1e-3)
        assert torch.linalg.matrix_rank(small[name], rtol=1e-4) <= 2
        difference += error**2
        total += float(update.norm()) ** 2
    assert lost == pytest.approx((difference / total) ** 0.5, rel=1e-3)
    assert 0 < lost < 1


def test_half_precision_alone_loses_next_to_nothing_and_halves_the_file(tiny: TinyModels, tmp_path: Path) -> None:
    source = _adapter(tiny, tmp_path / "whole", rank=4)
    assert shrink_adapter(source, tmp_path / "half", half=True) < 1e-3
    sizes = [(folder / "adapter_model.safetensors").stat().st_size for folder in (source, tmp_path / "half")]
    assert sizes[1] < 0.65 * sizes[0]
    assert shrink_adapter(source, tmp_path / "padded", rank=8) < 1e-6


def test_a_folder_without_an_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"adapter_config\.json"):
        shrink_adapter(tmp_path, tmp_path / "out")
