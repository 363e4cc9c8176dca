"""A complete run directory, written by hand: every figure is chosen so that it can be found again in the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from personatune.config import load_config, save_config
from personatune.report.build import ReportPaths, build_report

GIB = 2**30
HOSTILE = '<script>alert("x")</script> | [bold]&'


def figure(value: float, low: float, high: float, n: int = 24) -> dict[str, float]:
    return {"value": value, "low": low, "high": high, "n": n}


def evaluation(model: str, consistency: float, engagement: float, reply: str, verdict: str) -> dict[str, Any]:
    metrics = {
        "probe_consistency": figure(consistency, consistency - 0.08, consistency + 0.06),
        "engagement": figure(engagement, engagement - 0.02, engagement + 0.02),
        "perplexity_token": figure(12.5, 11.25, 14.0),
        "bleu": figure(3.21, 2.5, 4.0, 40),
        "distinct_2": figure(36.4, 33.0, 39.0, 40),
        "multi_turn_consistency_1": figure(consistency, consistency - 0.1, consistency + 0.1),
        "multi_turn_consistency_2": figure(consistency - 0.1, consistency - 0.2, consistency),
    }
    turns = [["partner", "Do you have pets?"], ["self", reply], ["partner", "Nice weather."], ["self", HOSTILE]]
    dialogue = {"persona": ["I have two dogs.", HOSTILE], "turns": turns, "verdicts": [verdict, None]}
    judge = {"name": "critic 1a2b3c4d", "decision": "contradiction from 0.65"}
    return {
        "model": model,
        "metrics": metrics | {"prompt_to_line": figure(0.9, 0.8, 0.95)},
        "absent": {"relevance": "no sentence encoder"},
        "dialogues": [dialogue],
        "decoding": {"temperature": 0.0},
        "judge": judge,
    }


def segment(stage: str, seconds: float, gib: float) -> dict[str, Any]:
    return {
        "stage": stage,
        "wall_seconds": seconds,
        "cpu_seconds": seconds * 2,
        "peak_memory_bytes": int(gib * GIB),
        "tokens_trained": 1000,
    }


def curve(points: Mapping[str, list[tuple[int, float]]]) -> str:
    rows = [f"{step},{name},{value}" for name, curve in points.items() for step, value in curve]
    return "\n".join(["step,name,value", *rows]) + "\n"


def write(target: Path, value: Any) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def write_tiny_run(run: Path) -> None:
    save_config(load_config("quick", ["ppo.kl_budget=8.0", "goals.persona_consistency=0.85"]), run / "config.yaml")
    write(run / "prepare/data.json", {"counts": {"dropped: duplicate": 17}, "statistics": {"train": {"personas": 91}}})
    write(run / "baseline/evaluation.json", evaluation("base", 0.33, 0.40, "I love cats.", "contradicting"))
    write(run / "evaluate/sft.json", evaluation("sft", 0.62, 0.50, "I play chess.", "neutral"))
    write(run / "evaluate/ppo.json", evaluation("ppo", 0.87, 0.49, "My dogs are great.", "consistent"))
    losses = {"train_loss": [(1, 2.5), (9, 1.5)], "held_out_loss": [(0, 2.75), (5, 1.75), (10, 1.875)]}
    write(run / "sft/metrics.csv", curve(losses))
    write(run / "sft/summary.json", {"stopped": "all steps done", "trainable_parameters": 4884480})
    accuracy = {"all": figure(0.71, 0.62, 0.79, 100), "persona_swap": figure(0.9, 0.7, 1.0, 20)}
    reward = {"accuracy": accuracy, "length_correlation": 0.04, "persona_sensitivity": figure(0.8, 0.7, 0.88, 100)}
    checks = [
        {"name": "accuracy", "comparison": "≥", "target": 0.8, "value": 0.71, "n": 100, "met": False},
        {"name": "persona sensitivity", "comparison": "≥", "target": 0.75, "value": 0.8, "n": 100, "met": True},
    ]
    write(run / "reward/report.json", {**reward, "checks": checks})
    write(run / "reward/metrics.csv", curve({"loss": [(1, 0.7)]}))
    learning = {"kl": [(1, 0.0), (2, 1.5)], "score": [(1, -0.25), (2, 0.75)], "judge": [(0, 0.5), (2, 0.625)]}
    write(run / "ppo/metrics.csv", curve(learning))
    ppo = {"updates": 2, "stopped": None, "kl_start": 0.0, "kl_end": 1.5, "kl_max": 2.25}
    alarm = {"update": 2, "name": "entropy", "value": 0.5, "limit": 1.0, "action": "cool", "why": f"fell {HOSTILE}"}
    more = {"alarms": [alarm], "untrusted_reward": ["accuracy 71 % (target ≥ 80 %, n = 100)"]}
    write(run / "ppo/summary.json", {**ppo, **more, "warnings": [f"odd {HOSTILE}"]})
    comparison = {
        "target_loss": 1.75,
        "lora": {"wall_seconds": 75.0, "peak_memory_bytes": 2 * GIB, "money": 0.01, "reached": True, "loss": 1.74},
        "full": {"wall_seconds": 150.0, "peak_memory_bytes": 8 * GIB, "money": 0.05, "reached": True, "loss": 1.73},
        "savings": {"time_saved": 0.5, "cost_saved": 0.8, "memory_saved": 0.75},
    }
    write(run / "compare/comparison.json", comparison)
    ledger = [segment("sft", 100.0, 2.0), segment("ppo", 200.0, 3.5), segment("sft", 25.0, 2.5)]
    write(run / "costs.jsonl", "".join(json.dumps(row) + "\n" for row in ledger))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    write_tiny_run(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    """The report of the complete run, built once: drawing takes a second."""
    run = tmp_path_factory.mktemp("complete") / "tiny"
    write_tiny_run(run)
    return build_report(run)
