"""A run's folder that goes away in the middle: one line, and no half of a new one in its place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from personatune.anchors import require_standing, standing
from personatune.errors import UserError
from personatune.storage import append_jsonl, write_text

if TYPE_CHECKING:
    from tests.failures.conftest import Program

AtStep = Callable[[int, Callable[[], Any]], None]
TOLD = (
    "deleted, moved or replaced while it was being written to; nothing was written in its place; "
    "put it back and the same command goes on where its last checkpoint is"
)


def test_a_run_that_is_deleted_in_the_middle_is_told_and_not_begun_anew(begun: Program, at_step: AtStep) -> None:
    at_step(3, lambda: shutil.rmtree(begun.run))
    ended = begun.stage("sft")
    assert (ended.code, ended.line) == (2, f"{begun.run}: {TOLD}")
    assert list(begun.runs.iterdir()) == []


def test_a_folder_that_took_its_place_stays_empty(begun: Program, at_step: AtStep) -> None:
    def replace() -> None:
        shutil.rmtree(begun.run)
        begun.run.mkdir()

    at_step(3, replace)
    ended = begun.stage("sft")
    assert (ended.code, ended.line) == (2, f"{begun.run}: {TOLD}")
    assert list(begun.run.iterdir()) == []


def test_a_run_that_was_moved_and_put_back_arrives_at_the_same_weights(
    begun: Program, at_step: AtStep, tmp_path: Path
) -> None:
    shutil.copytree(begun.runs, tmp_path / "undisturbed")
    assert begun("sft", "--run", "tiny", "--runs", str(tmp_path / "undisturbed")).code == 0
    at_step(5, lambda: begun.run.rename(tmp_path / "elsewhere"))
    ended = begun.stage("sft")
    assert (ended.code, ended.line) == (2, f"{begun.run}: {TOLD}")
    assert list(begun.runs.iterdir()) == []
    (tmp_path / "elsewhere").rename(begun.run)
    assert begun.stage("sft").code == 0
    adapters = [
        load_file(runs / "tiny" / "sft" / "adapter" / "adapter_model.safetensors")
        for runs in (begun.runs, tmp_path / "undisturbed")
    ]
    assert all(torch.equal(adapters[0][name], tensor) for name, tensor in adapters[1].items())


def test_only_what_lies_in_a_standing_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with standing(folder):
        write_text(folder / "sft" / "file.txt", "there")
        shutil.rmtree(folder)
        for write in (lambda: write_text(folder / "sft" / "a.txt", "a"), lambda: append_jsonl(folder / "b", {})):
            with pytest.raises(UserError, match="nothing was written in its place"):
                write()
        write_text(tmp_path / "run beside" / "c.txt", "c")
        require_standing(tmp_path / "running")
    assert not folder.exists()
    write_text(folder / "sft" / "a.txt", "a")  # afterwards it is a folder like any other
