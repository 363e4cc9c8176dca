"""Memory gives out in the middle: one line with a setting that works, and the last checkpoint stays."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors import SafetensorError
from tests.failures.conftest import Outcome

from personatune.config import load_config
from personatune.costs.memory import out_of_memory
from personatune.errors import UserError
from personatune.pipeline.run import Run
from personatune.training.checkpoints import CheckpointManager

if TYPE_CHECKING:
    from tests.conftest import TinyModels
    from tests.failures.conftest import Program

pytest.importorskip("resource", reason="no limits of a process on this system")
MIB = 2**20


# A process of its own: one that ran other trainings before holds freed memory, and needs nothing more from the system.
CRAMPED = f"""
import resource
import psutil
from personatune.cli import main
from personatune.training.sft import SFTTrainer

plain = SFTTrainer.train

def train(trainer):
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + {100 * MIB}, hard))
    return plain(trainer)

SFTTrainer.train = train
main()
"""
"""The program, with no more than 100 MiB for training on top of the model that is loaded."""


def cramped(*words: str) -> Outcome:
    done = subprocess.run([sys.executable, "-c", CRAMPED, *words], capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


SETTINGS = ("sft.batch_size=32", "data.max_dialogues=60", "sft.evaluations=1", "sft.epochs=1")


@pytest.mark.slow
def test_a_step_without_memory_names_a_setting_that_works_and_goes_on_from_the_last_checkpoint(
    program: Program, tiny: TinyModels, tmp_path: Path
) -> None:
    wide = str(tiny.save(tmp_path / "wide", layers=16, hidden=64, spread=0.05))
    assert program.begin("prepare", *SETTINGS, model=wide).code == 0
    ended = cramped("sft", "--run", "tiny", "--runs", str(program.runs))
    assert ended.code == 2, ended
    told = re.fullmatch(
        r"sft ran out of memory with \d+\.\d GiB in use; what was saved before stays; less is needed with "
        r"(--set sft\.micro_batch_size=\d+): personatune run with it and the settings of before goes on there",
        ended.line,
    )
    assert told, ended.line
    whole = CheckpointManager(program.run / "sft" / "checkpoints").load_last()
    assert whole is not None
    assert whole.step == 0
    segments = [json.loads(row) for row in (program.run / "costs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["interrupted"] for row in segments if row["stage"] == "sft"] == [1]  # it is paid for all the same
    smaller = told[1].removeprefix("--set ")
    assert program.begin("prepare", *SETTINGS, smaller, model=wide).code == 0
    again = cramped("sft", "--run", "tiny", "--runs", str(program.runs))
    assert (again.code, again.err) == (0, "")


def test_a_model_that_doesnt_fit_is_told_as_that_and_not_as_a_damaged_folder(
    program: Program, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*places: object, **options: object) -> object:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", full)
    ended = program("chat", "--model", str(base / "model"))
    assert (ended.code, ended.line) == (
        2, "out of memory; close other programs, or take a smaller model or a larger machine",
    )  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried 9"),
        RuntimeError("std::bad_alloc"),
        SafetensorError("Error while opening: Cannot allocate memory (os error 12)"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_memory_that_gave_out_is_known_whoever_tells_it(error: Exception) -> None:
    assert out_of_memory(error)
    wrapped = ValueError("can't be loaded")
    wrapped.__cause__ = error
    assert out_of_memory(wrapped)


def test_other_errors_are_not_taken_for_it() -> None:
    for error in (RuntimeError("shapes don't fit"), OSError(errno.ENOENT, "No such file"), ValueError("bad_alloc")):
        assert not out_of_memory(error)


def test_settings_that_only_save_memory_may_change_in_the_middle_of_a_run(tmp_path: Path) -> None:
    Run.open(tmp_path, "mine", load_config("quick")).mark_done("prepare", {})
    smaller = load_config("quick", ["sft.micro_batch_size=1", "branch.trunk_memory_gb=0"])
    assert Run.open(tmp_path, "mine", smaller).config == smaller
    assert Run.open(tmp_path, "mine").config.sft.micro_batch_size == 1
    with pytest.raises(UserError, match=r"begun with other settings \(sft\.epochs: \d+, now 9\)"):
        Run.open(tmp_path, "mine", load_config("quick", ["sft.micro_batch_size=2", "sft.epochs=9"]))
