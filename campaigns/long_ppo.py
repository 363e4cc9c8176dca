"""A PPO run as long as a night: memory, open files, and what lies in the run's folder.

    python campaigns/long_ppo.py [--updates 2300] [--work FOLDER] [--quick]

A tiny random model and made-up dialogues go through ``prepare``, ``sft``, ``preferences`` and ``reward`` of ``python -m
personatune``, and then through ``ppo``, watched from outside twice a second. Checkpoints, curves, samples and every
tracker that is installed (TensorBoard, W&B offline) are on, as in a real run; the judge looks every ten updates.

2,300 updates stand for 12 hours: the ``quick`` preset's six updates took 114 s of the stage ``ppo`` on two free cores
(the fastest recorded), so 19 s each, and 43,200 s hold 2,270 of them. The ``standard`` preset's updates have 32
replies for 12 and take longer: its 12 hours are fewer updates. What may grow grows with updates, hardly with their
size.

Promised, else exit code 1: from the first tenth of the updates to the end memory (with all child processes) grows by
less than 5 % (20 % in runs under 1,000 updates, in which it still fills up); open files stay as many; the files in the
folder, checkpoints apart, become 120 more at most (W&B's tables); there are two checkpoints, and for a moment the one
that is replaced; everything in the folder grows by less than 8 KiB an update together.
``--quick``: 60 updates. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = (
    "model.max_length=384", "lora.rank=4", "data.validation_share=0.2", "data.test_share=0.2", "data.max_dialogues=32",
    "sft.batch_size=4", "sft.evaluations=2", "sft.samples=0", "sft.validation_dialogues=6", "preferences.pairs=16",
    "preferences.test_pairs=8", "preferences.ppo_prompts=16", "preferences.max_new_tokens=6", "branch.layers=1",
    "branch.rank=2", "reward.epochs=1", "ppo.prompts_per_update=3", "ppo.max_new_tokens=8", "ppo.judge_every=10",
    "ppo.judge_personas=2", "ppo.kl_budget=1000000", "ppo.policy_learning_rate=1e-5", "evaluation.turns=5",
    "evaluation.max_new_tokens=6", "evaluation.judge=none",
    # a random model leaves every band at once
    *(f"ppo.alarms.{name}.action=off" for name in ("length", "repetition", "copying", "entropy", "divergence")),
)  # fmt: skip
MEBIBYTE = 2**20
MEMORY_GROWTH, FILLING_UP = 0.05, 0.20
BYTES_AN_UPDATE = 8 * 1024
IN_WRITING = 4  # open files that come and go while something is written
MORE_FILES = 120  # three a table of W&B's; they become ever more seldom: some thirty while a run grows tenfold


@dataclass(frozen=True)
class Sample:
    """One look at the running process and its folder, after so many updates.

    Attributes:
        memory: of the process and its children, bytes.
        files: in the folder, those of checkpoints apart.
        sizes: bytes by the first part of the path.
    """

    update: int
    seconds: float
    memory: int
    open_files: int
    files: int
    checkpoints: int
    sizes: Mapping[str, int]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=2300)
    parser.add_argument("--work", type=Path, help="a folder that is kept; by default a temporary one")
    parser.add_argument("--quick", action="store_true", help="60 updates")
    asked = parser.parse_args()
    updates = 60 if asked.quick else asked.updates
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        folder = _prepare(work, updates)
        samples, code = _watch(_command("ppo", "--run", "night", "--runs", str(work / "runs")), folder)
    found = _figures(samples, updates)
    broken = _broken(found, code)
    for name, value in found.items():
        print(f"{name:34} {value if isinstance(value, str) else json.dumps(value)}")
    print(f"broken: {', '.join(broken)}" if broken else "every promise was kept")
    print(json.dumps({**found, "exit_code": code, "broken": broken}))
    return 1 if broken else 0


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "personatune", *words]


def _environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "TOKENIZERS_PARALLELISM": "false"}


def _prepare(work: Path, updates: int) -> Path:
    """Run all stages before PPO; return the folder of the stage ``ppo``."""
    sys.path.insert(0, str(REPOSITORY))
    from tests.conftest import HandMadeDialogues, TinyModels

    model = TinyModels().save(work / "model", layers=2, spread=0.05)
    dialogues = HandMadeDialogues.write(work / "made.jsonl", 60)
    trackers = ["csv", *(name for name in ("tensorboard", "wandb") if find_spec(name))]
    settings = (*SETTINGS, f"ppo.updates={updates}", f"tracking.backends=[{','.join(trackers)}]")
    begun = [word for setting in settings for word in ("--set", setting)]
    runs = ("--runs", str(work / "runs"))
    words = ("prepare", "--name", "night", "--model", str(model), "--data", str(dialogues), *runs, *begun)
    subprocess.run(_command(*words), check=True, env=_environment(), stdout=subprocess.DEVNULL)
    for stage in ("sft", "preferences", "reward"):
        later = _command(stage, "--run", "night", *runs)
        subprocess.run(later, check=True, env=_environment(), stdout=subprocess.DEVNULL)
    return work / "runs" / "night" / "ppo"


def _watch(command: Sequence[str], folder: Path) -> tuple[list[Sample], int]:
    """Run a command and look at it twice a second; return the looks and its exit code."""
    samples: list[Sample] = []
    began = time.monotonic()
    with subprocess.Popen(command, env=_environment(), stdout=subprocess.DEVNULL) as program:
        process = psutil.Process(program.pid)
        while program.poll() is None:
            with suppress(psutil.Error, OSError):  # it ends, or a file goes, while it is looked at
                samples.append(_look(process, folder, time.monotonic() - began))
            time.sleep(0.5)
    return samples, program.returncode


def _look(process: psutil.Process, folder: Path, seconds: float) -> Sample:
    memory = process.memory_info().rss
    for child in process.children(recursive=True):
        with suppress(psutil.Error):
            memory += child.memory_info().rss
    sizes: Counter[str] = Counter()
    count = 0
    checkpoints: set[str] = set()
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if file.is_file():
                count += "checkpoints" not in file.parts
                kind = file.relative_to(folder).parts[0]
                sizes[kind] += file.stat().st_size
        if file.parent.name == "checkpoints" and file.name.startswith("checkpoint-"):
            checkpoints.add(file.name)
    update = _last_update(folder / "metrics.csv")
    return Sample(update, seconds, memory, process.num_fds(), count, len(checkpoints), dict(sizes))


def _last_update(curves: Path) -> int:
    """Return the step of the last whole row."""
    with suppress(FileNotFoundError), curves.open("rb") as stream:
        stream.seek(max(0, curves.stat().st_size - 300))
        for row in reversed(stream.read().split(b"\n")[:-1]):
            if (step := row.partition(b",")[0]).isdigit():
                return int(step)
    return 0


def _figures(samples: Sequence[Sample], updates: int) -> dict[str, Any]:
    samples = list(samples)
    made = max((sample.update for sample in samples), default=0)
    while samples and not samples[-1].checkpoints:  # done, its checkpoints are deleted: no look at a run any more
        samples.pop()
    early = _near(samples, updates // 10)
    late = _near(samples, updates)
    after = [sample for sample in samples if updates // 10 <= sample.update < updates] or late
    last, first = late[-1], early[-1]
    passed = max(1, last.update - first.update)
    kinds = sorted({*first.sizes, *last.sizes})
    growth = {kind: (last.sizes.get(kind, 0) - first.sizes.get(kind, 0)) / passed for kind in kinds}
    return {
        "updates": made,
        "seconds": round(last.seconds, 1),
        "seconds_an_update_first_half": _pace(samples, updates, 0.1, 0.5),
        "seconds_an_update_second_half": _pace(samples, updates, 0.6, 1.0),
        "memory_mib_first_tenth": round(_median(early, "memory") / MEBIBYTE, 1),
        "memory_mib_end": round(_median(late, "memory") / MEBIBYTE, 1),
        "open_files_first_tenth": _median(early, "open_files"),
        "open_files_end": _median(late, "open_files"),
        "files_first_tenth": _median(early, "files"),
        "files_most_after": max(sample.files for sample in after),
        "checkpoints_most": max(sample.checkpoints for sample in samples),
        "bytes_end": last.sizes,
        "bytes_an_update": {kind: round(value, 1) for kind, value in growth.items()},
    }


def _near(samples: Sequence[Sample], update: int) -> list[Sample]:
    """Return the looks around an update: the ten that are nearest to it, in order."""
    running = [sample for sample in samples if sample.update > 0]
    if not running:
        raise SystemExit("not one update was made; what the program said stands above")
    return sorted(sorted(running, key=lambda sample: abs(sample.update - update))[:10], key=lambda one: one.seconds)


def _median(samples: Sequence[Sample], name: str) -> float:
    return statistics.median(getattr(sample, name) for sample in samples)


def _pace(samples: Sequence[Sample], updates: int, begin: float, end: float) -> float:
    """Return the seconds an update between two shares of the run."""
    first, last = _near(samples, round(begin * updates))[0], _near(samples, round(end * updates))[-1]
    return round((last.seconds - first.seconds) / max(1, last.update - first.update), 4)


def _broken(found: Mapping[str, Any], code: int) -> list[str]:
    """Return the promises that weren't kept."""
    growth = MEMORY_GROWTH if found["updates"] >= 1000 else FILLING_UP
    kept = {
        "the run ended well": code == 0,
        "flat memory": found["memory_mib_end"] <= (1 + growth) * found["memory_mib_first_tenth"],
        "flat open files": found["open_files_end"] <= found["open_files_first_tenth"] + IN_WRITING,
        "as many files": found["files_most_after"] <= found["files_first_tenth"] + MORE_FILES,
        "two checkpoints and one that is replaced": found["checkpoints_most"] <= 3,
        "bounded curves": sum(found["bytes_an_update"].values()) <= BYTES_AN_UPDATE,
    }
    return [name for name, held in kept.items() if not held]


if __name__ == "__main__":
    sys.exit(main())
