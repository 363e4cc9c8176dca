"""Numbers that don't move: the same training by other roads, through the command line, and how far apart they end.

    python campaigns/invariants.py [--only seed micro_batch processes resumed] [--work FOLDER] [--quick]

A tiny random model and made-up dialogues go through ``prepare``, ``sft``, ``preferences``, ``reward``, ``dpo`` and
``ppo`` of ``python -m personatune``, once as the reference. Each road then starts at a copy of the reference's
prepared data and trains again:

* ``seed``: the same once more. Bit for bit the same.
* ``micro_batch``: two dialogues in memory at once in place of four (``sft.micro_batch_size``), SFT only.
* ``processes``: two of them under ``accelerate launch``, one thread each.
* ``resumed``: every training stage is sent SIGTERM once, some steps in, and goes on by the same command.
  Bit for bit the same.

Every stage of a road reads what the reference's stages before it left, so that a difference in one is not told twice.
Compared are the stage's final weights and every figure of its ``metrics.csv`` but speeds: the largest and the mean
absolute difference, weights as a share of the largest weight of their tensor. Outside of the tolerance: exit code 1.
``--quick``: SFT and PPO only, seed and micro-batch. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

REPOSITORY = Path(__file__).resolve().parents[1]
TRAINED = {"sft": "adapter", "reward": "branch", "dpo": "branch", "ppo": "branch"}
"""The stages that train, in order, and where each leaves its weights."""
SETTINGS = (
    "model.max_length=384", "lora.rank=4", "data.validation_share=0.2", "data.test_share=0.2", "data.max_dialogues=32",
    "tracking.backends=[csv]", "sft.batch_size=4", "sft.learning_rate=5e-3", "sft.evaluations=4", "sft.samples=0",
    "sft.validation_dialogues=6", "sft.epochs=4", "preferences.pairs=24", "preferences.test_pairs=8",
    "preferences.ppo_prompts=8", "preferences.max_new_tokens=6", "branch.layers=1", "branch.rank=2", "reward.epochs=6",
    "dpo.epochs=4", "dpo.evaluations=2", "ppo.updates=6", "ppo.prompts_per_update=4", "ppo.max_new_tokens=6",
    "ppo.judge_every=2", "ppo.judge_personas=2", "ppo.kl_budget=100", "evaluation.turns=5",
    "evaluation.max_new_tokens=6", "evaluation.judge=none",
)  # fmt: skip


@dataclass(frozen=True)
class Road:
    """One way to train.

    Attributes:
        settings: of the run, beside the others.
        stages: that are trained so.
        weights, metrics: the largest difference that is allowed; 0 is bit for bit.
    """

    name: str
    weights: float
    metrics: float
    settings: tuple[str, ...] = ()
    stages: tuple[str, ...] = tuple(TRAINED)
    processes: int = 1
    interrupted: bool = False


ROADS = (
    Road("seed", 0.0, 0.0),
    Road("micro_batch", 2e-3, 1e-5, ("sft.micro_batch_size=2",), ("sft",)),
    Road("processes", 2e-3, 1e-5, processes=2),
    Road("resumed", 0.0, 0.0, interrupted=True),
)


def main() -> int:
    """Train the reference and every road, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[road.name for road in ROADS], default=None)
    parser.add_argument("--work", type=Path, default=None, help="where the temporary folder is made")
    parser.add_argument("--quick", action="store_true", help="SFT and PPO, the same seed and other micro-batches")
    options = parser.parse_args()
    names = options.only or (["seed", "micro_batch"] if options.quick else [road.name for road in ROADS])
    stages = ("sft", "ppo") if options.quick else tuple(TRAINED)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        rows = campaign(Path(folder), [road for road in ROADS if road.name in names], stages)
    print(f"{'road':<12} {'stage':<7} {'what':<8} {'largest':>10} {'mean':>10} {'allowed':>8}")
    for row in rows:
        for what in ("weights", "metrics"):
            found = row[what]
            print(f"{row['road']:<12} {row['stage']:<7} {what:<8} {found['largest']:>10.2e} {found['mean']:>10.2e} "
                  f"{found['allowed']:>8g}")  # fmt: skip
    broken = [f"{row['road']} {row['stage']}" for row in rows if row["broken"]]
    print(json.dumps({"rows": rows, "broken": broken}))
    return 1 if broken else 0


