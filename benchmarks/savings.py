"""What our design saves: the whole pipeline against the conventional one, to the same quality, on the same machine.

    python benchmarks/savings.py [--quick] [--out runs/savings] [--data SOURCE] [--set sft.learning_rate=2e-4 ...]

Both sides get the same dialogues (a part of Synthetic-Persona-Chat's train split, or the packaged ones), split by
persona, the same pairs, the same PPO contexts and the same numbers of updates, replies and epochs.

- SFT. Conventional: every weight, one epoch, tuned over three learning rates; the best one's held-out loss is the
  target, and only its time counts, not that of the search. Ours: LoRA until it is at or below that loss.
- Reward model: the same pairs and epochs; both sides' held-out accuracy is printed.
- PPO: the same updates; quality is the probe consistency on validation personas by the keyword judge, and the two
  figures have to lie inside each other's intervals.

Each stage is a fresh process, so its peak is its own. Held-out evaluations, judging and loading count on neither side;
compiling does. Money is hours x the price of the cheapest machine that holds the stage's peak; storage is listed
apart, since a month of a stored model would outweigh these short runs. Finished stages are kept under ``--out``: the
same command goes on where it stopped. The last line is one JSON object with ``stages`` and ``pipeline``.
``--quick`` has a fifth of the dialogues, one PPO update of eight replies, and chooses the learning rate after a third
of the epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from personatune.costs.meter import MetricsTracker, StageCost, measure_matmul_peak
from personatune.costs.savings import GIB, PriceTable
from personatune.storage import read_json, write_json
from sides.command import benchmark
from sides.paired import BENCHMARKS
from sides.real_data import default_source
from sides.savings_work import Work, write_work
from sides.turns import versions

RATES = (1e-5, 3e-5, 1e-4)
STAGES = ("sft", "reward", "ppo")
_SIZES = {
    "full": {"dialogues": 80, "held_out_dialogues": 20, "evaluations": 16, "pairs": 48, "test_pairs": 60, "updates": 4,
             "prompts_per_update": 4, "judge_personas": 16, "choice_share": 1.0},
    "quick": {"dialogues": 16, "held_out_dialogues": 6, "evaluations": 8, "pairs": 8, "test_pairs": 24, "updates": 1,
              "prompts_per_update": 2, "judge_personas": 8, "choice_share": 0.34},
}  # fmt: skip


def main() -> None:
    """Run what isn't done yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller work, under ten minutes on two cores")
    parser.add_argument("--out", type=Path, default=None, help="folder of the stages' results")
    parser.add_argument("--data", default=default_source())
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--conventional-batch", type=int, default=2, help="dialogues of a step of full fine-tuning")
    parser.add_argument("--prices", type=Path, default=None, help="price table; default: the packaged one")
    parser.add_argument("--set", action="append", default=[], metavar="section.key=value", help="of both sides")
    options = parser.parse_args()
    size = "quick" if options.quick else "full"
    settings = settings_of(size, options.data, options.model, options.conventional_batch, options.set)
    work = write_work(options.out or Path("runs") / f"savings-{size}", settings)
    results = run_stages(work)
    print(json.dumps(report(work, results, PriceTable.load(options.prices))))


def settings_of(size: str, data: str, model: str, batch: int, overrides: list[str]) -> dict[str, Any]:
    """Return everything the comparison depends on; ``overrides`` are laid over the standard preset for both sides."""
    chosen = _SIZES[size]
    own = [
        "sft.other_turn_weight=1.0",  # the held-out loss counts every own turn alike, so training does too
        "sft.epochs=2", f"sft.evaluations={chosen['evaluations']}", "sft.patience=16", "sft.samples=0",
        f"sft.validation_dialogues={chosen['held_out_dialogues']}",
        f"ppo.updates={chosen['updates']}", f"ppo.prompts_per_update={chosen['prompts_per_update']}",
        "ppo.replies_per_prompt=4", "ppo.epochs=2", "ppo.minibatch_size=8",
        f"ppo.judge_every={int(chosen['updates']) + 1}",
    ]  # fmt: skip
    return {
        "size": size, "data": data, "model": model, "conventional_batch": batch, "conventional_reward_rate": 2e-5,
        "rates": list(RATES), **chosen, "overrides": [*own, *overrides],
    }  # fmt: skip


