"""The program under `accelerate launch`: one run, one writer, one voice, the figures of a single process."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from personatune.pipeline.run import STAGES

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

SMALL = (
    "model.max_length=384", "lora.rank=4", "data.validation_share=0.2", "data.test_share=0.2",
    "tracking.backends=[csv]", "data.max_dialogues=24", "sft.batch_size=4", "sft.learning_rate=1e-2",
    "sft.validation_dialogues=6", "sft.evaluations=2", "preferences.pairs=16", "preferences.test_pairs=10",
    "preferences.ppo_prompts=12", "preferences.max_new_tokens=6", "branch.layers=1", "branch.rank=2",
    "reward.epochs=1", "ppo.updates=2", "ppo.prompts_per_update=3", "ppo.max_new_tokens=6", "ppo.judge_every=1",
    "ppo.judge_personas=3", "ppo.kl_budget=100", "evaluation.personas=3", "evaluation.turns=5",
    "evaluation.quality_contexts=4", "evaluation.perplexity_dialogues=4", "evaluation.max_new_tokens=6",
    "evaluation.bootstrap_samples=100", "evaluation.judge=none", "compare.target_evaluation=1",
)  # fmt: skip
TRAINED = ("sft", "reward", "ppo", "compare")


def call(*words: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run the program on the CPU, alone or under the real launcher."""
    command = [sys.executable]
    if processes > 1:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = str(found.getsockname()[1])
        command += ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
        command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        command += ["--main_process_port", port]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [*command, "-m", "personatune", *words],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (folder / name).read_text(encoding="utf-8").splitlines()]


def curve(folder: Path) -> dict[tuple[str, str], float]:
    with (folder / "metrics.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["name"] != "tokens_per_second"]
    return {(row["step"], row["name"]): float(row["value"]) for row in rows}


@pytest.mark.slow
def test_a_run_of_two_processes_leaves_what_a_run_of_one_leaves(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    tiny.save(tmp_path / "model", layers=2, spread=0.05)
    dialogues.write(tmp_path / "made.jsonl", 60)
    places = ("--model", str(tmp_path / "model"), "--data", str(tmp_path / "made.jsonl"), "--runs", str(tmp_path))
    settings = [word for setting in SMALL for word in ("--set", setting)]
    for name, processes in (("one", 1), ("two", 2)):
        done = call("run", "--name", name, *places, *settings, processes=processes)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("What each stage took") == 1
    one, two = tmp_path / "one", tmp_path / "two"
    left = [{str(file.relative_to(run)) for file in run.rglob("*")} for run in (one, two)]
    assert left[0] == left[1]
    assert [row["stage"] for row in lines(two, "manifest.jsonl")] == list(STAGES)
    for stage in TRAINED:
        found, expected = curve(two / stage), curve(one / stage)
        assert len(expected) > 3
        assert found == pytest.approx(expected, abs=1e-3), stage
    for mine, theirs in zip(lines(two, "costs.jsonl"), lines(one, "costs.jsonl"), strict=True):
        for key in ("stage", "tokens_trained", "tokens_generated", "flops"):
            assert mine[key] == theirs[key], mine["stage"]
        if mine["stage"] in TRAINED:  # two processes hold torch and a model each
            assert mine["peak_memory_bytes"] > 1.5 * theirs["peak_memory_bytes"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("sft", "--run", "nowhere"), "no such run; start one: personatune run --name nowhere"),
        (("run", "--preset", "nonsense"), "nonsense: neither a preset"),
        (("doctor",), "doctor: a command for one process; run it without accelerate launch"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_ends_all_of_them(tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    runs = () if words == ("doctor",) else ("--runs", str(tmp_path))
    done = call(*words, *runs, processes=2)
    assert done.returncode != 0
    told = [row for row in done.stderr.splitlines() if row.startswith("personatune: ")]
    assert len(told) == 1
    assert line in told[0]
