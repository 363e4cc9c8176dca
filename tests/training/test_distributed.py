"""Two processes under the real launcher come to what one process comes to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

SCRIPT = Path(__file__).with_name("train_together.py")
LOSSES = 1e-4
"""Most that a loss of two processes may differ from that of one: float noise, grown over some steps."""


def launch(folder: Path, *wanted: str, processes: int = 2, options: tuple[str, ...] = ("--multi_gpu",)) -> None:
    """Run the script in one process by plain Python, or in several by ``accelerate launch``, on the CPU."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "accelerate.commands.launch", "--num_processes", str(processes), "--num_machines", "1"]
        command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(_free_port())]
        command += options
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, str(SCRIPT), str(folder), *wanted],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def curves(folder: Path, rank: int = 0) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = json.loads((folder / f"process-{rank}.json").read_text())
    return found


def weights(folder: Path, rank: int = 0) -> dict[str, Tensor]:
    return load_file(folder / f"process-{rank}.safetensors")


def differences(found: list[dict[str, float]], expected: list[dict[str, float]]) -> list[float]:
    """Return the absolute differences of all figures, which must be the same ones at the same steps."""
    assert [(row["step"], sorted(row)) for row in found] == [(row["step"], sorted(row)) for row in expected]
    return [abs(row[name] - other[name]) for row, other in zip(found, expected, strict=True) for name in row]


def check_equal(one: Path, two: Path) -> None:
    for stage, expected in curves(one).items():
        apart = differences(curves(two)[stage], expected)
        assert len(apart) > 8
        assert max(apart) < LOSSES, stage
        assert sum(apart) / len(apart) < LOSSES / 10, stage
    mine, theirs, alone = weights(two, 0), weights(two, 1), weights(one)
    assert mine.keys() == alone.keys()
    for name, tensor in mine.items():
        assert (tensor - theirs[name]).abs().max() <= 1e-6, name
        assert (tensor - alone[name]).abs().max() < 1e-3, name