def run_stages(work: Work) -> dict[str, dict[str, dict[str, Any]]]:
    """Run both sides' stages, the two in turn; returns the results by side and stage."""
    best = _tuned(work)
    target = _stage(work, best, "conventional.sft", {})["quality"]["held_out_loss"]
    ours_sft = _stage(work, "ours-sft", "ours.sft", {"target_loss": target})
    rewards = {
        "conventional": _stage(work, "conventional-reward", "conventional.reward", {"sft_folder": best}),
        "ours": _stage(work, "ours-reward", "ours.reward", {"sft_folder": "ours-sft"}),
    }
    ppo = {
        "conventional": _stage(
            work, "conventional-ppo", "conventional.ppo", {"sft_folder": best, "reward_folder": "conventional-reward"}
        ),
        "ours": _stage(work, "ours-ppo", "ours.ppo", {"sft_folder": "ours-sft", "reward_folder": "ours-reward"}),
    }
    sft = {"conventional": read_json(work.folder / best / "result.json"), "ours": ours_sft}
    return {side: {"sft": sft[side], "reward": rewards[side], "ppo": ppo[side]} for side in ("conventional", "ours")}


def _tuned(work: Work) -> str:
    """Return the name of full fine-tuning's best stage, trained for a whole epoch; its models alone are kept."""
    share = work.settings["choice_share"]
    losses = {}
    for rate in work.settings["rates"]:
        name = f"conventional-sft-{rate:g}" if share >= 1 else f"conventional-choice-{rate:g}"
        found = _stage(work, name, "conventional.sft", {"learning_rate": rate, "share": share})
        losses[rate] = found["quality"]["held_out_loss"]
        print(
            f"full fine-tuning at {rate:g}: held-out loss {losses[rate]:.4f} after {found['steps']} steps", flush=True
        )
        best = min(losses, key=lambda one: losses[one])
        for other in losses:
            if other != best:
                shutil.rmtree(work.folder / f"conventional-sft-{other:g}" / "model", ignore_errors=True)
    name = f"conventional-sft-{best:g}"
    _stage(work, name, "conventional.sft", {"learning_rate": best})
    return name


