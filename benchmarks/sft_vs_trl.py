"""SFT, tokens a second at the same losses: personatune against TRL 1.12's SFTTrainer, both with LoRA on all layers.

    python benchmarks/sft_vs_trl.py [--quick] [--rounds 5] [--steps 8] [--batch-size 2] [--set compile=on]

Both sides begin with the same untrained adapter and see the same batches, token for token, at the same learning rates;
their losses are held to each other step by step. A turn is some steps. The first turn is not counted; where our side
compiles, that is where it does, and its time is printed. The last line is one JSON object with `time_ratio`,
`memory_ratio` (peer over ours), `same_work`, `losses`, `versions` and settings. ``--quick``: two counted rounds of
four steps.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from personatune.errors import UserError
from personatune.model.backbone import locate
from sides.command import benchmark
from sides.ours import load_prompts, sft_plan
from sides.paired import BENCHMARKS, Side, alternate, summary
from sides.real_data import default_source, read_perspectives
from trl_peer.environment import trl_python

TOLERANCE = 0.01  # nats, between the two losses of any step; rounding grows as training goes on


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two counted rounds of four steps")
    parser.add_argument("--rounds", type=int, default=None, help="counted turns of each side (5; quick 2)")
    parser.add_argument("--steps", type=int, default=None, help="steps of a turn (8; quick 4)")
    parser.add_argument("--batch-size", type=int, default=2, help="dialogues")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--data", default=default_source())
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="sft setting of our side")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    work = {
        "model": locate(options.model),
        "max_length": 512,
        "rounds": rounds + 1,
        "steps_per_turn": options.steps or (4 if options.quick else 8),
        "batch_size": options.batch_size,
        "rank": 16,
        "alpha": 32,
        "learning_rate": 5e-4,
        "sft": {key: yaml.safe_load(value) for key, _, value in (one.partition("=") for one in options.set)},
    }
    needed = work["rounds"] * work["steps_per_turn"] * work["batch_size"]
    views = read_perspectives(options.data, max_turns=24).train[:needed]
    if len(views) < needed:
        raise UserError(f"{options.data} has {len(views)} training dialogues, {needed} are needed; take fewer --steps")
    work["dialogues"] = [view.to_json() for view in views]
    work["pad_id"] = load_prompts(work).pad_id
    print(json.dumps(measure(work, rounds)))


def measure(work: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Run both sides on the work, print a table, and return the figures."""
    with TemporaryDirectory() as folder:
        work["adapter"] = str(Path(folder) / "adapter")
        work |= sft_plan(work, Path(work["adapter"]))
        place = Path(folder) / "work.json"
        place.write_text(json.dumps(work), encoding="utf-8")
        ours = [sys.executable, str(BENCHMARKS / "sides/ours.py"), "sft", str(place)]
        sides = {
            "peer": Side("TRL", [trl_python(), str(BENCHMARKS / "trl_peer/sft.py"), str(place)], Path(folder) / "peer"),
            "ours": Side("personatune", ours, Path(folder) / "ours"),
        }
        found = alternate(sides, rounds)
    checks, losses = same_work(found)
    print(f"SFT with LoRA r {work['rank']}, batches of {work['batch_size']} dialogues, turns of "
          f"{work['steps_per_turn']} steps, fp32, medians of {rounds}")  # fmt: skip
    speed = {}
    for name, label in (("peer", "TRL SFTTrainer"), ("ours", "personatune")):
        side = found[name]
        speed[name] = sum(turn["tokens_trained"] for turn in side["turns"][1:]) / sum(
            turn["seconds"] for turn in side["turns"][1:]
        )
        print(f"{label:15} {speed[name]:8.1f} tokens/s   {side['end']['peak_bytes'] / 2**30:6.2f} GiB peak   "
              f"last loss {losses['last'][name]:.4f}   first turn {side['turns'][0]['seconds']:.1f} s")  # fmt: skip
    settings = {key: work[key] for key in ("steps_per_turn", "batch_size", "rank", "alpha", "learning_rate", "sft")}
    return {
        **summary(found["peer"], found["ours"]),
        "tokens_per_second": {name: round(value, 1) for name, value in speed.items()},
        "same_work": all(checks.values()),
        "checks": checks,
        "losses": losses,
        "settings": {**settings, "dialogues": len(work["dialogues"])},
    }


def same_work(found: dict[str, dict[str, Any]]) -> tuple[dict[str, bool], dict[str, Any]]:
    """Return what was checked (tokens, optimiser steps and losses of every turn), and how near the losses are."""
    turns = list(zip(found["peer"]["turns"], found["ours"]["turns"], strict=True))
    sides = {name: [loss for turn in found[name]["turns"] for loss in turn["losses"]] for name in ("peer", "ours")}
    gaps = [abs(one - other) for one, other in zip(sides["peer"], sides["ours"], strict=True)]
    checks = {
        "tokens": all(one["tokens_trained"] == other["tokens_trained"] for one, other in turns),
        "optimiser steps": all(one["optimiser_steps"] == other["optimiser_steps"] for one, other in turns),
        "losses of every step": max(gaps) < TOLERANCE,
    }
    last = {name: losses[-1] for name, losses in sides.items()}
    return checks, {"largest_gap": max(gaps), "first_gap": gaps[0], "tolerance": TOLERANCE, "last": last}


if __name__ == "__main__":
    benchmark(main)
