"""Checkpoints survive interrupts and damage, and what they bring back continues bit for bit."""

from __future__ import annotations

import gc
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from personatune.errors import UserError
from personatune.storage import write_text
from personatune.training.checkpoints import (
    SAVE_EVERY,
    CheckpointManager,
    capture_rng,
    optimizer_tensors,
    restore_optimizer,
    restore_rng,
)

if TYPE_CHECKING:
    from personatune.costs.meter import MetricsTracker


def _weights(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"adapter": {"a": torch.full((3, 2), value), "b": torch.arange(4, dtype=torch.int64)}}


def _damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:10])


def _kept(directory: Path) -> list[int]:
    assert all(path.name.startswith("checkpoint-") for path in directory.iterdir())
    return sorted(int(path.name.removeprefix("checkpoint-")) for path in directory.iterdir())


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
    manager = CheckpointManager(tmp_path, keep_last=1)
    for step in range(1, 6):
        manager.save(step, _weights(step), {}, best=step == 2)
    assert _kept(tmp_path) == [2, 5]
    best, last = manager.load_best(), manager.load_last()
    assert best is not None
    assert last is not None
    assert (best.step, last.step) == (2, 5)


def test_a_step_that_is_best_and_last_is_stored_once(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, keep_last=1)
    manager.save(1, _weights(1), {}, best=True)
    manager.save(2, _weights(2), {}, best=True)
    assert _kept(tmp_path) == [2]


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


def test_a_manifest_with_another_hash_is_named_too(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    place = manager.save(3, _weights(3), {}) / "manifest.json"
    manifest = json.loads(place.read_text(encoding="utf-8"))
    manifest["sha256"]["state.json"] *= 2  # the first digits are the right ones
    place.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match=r"state\.json: damaged, or not what its manifest\.json tells of"):
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


