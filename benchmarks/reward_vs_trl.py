"""Reward model, pairs a second over several epochs: personatune against TRL 1.12's RewardTrainer with LoRA.

    python benchmarks/reward_vs_trl.py [--quick] [--rounds 5] [--pairs 32] [--layers 8] [--model embedded]

Both sides train on the same real pairs (made from the dialogues' own replies, as `personatune preferences` makes them),
three epochs with as many optimiser steps, one whole training a turn; ours includes running the shared layers once and
keeping their output. Beforehand both compute the loss of the same batch under the same head and an untrained adapter,
each with its own code: they must agree. The last line is one JSON object with `time_ratio`, `memory_ratio` (peer over
ours), `same_work`, `loss_of_the_same_batch`, `versions` and settings. ``--quick``: 16 pairs, one counted round.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from personatune.dialogue import PreferencePair
from personatune.model.backbone import locate
from personatune.model.likelihood import length_buckets
from personatune.model.prompts import PromptFormat
from sides.command import benchmark
from sides.ours import load_prompts, random_head
from sides.paired import BENCHMARKS, Side, alternate, median_seconds, summary
from sides.real_data import default_source, pairs_from, read_perspectives
from trl_peer.environment import trl_python

TOLERANCE = 1e-3  # between the two losses of the same batch; float32, summed in another order


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="16 pairs, one counted round")
    parser.add_argument("--rounds", type=int, default=None, help="counted trainings of each side (5; quick 1)")
    parser.add_argument("--pairs", type=int, default=None)
    parser.add_argument("--layers", type=int, default=8, help="top layers that our branch changes")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--data", default=default_source())
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 5)
    work = {
        "model": locate(options.model),
        "max_length": 512,
        "rounds": rounds + 1,
        "epochs": 3,
        "batch_size": 8,
        "layers": options.layers,
        "rank": 16,
        "alpha": 32,
        "learning_rate": 5e-4,
    }
    views = read_perspectives(options.data, max_turns=24).train
    pairs = pairs_from(views, options.pairs or (16 if options.quick else 32))
    print(json.dumps(measure(work | tokens_of(load_prompts(work), pairs, work["batch_size"]), rounds)))


def tokens_of(prompts: PromptFormat, pairs: list[PreferencePair], batch_size: int) -> dict[str, Any]:
    """Return the pairs, their tokens as the peer wants them, and batches of like length."""
    sequences: dict[str, list[list[int]]] = {"chosen_ids": [], "rejected_ids": []}
    for pair in pairs:
        for key, text in (("chosen_ids", pair.chosen), ("rejected_ids", pair.rejected)):
            reply = prompts.encode_reply(text)
            sequences[key].append([*prompts.encode_prompt(pair.context, reserve=len(reply)), *reply])
    lengths = [max(map(len, both)) for both in zip(*sequences.values(), strict=True)]
    order = random.Random(0).sample(range(len(pairs)), len(pairs))
    return {
        "pairs": [pair.to_json() for pair in pairs],
        "sequences": sequences,
        "batches": length_buckets(lengths, batch_size, order),
        "pad_id": prompts.pad_id,
    }


def measure(work: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Run both sides on the work, print a table, and return the figures."""
    work["head"] = random_head(json.loads((Path(work["model"]) / "config.json").read_text())["hidden_size"])
    with TemporaryDirectory() as folder:
        place = Path(folder) / "work.json"
        place.write_text(json.dumps(work), encoding="utf-8")
        ours = [sys.executable, str(BENCHMARKS / "sides/ours.py"), "reward", str(place)]
        sides = {
            "peer": Side("TRL", [trl_python(), str(BENCHMARKS / "trl_peer/reward.py"), str(place)], Path(folder) / "p"),
            "ours": Side("personatune", ours, Path(folder) / "o"),
        }
        found = alternate(sides, rounds)
    checks = same_work(found)
    losses = {name: side["ready"]["loss"] for name, side in found.items()}
    print(f"{len(work['pairs'])} pairs, {work['epochs']} epochs, batches of {work['batch_size']}, medians of {rounds}")
    speed = {}
    for name, label in (("peer", "TRL RewardTrainer"), ("ours", "personatune")):
        speed[name] = found[name]["turns"][-1]["pairs"] / median_seconds(found[name])
        peak = found[name]["end"]["peak_bytes"] / 2**30
        print(f"{label:18} {speed[name]:8.2f} pairs/s   {peak:6.2f} GiB peak   loss of one batch {losses[name]:.6f}")
    settings = {key: work[key] for key in ("epochs", "batch_size", "layers", "rank", "alpha", "learning_rate")}
    return {
        **summary(found["peer"], found["ours"]),
        "pairs_per_second": {name: round(value, 3) for name, value in speed.items()},
        "same_work": all(checks.values()),
        "checks": checks,
        "loss_of_the_same_batch": {**losses, "tolerance": TOLERANCE},
        "settings": {**settings, "pairs": len(work["pairs"])},
    }


def same_work(found: dict[str, dict[str, Any]]) -> dict[str, bool]:
    """Return what was checked: pairs, tokens and optimiser steps of every turn, and the loss of the same batch."""
    peer, ours = found["peer"], found["ours"]
    turns = list(zip(peer["turns"][1:], ours["turns"][1:], strict=True))
    return {
        "pairs": all(one["pairs"] == other["pairs"] for one, other in turns),
        "tokens": all(one["tokens_trained"] == other["tokens_trained"] for one, other in turns),
        "optimiser steps": all(one["optimiser_steps"] == other["optimiser_steps"] for one, other in turns),
        "loss of the same batch": abs(peer["ready"]["loss"] - ours["ready"]["loss"]) < TOLERANCE,
    }


if __name__ == "__main__":
    benchmark(main)