def campaign(folder: Path, roads: Sequence[Road], stages: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row a road and stage: the differences of weights and of metrics."""
    sys.path.insert(0, str(REPOSITORY))
    from tests.conftest import HandMadeDialogues, TinyModels

    model = TinyModels().save(folder / "model", layers=2, spread=0.05)
    data = HandMadeDialogues.write(folder / "made.jsonl", 80)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    call("prepare", "--name", "reference", "--data", str(data), "--model", str(model), *settings, runs=folder)
    for stage in ("sft", "preferences", "reward", *(one for one in stages if one not in ("sft", "reward"))):
        train(folder, "reference", stage)
    rows = []
    for road in roads:
        for stage in (one for one in road.stages if one in stages):
            name = f"{road.name}-{stage}"
            shutil.copytree(folder / "reference", folder / name)
            forget(folder / name, stage)
            for setting in road.settings:
                change(folder / name / "config.yaml", setting)
            if road.interrupted:
                interrupt(folder, name, stage)
            train(folder, name, stage, road.processes)
            rows.append(compare(road, stage, folder / "reference" / stage, folder / name / stage))
    return rows


def train(runs: Path, name: str, stage: str, processes: int = 1) -> None:
    """Run one stage to its end."""
    call(stage, "--run", name, *(("--despite-reward",) if stage == "ppo" else ()), runs=runs, processes=processes)


def call(*words: str, runs: Path, processes: int = 1) -> None:
    """Run the program.

    Raises:
        SystemExit: it failed; says what it printed.
    """
    done = subprocess.run(
        command(*words, runs=runs, processes=processes), env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"personatune {' '.join(words)}: ended with {done.returncode}\n{done.stderr[-2000:]}")


def command(*words: str, runs: Path, processes: int = 1) -> list[str]:
    """Return the command of the program, alone or under the real launcher."""
    launcher: list[str] = []
    if processes > 1:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = str(found.getsockname()[1])
        launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
        launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        launcher += ["--main_process_port", port]
    return [sys.executable, *launcher, "-m", "personatune", *words, "--runs", str(runs)]


def environment() -> dict[str, str]:
    """Return the environment of a call: the CPU and one thread, so that sums are added in one order."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


def interrupt(runs: Path, name: str, stage: str) -> None:
    """Send a stage SIGTERM once its curve has a few steps, and wait until it has saved and ended.

    Raises:
        SystemExit: it ended before, or without saying that it was interrupted.
    """
    words = [stage, "--run", name, *(["--despite-reward"] if stage == "ppo" else [])]
    curve = runs / name / stage / "metrics.csv"
    with subprocess.Popen(command(*words, runs=runs), env=environment(), stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            if curve.is_file() and len(curve.read_bytes().splitlines()) > 7:
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.01)
        process.communicate()
    if not process.returncode:
        raise SystemExit(f"{stage}: ended before it could be interrupted")


def forget(run: Path, stage: str) -> None:
    """Take a stage, and what was built on it, out of a copied run."""
    from personatune.pipeline.run import Run

    Run.open(run.parent, run.name).forget(stage)


def change(file: Path, setting: str) -> None:
    """Change one setting of a run."""
    from personatune.config import load_config, save_config

    save_config(load_config(file, [setting]), file)


def compare(road: Road, stage: str, expected: Path, found: Path) -> dict[str, Any]:
    """Return how far a stage of a road ended from the reference's."""
    here, there = (load_file(folder / TRAINED[stage] / "adapter_model.safetensors") for folder in (found, expected))
    apart = {
        name: ((here[name] - there[name]).abs() / there[name].abs().max().clamp(min=1e-12)) for name in sorted(there)
    }
    weights = {
        "largest": max(float(each.max()) for each in apart.values()),
        "mean": sum(float(each.sum()) for each in apart.values()) / sum(each.numel() for each in apart.values()),
        "allowed": road.weights,
    }
    mine, theirs = curve(found), curve(expected)
    differences = [abs(mine[key] - theirs[key]) for key in theirs if key in mine]
    metrics = {
        "largest": max(differences), "mean": sum(differences) / len(differences), "allowed": road.metrics,
    }  # fmt: skip
    broken = here.keys() != there.keys() or mine.keys() != theirs.keys()
    broken |= weights["largest"] > road.weights or metrics["largest"] > road.metrics
    return {
        "road": road.name, "stage": stage, "weights": weights, "metrics": metrics, "figures": len(differences),
        "broken": bool(broken),
    }  # fmt: skip


def curve(folder: Path) -> dict[tuple[str, str], float]:
    """Return the figures of a stage's curve by step and name."""
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["name"] != "tokens_per_second"]
    return {(row["step"], row["name"]): float(row["value"]) for row in rows}


if __name__ == "__main__":
    sys.exit(main())