def _stage(work: Work, name: str, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    place = work.folder / name / "result.json"
    if not place.is_file():
        print(f"{name} …", flush=True)
        shutil.rmtree(work.folder / name, ignore_errors=True)  # what an interrupted one left
        command = [sys.executable, str(BENCHMARKS / "sides/stage.py"), str(work.folder), name, function]
        paths = os.pathsep.join([str(BENCHMARKS), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
        ended = subprocess.run([*command, json.dumps(arguments)], env=environment, check=False)
        if ended.returncode:
            raise SystemExit(f"{name} failed; its message stands above, and finished stages are kept")
    return dict(read_json(place))


def report(work: Work, results: dict[str, dict[str, dict[str, Any]]], prices: PriceTable) -> dict[str, Any]:
    """Print the table and return what the last line says."""
    costs = MetricsTracker(None, prices)
    peak = _matmul_peak(work)
    stages: dict[str, Any] = {}
    bills: dict[str, list[StageCost]] = {"conventional": [], "ours": []}
    print(f"\n{'stage':8}{'side':14}{'seconds':>9}{'peak GiB':>10}{'TFLOP':>9}{'of peak':>9}{'stored MiB':>12}"
          f"{prices.currency + ' x1000':>12}  quality")  # fmt: skip
    for stage in STAGES:
        both = {side: _cost(stage, results[side][stage], peak) for side in bills}
        for side, cost in both.items():
            bills[side].append(cost)
            quality = results[side][stage]["quality"]
            print(f"{stage:8}{side:14}{cost.wall_seconds:9.1f}{cost.peak_memory_bytes / GIB:10.2f}"
                  f"{cost.flops / 1e12:9.2f}{cost.matmul_share or 0:9.0%}"
                  f"{results[side][stage]['bytes_stored'] / 2**20:12.1f}"
                  f"{1000 * costs.track_cost(cost):12.3f}  {_quality_words(quality)}")  # fmt: skip
        saved = costs.calculate_savings(both["ours"], both["conventional"]).to_json()
        stages[stage] = {**saved, "quality": {side: results[side][stage]["quality"] for side in bills}}
    checks = same_work(results)
    reached = bool(results["ours"]["sft"]["reached"])
    pipeline: dict[str, Any] = costs.calculate_savings(bills["ours"], bills["conventional"]).to_json()
    pipeline["quality"] = stages["ppo"]["quality"]
    pipeline["quality_alike"] = alike(*(results[side]["ppo"]["quality"]["judged"] for side in bills))
    if not reached:
        for part in (stages["sft"], pipeline):
            part.update(time_saved=None, cost_saved=None, why=f"SFT: {results['ours']['sft']['stopped']}")
    for name, part in (*stages.items(), ("pipeline", pipeline)):
        words = ", ".join(f"{key} {'unknown' if part[key] is None else f'{part[key]:.0%}'}"
                          for key in ("time_saved", "cost_saved", "memory_saved"))  # fmt: skip
        print(f"{name:9} {words}{'   ' + part['why'] if 'why' in part else ''}")
    print(f"PPO's judged figures inside each other's intervals: {'yes' if pipeline['quality_alike'] else 'no'}")
    stored = {side: sum(results[side][stage]["bytes_stored"] for stage in STAGES) for side in bills}
    return {
        "stages": stages,
        "pipeline": pipeline,
        "same_work": all(checks.values()),
        "checks": checks,
        "full_learning_rate": results["conventional"]["sft"]["learning_rate"],
        "bytes_stored": stored,
        "storage_per_month": {
            side: round(value / GIB * prices.storage_per_gib_month, 5) for side, value in stored.items()
        },
        "matmul_peak": peak,
        "matmul_share": {side: {one.stage: one.matmul_share for one in bills[side]} for side in bills},
        "versions": versions("personatune"),
        "settings": work.settings,
    }


def same_work(results: dict[str, dict[str, dict[str, Any]]]) -> dict[str, bool]:
    """Return what was checked: the two sides' counts of what they had to do alike."""
    ours, other = results["ours"], results["conventional"]
    return {
        "reward pairs and steps": all(ours["reward"][key] == other["reward"][key] for key in ("pairs", "steps")),
        "reward tokens": ours["reward"]["tokens"] == other["reward"]["tokens"],
        "PPO updates, replies and steps": all(
            ours["ppo"][key] == other["ppo"][key] for key in ("updates", "replies", "steps")
        ),
    }


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two judged figures lie inside each other's intervals."""
    return bool(one["low"] <= other["value"] <= one["high"] and other["low"] <= one["value"] <= other["high"])


def _cost(stage: str, result: dict[str, Any], peak: float) -> StageCost:
    return StageCost(stage, result["seconds"], 0.0, result["peak_bytes"], flops=result["flops"], matmul_peak=peak)


def _matmul_peak(work: Work) -> float:
    place = work.folder / "machine.json"
    if not place.is_file():
        write_json(place, {"matmul_peak": measure_matmul_peak()})
    return float(read_json(place)["matmul_peak"])


def _quality_words(quality: dict[str, Any]) -> str:
    if "held_out_loss" in quality:
        return f"held-out loss {quality['held_out_loss']:.4f}"
    [(name, figure)] = quality.items()
    return f"{name} {figure['value']:.2f} ({figure['low']:.2f} to {figure['high']:.2f}, n {figure['n']})"


if __name__ == "__main__":
    benchmark(main)
