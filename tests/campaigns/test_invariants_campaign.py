"""invariants.py in its short form: the same numbers by other roads, and a difference that is seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import invariants

SCRIPT = Path(invariants.__file__)


@pytest.mark.slow
def test_the_same_seed_and_other_micro_batches_end_within_their_tolerances(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--work", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["broken"] == []
    rows = {(row["road"], row["stage"]): row for row in found["rows"]}
    assert rows.keys() == {("seed", "sft"), ("seed", "ppo"), ("micro_batch", "sft")}
    for stage in ("sft", "ppo"):
        assert rows["seed", stage]["weights"]["largest"] == 0.0
        assert rows["seed", stage]["metrics"]["largest"] == 0.0
    assert rows["micro_batch", "sft"]["metrics"]["largest"] > 0.0, "another order of adding leaves other last digits"
    assert all(row["figures"] > 20 for row in found["rows"])


def test_a_weight_or_a_figure_apart_is_seen(tmp_path: Path) -> None:
    for name, weight, loss in (("one", 1.0, 2.0), ("other", 1.01, 2.0), ("third", 1.0, 2.5)):
        folder = tmp_path / name
        (folder / "adapter").mkdir(parents=True)
        save_file({"w": torch.tensor([weight, -2.0])}, folder / "adapter" / "adapter_model.safetensors")
        rows = f"step,name,value\n1,train_loss,{loss}\n1,tokens_per_second,{loss * weight}\n"
        (folder / "metrics.csv").write_text(rows, encoding="utf-8")
    road = invariants.Road("made", weights=0.001, metrics=0.1)
    same = invariants.compare(road, "sft", tmp_path / "one", tmp_path / "one")
    assert not same["broken"]
    assert same["figures"] == 1
    moved = invariants.compare(road, "sft", tmp_path / "one", tmp_path / "other")
    assert moved["broken"]
    assert moved["weights"]["largest"] == pytest.approx(0.005, rel=1e-3)
    assert moved["weights"]["mean"] == pytest.approx(0.0025, rel=1e-3)
    assert invariants.compare(road, "sft", tmp_path / "one", tmp_path / "third")["metrics"]["largest"] == 0.5