@pytest.mark.parametrize("name", ["adapter.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", [_damage, _truncate, Path.unlink], ids=["damaged", "truncated", "half-deleted"])
def test_whatever_is_wrong_with_the_last_checkpoint_is_told_and_the_one_before_is_used(
    tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    told: list[str] = []
    manager = CheckpointManager(tmp_path, say=told.append)
    manager.save(1, _weights(1), {"loss": 1.0})
    manager.save(2, _weights(2), {"loss": 2.0})
    harm(tmp_path / "checkpoint-000002" / name)
    loaded = manager.load_last()
    assert loaded is not None
    assert (loaded.step, loaded.state) == (1, {"loss": 1.0})
    [line] = told
    assert f"checkpoint-000002/{name}: " in line
    assert line.endswith("going on from checkpoint-000001")
    assert "\n" not in line


def test_what_is_trained_after_a_fall_back_outlives_the_damaged_one(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    manager.save(4, _weights(4), {})
    _damage(manager.save(8, _weights(8), {}) / "state.json")
    resumed = CheckpointManager(tmp_path)
    assert resumed.load_last() is not None
    resumed.save(6, _weights(6), {})  # stopped on the way
    assert _kept(tmp_path) == [4, 6]
    again = CheckpointManager(tmp_path).load_last()
    assert again is not None
    assert (again.step, again.damaged) == (6, ())


def test_falling_back_falls_back_to_the_best_of_then(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    for step, best in ((1, True), (2, False), (3, False), (4, True)):
        manager.save(step, _weights(step), {}, best=best)
    assert _kept(tmp_path) == [1, 3, 4]
    _truncate(tmp_path / "checkpoint-000004" / "manifest.json")
    resumed = CheckpointManager(tmp_path)
    last, marked = resumed.load_last(), resumed.load_best()
    assert last is not None
    assert marked is not None
    assert (last.step, marked.step) == (3, 1)


def test_a_kill_right_after_the_checkpoint_is_there_doesnt_lose_that_it_is_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = CheckpointManager(tmp_path)
    manager.save(1, _weights(1), {}, best=True)

    def killed(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(CheckpointManager, "_prune", killed)
    with pytest.raises(SystemExit):
        manager.save(2, _weights(2), {}, best=True)
    monkeypatch.undo()
    resumed = CheckpointManager(tmp_path)
    resumed.load_last()
    best = resumed.load_best()
    assert best is not None
    assert best.step == 2


IDENTITY = {"stage": "sft", "settings": {"learning_rate": 1e-3, "epochs": 1}, "model": "a5"}


def test_the_manifest_says_what_the_training_was_made_from(tmp_path: Path) -> None:
    folder = CheckpointManager(tmp_path, identity=IDENTITY).save(1, _weights(1), {})
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["config"] == IDENTITY
    assert set(manifest["versions"]) == {"personatune", "torch"}
    assert set(manifest["sha256"]) == {"adapter.safetensors", "state.json"}


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({**IDENTITY, "settings": {"learning_rate": 1e-3, "epochs": 3}}, "settings.epochs: 3, expected 1"),
        ({**IDENTITY, "model": "b7"}, "model: 'b7', expected 'a5'"),
        ({**IDENTITY, "stage": "ppo"}, "stage: 'ppo', expected 'sft'"),
        (None, "stage: None, expected 'sft'"),
    ],
)
def test_another_trainings_checkpoint_is_named_and_never_used(
    tmp_path: Path, other: dict[str, Any] | None, difference: str
) -> None:
    CheckpointManager(tmp_path, identity=other).save(9, _weights(9), {}, best=True)
    with pytest.raises(UserError, match=r"delete .* to start over") as caught:
        CheckpointManager(tmp_path, identity=IDENTITY).load_last()
    assert f"checkpoint-000009: of another training ({difference})" in str(caught.value)
    CheckpointManager(tmp_path / "own", identity=IDENTITY).save(4, _weights(4), {})
    (tmp_path / "own" / "checkpoint-000004").rename(tmp_path / "checkpoint-000004")
    (tmp_path / "own").rmdir()
    told: list[str] = []
    manager = CheckpointManager(tmp_path, identity=IDENTITY, say=told.append)
    loaded = manager.load_last()
    assert loaded is not None
    assert loaded.step == 4
    assert difference in told[0]
    assert manager.load_best() is None
    manager.save(5, _weights(5), {})
    assert _kept(tmp_path) == [4, 5]


def test_a_checkpoint_in_another_ones_folder_is_told(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    manager.save(3, _weights(3), {}).rename(tmp_path / "checkpoint-000007")
    with pytest.raises(UserError, match=r"checkpoint-000007/manifest\.json: of step 3"):
        manager.load_last()


def test_it_says_when_the_last_one_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("personatune.training.checkpoints.time.monotonic", lambda: clock[0])
    manager = CheckpointManager(tmp_path)
    clock[0] += SAVE_EVERY - 1
    assert not manager.due
    clock[0] += 1
    assert manager.due
    manager.save(1, _weights(1), {})
    assert not manager.due


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    ) if shutil.which("mount") else None  # fmt: skip
    if mounted is None or mounted.returncode:
        pytest.skip(f"no small file system here: {mounted.stderr.strip() if mounted else 'no mount'}")
    yield place
    gc.collect()  # tensors are mapped from their files, and caught errors may keep a test's frame with its tensors
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_loses_nothing_that_was_complete(small_disk: Path) -> None:
    from personatune.costs.meter import MetricsTracker
    from personatune.training.csv_tracker import CsvTracker

    large = {"weights": {"w": torch.ones(150_000)}}  # 600 kB
    manager = CheckpointManager(small_disk / "sft" / "checkpoints")
    manager.save(1, large, {}, best=True)
    manager.save(2, large, {})
    tracker = CsvTracker(small_disk / "sft")
    tracker.log({"loss": 0.5}, 1)
    ledger = MetricsTracker(small_disk / "costs.jsonl")
    with ledger.stage("prepare"):
        pass
    config = small_disk / "config.yaml"
    write_text(config, "seed: 0\n")
    before = {file: file.read_bytes() for file in small_disk.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=r"checkpoint-000003: can't be written \(.*No space left.*\); free some space"):
        manager.save(3, {"weights": {"w": torch.ones(400_000)}}, {})
    (small_disk / "filler").write_bytes(b"x")
    with (small_disk / "filler").open("ab", buffering=0) as stream, suppress(OSError):
        while stream.write(b"x" * 4096):
            pass
    rows = {"loss" + "s" * 5000: 0.25}
    for write in (
        lambda: manager.save(3, large, {}),
        lambda: tracker.log(rows, 2),
        lambda: tracker.samples("replies", [{"reply": "x" * 5000}], 2),
        lambda: write_text(config, "seed: 1\n" * 2000),
        lambda: _measured(ledger, "x" * 5000),
    ):
        with pytest.raises(UserError, match=r"can't be written \(.*No space left.*\); free some space"):
            write()
    after = {file: file.read_bytes() for file in small_disk.rglob("*") if file.is_file() and file.name != "filler"}
    assert after == before
    (small_disk / "filler").unlink()
    resumed = CheckpointManager(small_disk / "sft" / "checkpoints")
    last, best = resumed.load_last(), resumed.load_best()
    assert last is not None
    assert best is not None
    assert (last.step, best.step) == (2, 1)


def _measured(ledger: MetricsTracker, stage: str) -> None:
    with ledger.stage(stage):
        pass
