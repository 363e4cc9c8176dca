"""Checkpoints survive interrupts and damage, and what they bring back continues bit for bit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from personatune.errors import UserError
from personatune.training.checkpoints import (
    CheckpointManager,
    capture_rng,
    optimizer_tensors,
    restore_optimizer,
    restore_rng,
)


def _weights(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"adapter": {"a": torch.full((3, 2), value), "b": torch.arange(4, dtype=torch.int64)}}


def _damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    manager.save(7, _weights(0.5), {"loss": 1.25, "order": [3, 1]})
    loaded = manager.load_last()
    assert loaded is not None
    assert (loaded.step, loaded.state, loaded.damaged) == (7, {"loss": 1.25, "order": [3, 1]}, ())
    assert torch.equal(loaded.tensors["adapter"]["a"], torch.full((3, 2), 0.5))
    assert loaded.tensors["adapter"]["b"].dtype == torch.int64


def test_nothing_saved_means_nothing_to_resume(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path / "never")
    assert manager.load_last() is None
    assert manager.load_best() is None


def test_only_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    for step in range(1, 6):
        manager.save(step, _weights(step), {}, best=step == 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.json", "checkpoint-000002", "checkpoint-000005"]
    best, last = manager.load_best(), manager.load_last()
    assert best is not None
    assert last is not None
    assert (best.step, last.step) == (2, 5)


def test_a_step_that_is_best_and_last_is_stored_once(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    manager.save(1, _weights(1), {}, best=True)
    manager.save(2, _weights(2), {}, best=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.json", "checkpoint-000002"]


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, keep_last=2)
    manager.save(1, _weights(1), {})
    _damage(manager.save(2, _weights(2), {}) / "adapter.safetensors")
    loaded = manager.load_last()
    assert loaded is not None
    assert loaded.step == 1
    assert "checkpoint-000002/adapter.safetensors: damaged" in loaded.damaged[0]


@pytest.mark.parametrize("name", ["adapter.safetensors", "state.json", "manifest.json"])
def test_a_truncated_only_checkpoint_is_an_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    manager = CheckpointManager(tmp_path)
    file = manager.save(3, _weights(3), {"loss": 1.0}) / name
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(UserError, match=f"checkpoint-000003/{name}.*delete"):
        manager.load_last()


def test_a_damaged_best_is_never_replaced_by_another(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    _damage(manager.save(1, _weights(1), {}, best=True) / "adapter.safetensors")
    manager.save(2, _weights(2), {})
    with pytest.raises(UserError, match="damaged"):
        manager.load_best()


def test_a_failure_while_saving_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    manager.save(1, _weights(1), {})
    with pytest.raises(TypeError):
        manager.save(2, _weights(2), {"not json": object()})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000001"]
    loaded = manager.load_last()
    assert loaded is not None
    assert loaded.step == 1


def test_an_interrupt_while_writing_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = CheckpointManager(tmp_path)
    manager.save(1, _weights(1), {})

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("personatune.training.checkpoints.write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        manager.save(1, _weights(2), {})
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000001"]
    loaded = manager.load_last()
    assert loaded is not None
    assert torch.equal(loaded.tensors["adapter"]["a"], torch.full((3, 2), 1.0))


def test_tensors_that_share_storage_are_saved_whole(tmp_path: Path) -> None:
    tied = torch.arange(6.0).reshape(2, 3)
    manager = CheckpointManager(tmp_path)
    manager.save(1, {"model": {"input": tied, "output": tied, "transposed": tied.T, "row": tied[1]}}, {})
    loaded = manager.load_last()
    assert loaded is not None
    named = loaded.tensors["model"]
    assert torch.equal(named["output"], tied)
    assert torch.equal(named["transposed"], tied.T)
    assert named["row"].tolist() == [3.0, 4.0, 5.0]


def test_clear_removes_every_checkpoint(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, keep_last=3)
    manager.save(1, _weights(1), {}, best=True)
    manager.save(2, _weights(2), {})
    manager.clear()
    assert list(tmp_path.iterdir()) == []


def _training(seed: int) -> tuple[torch.nn.Linear, torch.optim.AdamW, torch.Tensor]:
    torch.manual_seed(seed)
    model = torch.nn.Linear(4, 2)
    groups: list[dict[str, Any]] = [{"params": [model.weight], "lr": 1e-2}, {"params": [model.bias], "lr": 1e-3}]
    optimizer = torch.optim.AdamW(groups, betas=(0.8, 0.99))
    return model, optimizer, torch.randn(5, 4)


def _step(model: torch.nn.Linear, optimizer: torch.optim.Optimizer, batch: torch.Tensor) -> None:
    optimizer.zero_grad()
    model(batch).square().mean().backward()
    optimizer.step()


def test_a_restored_optimizer_takes_the_identical_next_step(tmp_path: Path) -> None:
    model, optimizer, batch = _training(0)
    for _ in range(3):
        _step(model, optimizer, batch)
    tensors, state = optimizer_tensors(optimizer)
    manager = CheckpointManager(tmp_path)
    manager.save(3, {"model": model.state_dict(), "optimizer": tensors}, {"optimizer": state})
    _step(model, optimizer, batch)

    resumed, fresh, _ = _training(1)
    loaded = manager.load_last()
    assert loaded is not None
    resumed.load_state_dict(loaded.tensors["model"])
    restore_optimizer(fresh, loaded.tensors["optimizer"], loaded.state["optimizer"])
    assert fresh.param_groups[0]["betas"] == (0.8, 0.99)
    _step(resumed, fresh, batch)
    assert torch.equal(resumed.weight, model.weight)
    assert torch.equal(resumed.bias, model.bias)


def test_optimizer_state_of_another_model_is_refused() -> None:
    model, optimizer, batch = _training(0)
    _step(model, optimizer, batch)
    tensors, state = optimizer_tensors(optimizer)
    with pytest.raises(UserError, match="parameter groups"):
        restore_optimizer(torch.optim.AdamW(model.parameters()), tensors, state)
    wider = torch.nn.Linear(9, 2)
    groups: list[dict[str, Any]] = [{"params": [wider.weight]}, {"params": [wider.bias]}]
    other = torch.optim.AdamW(groups)
    with pytest.raises(UserError, match="shape"):
        restore_optimizer(other, tensors, state)


def test_random_generators_go_on_where_they_were(tmp_path: Path) -> None:
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    random.gauss(0, 1)  # leaves a second Gaussian in the cache, which is part of the state
    np.random.standard_normal()
    tensors, state = capture_rng()
    manager = CheckpointManager(tmp_path)
    manager.save(1, {"rng": tensors}, {"rng": state})

    def draw() -> list[float]:
        return [random.gauss(0, 1), random.random(), np.random.standard_normal(), torch.rand(1).item()]

    expected = draw()
    draw()
    loaded = manager.load_last()
    assert loaded is not None
    restore_rng(loaded.tensors["rng"], loaded.state["rng"])
    assert draw() == expected
