"""The benchmarks against TRL on a tiny model: both sides do the same work, and their losses agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels


@pytest.fixture
def places(tmp_path: Path, tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> list[str]:
    from trl_peer.environment import FOLDER, TRL

    if not (FOLDER / f"ready-{TRL}").is_file():
        pytest.skip(f"no TRL {TRL} at {FOLDER.name}; make it with: make trl")
    tiny.save(tmp_path / "model")
    dialogues.write(tmp_path / "made.jsonl", 60)
    return ["--model", str(tmp_path / "model"), "--data", str(tmp_path / "made.jsonl"), "--rounds", "1"]


def run(script: str, *words: str) -> dict[str, Any]:
    from sides.paired import BENCHMARKS

    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_ppo_does_the_same_work_as_trl(places: list[str]) -> None:
    found = run("ppo_vs_trl.py", *places, "--layers", "1", "--prompt-tokens", "150")
    assert found["same_work"], found["checks"]
    assert found["time_ratio"] > 0
    assert found["versions"]["peer"]["trl"] == "1.12.0"


@pytest.mark.slow
def test_the_reward_loss_is_trls_on_the_same_batch(places: list[str]) -> None:
    found = run("reward_vs_trl.py", *places, "--layers", "1", "--pairs", "16")
    losses = found["loss_of_the_same_batch"]
    assert losses["peer"] == pytest.approx(losses["ours"], abs=1e-5)
    assert abs(losses["ours"] - 0.6931) > 1e-4  # the head tells replies apart: not the loss of equal scores
    assert found["same_work"], found["checks"]


@pytest.mark.slow
def test_the_sft_losses_are_trls_step_by_step(places: list[str]) -> None:
    found = run("sft_vs_trl.py", *places, "--steps", "3")
    assert found["same_work"], found["checks"]
    assert found["losses"]["largest_gap"] < 1e-4
