"""Two processes under the real launcher come to what one process comes to."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from personatune.training.distributed import Processes, in_turn, join_processes

SCRIPT = Path(__file__).with_name("train_together.py")
LARGEST, MEAN = 1e-4, 1e-6
"""Differences that float noise may make in figures of some ten steps."""


def launch(folder: Path, *wanted: str, options: tuple[str, ...] = ("--multi_gpu",)) -> None:
    """Run the script in two processes on the CPU (accelerate's ``--cpu`` would start one)."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(_free_port())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, *options, str(SCRIPT), str(folder), *wanted],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def run_alone(folder: Path, *wanted: str) -> None:
    """Run the script in this process."""
    folder.mkdir(exist_ok=True)
    runpy.run_path(str(SCRIPT))["main"](folder, wanted)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def found(folder: Path, what: str, rank: int = 0) -> dict[str, Any]:
    return dict(json.loads((folder / f"process-{rank}.json").read_text())[what])


def weights(folder: Path, rank: int = 0) -> dict[str, Tensor]:
    return load_file(folder / f"process-{rank}.safetensors")


def differences(found: list[dict[str, float]], expected: list[dict[str, float]]) -> list[float]:
    """Return the absolute differences of all figures, which must be the same ones at the same steps."""
    assert [(row["step"], sorted(row)) for row in found] == [(row["step"], sorted(row)) for row in expected]
    return [abs(row[name] - other[name]) for row, other in zip(found, expected, strict=True) for name in row]


def check_two_equal_one(two: Path, one: Path) -> None:
    for stage, expected in found(one, "curves").items():
        apart = differences(found(two, "curves")[stage], expected)
        assert len(apart) > 8
        assert max(apart) < LARGEST, stage
        assert sum(apart) / len(apart) < MEAN, stage
    mine, theirs, alone = weights(two, 0), weights(two, 1), weights(one)
    assert mine.keys() == alone.keys()
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name
        assert torch.allclose(tensor, alone[name], atol=1e-3), name


def test_fine_tuning_in_two_processes_gives_the_losses_of_one(tmp_path: Path) -> None:
    launch(tmp_path / "two", "sft")
    run_alone(tmp_path / "one", "sft")
    check_two_equal_one(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "held"), [(("--multi_gpu",), 1.0), (("--use_fsdp", "--fsdp_version", "2"), 0.5)], ids=["ddp", "fsdp"]
)
def test_every_trainer_comes_to_the_same_in_two_processes(
    tmp_path: Path, options: tuple[str, ...], held: float
) -> None:
    stages = ("sft", "reward", "dpo", "ppo")
    launch(tmp_path / "two", *stages, options=options)
    run_alone(tmp_path / "one", *stages)
    check_two_equal_one(tmp_path / "two", tmp_path / "one")
    for rank in (0, 1):
        assert found(tmp_path / "two", "held", rank) == dict.fromkeys(stages, held)


@pytest.mark.slow
def test_ctrl_c_in_one_of_them_stops_all_after_the_same_step_and_one_process_goes_on_there(tmp_path: Path) -> None:
    stages = ("sft", "reward", "dpo", "ppo")
    launch(tmp_path / "parts", *stages, "stop")
    run_alone(tmp_path / "one", *stages)
    begun, others = (found(tmp_path / "parts", "curves", rank) for rank in (0, 1))
    assert {stage: rows[-1]["step"] for stage, rows in begun.items()} == dict.fromkeys(stages, 2)
    assert others == begun
    run_alone(tmp_path / "parts", *stages)  # with another number of processes
    rest = found(tmp_path / "parts", "curves")
    for stage, expected in found(tmp_path / "one", "curves").items():
        assert max(differences(begun[stage] + rest[stage], expected)) < LARGEST
    for name, tensor in weights(tmp_path / "parts").items():
        assert torch.allclose(tensor, weights(tmp_path / "one")[name], atol=1e-3), name


def test_alone_everything_is_as_it_was() -> None:
    alone = join_processes()
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.ones(2)
    alone.sum_gradients([weight])
    assert weight.grad.tolist() == [1.0, 1.0]
    assert alone.alone
    assert alone.main
    assert (alone.own([1, 2, 3]), alone.in_order([1, 2, 3]), alone.gather(4)) == ([1, 2, 3], [1, 2, 3], [4])
    assert (alone.total(0.1), alone.totals({"loss": 0.1}), alone.any(False)) == (0.1, {"loss": 0.1}, False)
    assert list(alone.evenly(["a", "b"], lambda: "spare")) == [("a", 1.0), ("b", 1.0)]
    alone.choose("fsdp")
    assert not alone.sharded


class Listed(Processes):
    """One of several processes, whose others' values are given."""

    def __init__(self, rank: int, count: int, others: list[Any]) -> None:
        super().__init__()
        self.rank, self.count, self.sharded, self.others = rank, count, True, others

    def gather(self, value: Any) -> list[Any]:
        return [*self.others[: self.rank], value, *self.others[self.rank :]]


@pytest.mark.parametrize("items", [7, 3, 1])
def test_shares_cover_everything_once_and_come_back_in_order(items: int) -> None:
    shares = [Listed(rank, 3, []).own(range(items)) for rank in range(3)]
    assert sorted(number for share in shares for number in share) == list(range(items))
    for rank in range(3):
        others = shares[:rank] + shares[rank + 1 :]
        assert Listed(rank, 3, others).in_order(shares[rank]) == list(range(items))


def test_a_process_without_work_makes_as_many_passes_as_the_others_and_they_count_nothing() -> None:
    assert list(Listed(0, 2, [3]).evenly(["a"], lambda: "spare")) == [("a", 1.0), ("spare", 0.0), ("spare", 0.0)]


def test_a_random_state_comes_back_to_its_own_process_and_a_new_one_gets_another() -> None:
    torch.manual_seed(1)
    first = Processes().capture_rng()
    torch.manual_seed(2)
    tensors, state = Listed(1, 2, [first]).capture_rng()
    drawn = []
    for rank in (0, 1, 2):
        Listed(rank, 3, []).restore_rng(tensors, state)
        drawn.append(float(torch.rand(())))
    torch.manual_seed(1)
    assert drawn[0] == float(torch.rand(()))
    torch.manual_seed(2)
    assert drawn[1] == float(torch.rand(()))
    assert len(set(drawn)) == 3


def test_even_and_odd_take_turns_and_none_is_lost() -> None:
    order = [4, 2, 1, 0, 3, 6, 8]
    assert in_turn(order) == [4, 1, 2, 3, 0, 6, 8]
    assert in_turn([]) == []
