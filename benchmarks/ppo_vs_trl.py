"""One PPO update: personatune against TRL 1.12's PPOTrainer with a LoRA policy, on the same prompts.

    python benchmarks/ppo_vs_trl.py [--quick] [--rounds 5] [--layers 8] [--critic-layers N]
        [--model embedded] [--data SOURCE]

Four real prompts of 240 tokens, four replies of 28 tokens to each, four epochs with one optimiser step each. Both
sides are processes of their own that take turns and measure themselves (see `sides.paired`); the first update of each
is not counted. A reply can't end early on either side, so both sample and train the same number of tokens. TRL runs at
its best CPU settings (see `trl_peer/ppo.py`); its policy has LoRA on all layers, ours on the top ``--layers``, our
critic on the top ``--critic-layers`` (as many unless told), which is part of the design that is measured. The last line
is one JSON object with `time_ratio` and `memory_ratio` (peer over ours), `same_work`, `versions`, settings and every
single time. ``--quick``: two prompts, one counted round.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from personatune.model.backbone import locate
from sides.command import benchmark
from sides.ours import load_prompts
from sides.paired import BENCHMARKS, Side, alternate, median_seconds, summary
from sides.real_data import default_source, prompts_of_length, read_perspectives
from trl_peer.environment import trl_python


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two prompts, one counted round")
    parser.add_argument("--rounds", type=int, default=None, help="counted updates of each side (5; quick 1)")
    parser.add_argument("--layers", type=int, default=8, help="top layers that our branches change")
    parser.add_argument("--critic-layers", type=int, help="top layers that our critic changes (as many as --layers)")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--data", default=default_source())
    parser.add_argument("--prompt-tokens", type=int, default=240)
    parser.add_argument("--peer-micro-batch", type=int, default=4, help="replies of TRL's one backward pass")
    parser.add_argument("--peer-rollout-batch", type=int, default=16, help="rows that TRL samples and scores together")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 5)
    work = {
        "model": locate(options.model),
        "max_length": 512,
        "rounds": rounds + 1,
        "replies_per_prompt": 4,
        "reply_tokens": 28,
        "epochs": 4,
        "layers": options.layers,
        "critic_layers": options.critic_layers or options.layers,
        "rank": 16,
        "alpha": 32,
        "learning_rate": 1e-4,
        "peer_micro_batch": options.peer_micro_batch,
        "peer_rollout_batch": options.peer_rollout_batch,
    }
    prompts = load_prompts(work)
    views = read_perspectives(options.data, max_turns=24).train
    contexts = prompts_of_length(views, prompts, options.prompt_tokens, 2 if options.quick else 4)
    work["contexts"] = [context.to_json() for context in contexts]
    work["prompts"] = [prompts.encode_prompt(context, work["reply_tokens"]) for context in contexts]
    work["pad_id"] = prompts.pad_id
    print(json.dumps(measure(work, rounds)))


def measure(work: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Run both sides on the work, print a table, and return the figures."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / "work.json"
        place.write_text(json.dumps(work), encoding="utf-8")
        sides = {
            "peer": Side("TRL", [trl_python(), str(BENCHMARKS / "trl_peer/ppo.py"), str(place)], Path(folder) / "peer"),
            "ours": Side(
                "personatune", [sys.executable, str(BENCHMARKS / "sides/ours.py"), "ppo", str(place)],
                Path(folder) / "ours",
            ),
        }  # fmt: skip
        found = alternate(sides, rounds)
    checks = same_work(work, found)
    prompts, replies = len(work["prompts"]), work["replies_per_prompt"]
    print(
        f"one PPO update: {prompts} prompts of {len(work['prompts'][0])} tokens x {replies} replies of "
        f"{work['reply_tokens']}, {work['epochs']} epochs, our branches on {work['layers']} layers, our critic on "
        f"{work['critic_layers']}, fp32, medians of {rounds}"
    )
    for name, side in (("TRL PPOTrainer", found["peer"]), ("personatune", found["ours"])):
        print(f"{name:15} {median_seconds(side):8.2f} s   {side['end']['peak_bytes'] / 2**30:6.2f} GiB peak")
    settings = {key: value for key, value in work.items() if key not in ("contexts", "prompts", "model")}
    return {**summary(found["peer"], found["ours"]), "same_work": all(checks.values()), "checks": checks,
            "settings": settings}  # fmt: skip


def same_work(work: dict[str, Any], found: dict[str, dict[str, Any]]) -> dict[str, bool]:
    """Return what was checked: prompts, replied tokens and optimiser steps of every turn of both sides."""
    tokens = len(work["prompts"]) * work["replies_per_prompt"] * work["reply_tokens"]
    turns = [turn for side in found.values() for turn in side["turns"]]
    return {
        "prompts": found["ours"]["ready"]["prompts"] == work["prompts"],  # the peer reads its own from the work
        "tokens sampled in every update": all(turn["tokens"] == tokens for turn in turns),
        "optimiser steps of every update": all(turn["optimiser_steps"] == work["epochs"] for turn in turns),
    }


if __name__ == "__main__":
    benchmark(main)
