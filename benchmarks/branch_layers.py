"""How many layers the branches should change: time, memory and held-out quality of the reward model by ``k``.

    python benchmarks/branch_layers.py [--quick] [--layers 2 4 8 15 30] [--pairs 240] [--test-pairs 240] [--seeds 0 1]

Every ``k`` trains the same reward model on the same real pairs with the same steps, in a process of its own that
measures itself; held-out pairs are of other personas. The held-out loss (Bradley-Terry, nats a pair; chance is 0.693)
moves less by luck than the accuracy. Points that are done are kept in ``--out``, so the same command goes on where it
stopped. The last line is one JSON object. ``--quick``: 48 pairs, 60 held-out ones, one seed, three sizes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from personatune.intervals import Estimate, bootstrap
from personatune.model.backbone import load_base_model, locate
from personatune.model.branches import SplitModel
from personatune.settings import BranchConfig, RewardConfig
from personatune.storage import read_json, write_json
from personatune.training.reward import RewardModel, RewardModelTrainer
from personatune.training.rl_math import bradley_terry_loss
from sides.command import benchmark
from sides.ours import load_prompts
from sides.real_data import default_source, pairs_from, read_perspectives
from sides.turns import peak_bytes, versions


def main() -> None:
    """Measure every ``k`` in its own process, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="48 pairs, 60 held-out ones, one seed, three sizes")
    parser.add_argument("--layers", type=int, nargs="+", default=None)
    parser.add_argument("--pairs", type=int, default=None)
    parser.add_argument("--test-pairs", type=int, default=None)
    parser.add_argument("--seeds", type=int, nargs="+", default=None)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--data", default=default_source())
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--point", type=int, nargs=2, default=None, help=argparse.SUPPRESS)  # k and seed: one process
    options = parser.parse_args()
    quick = options.quick
    options.pairs = options.pairs or (48 if quick else 240)
    options.test_pairs = options.test_pairs or (60 if quick else 240)
    if options.point:
        print(json.dumps(measure(options, *options.point)))
        return
    out = options.out or Path("runs") / ("branch-layers-quick" if quick else "branch-layers")
    file = out / "points.json"
    points: dict[str, Any] = read_json(file) if file.is_file() else {}
    layers = options.layers or ([2, 8, 30] if quick else [2, 4, 8, 15, 30])
    for seed in options.seeds or ([0] if quick else [0, 1]):
        for k in layers:
            name = f"k={k} seed={seed} pairs={options.pairs}/{options.test_pairs} {options.model}"
            if name not in points:
                points[name] = _in_a_process(options, k, seed)
                write_json(file, points)
            row = points[name]
            loss, right = (Estimate(**row[figure]) for figure in ("loss", "accuracy"))
            print(
                f"{name}: {row['seconds']:.0f} s, {row['peak_gib']:.2f} GiB, held-out loss {loss.value:.3f} "
                f"({loss.low:.3f}-{loss.high:.3f}), accuracy {right.value:.3f} ({right.low:.3f}-{right.high:.3f})"
            )
    print(json.dumps({"points": points, "versions": versions("personatune")}))


def measure(options: argparse.Namespace, k: int, seed: int) -> dict[str, Any]:
    """Train one reward model and judge it on held-out pairs."""
    prompts = load_prompts({"model": locate(options.model), "max_length": 512})
    data = read_perspectives(options.data, max_turns=24)
    train, test = pairs_from(data.train, options.pairs), pairs_from([*data.validation, *data.test], options.test_pairs)
    split = SplitModel(load_base_model(options.model), BranchConfig(layers=k))
    model = RewardModel(split, prompts, seed=seed)
    with TemporaryDirectory() as folder:
        trainer = RewardModelTrainer(model, RewardConfig(), Path(folder), seed=seed)
        started = time.perf_counter()
        trainer.train(train)
        seconds = time.perf_counter() - started
        peak = peak_bytes()
    contexts = [pair.context for pair in test]
    better = torch.tensor(model.score(contexts, [pair.chosen for pair in test]))
    worse = torch.tensor(model.score(contexts, [pair.rejected for pair in test]))
    losses = [float(bradley_terry_loss(b[None], w[None])) for b, w in zip(better, worse, strict=True)]
    return {
        "seconds": seconds,
        "peak_gib": peak / 2**30,
        "loss": bootstrap(losses).to_json(),
        "accuracy": bootstrap([float(right) for right in better > worse]).to_json(),
        "train_pairs": len(train),
        "test_pairs": len(test),
    }


def _in_a_process(options: argparse.Namespace, k: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--point", str(k), str(seed), "--model", options.model, "--data", options.data]
    command += ["--pairs", str(options.pairs), "--test-pairs", str(options.test_pairs)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    benchmark(main)
