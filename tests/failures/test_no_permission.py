"""Where one may not write or read: a line with the place, and what was complete stays."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from personatune.cli.failures import machine_failure
from personatune.errors import UserError
from personatune.model import backbone
from personatune.training.checkpoints import CheckpointManager

if TYPE_CHECKING:
    from tests.failures.conftest import Program

Lock = Callable[[Path], None]
DENIED = "can't be written (Permission denied); free some space or choose another place"


def test_a_folder_of_runs_that_cant_be_written(program: Program, locked: Lock) -> None:
    program.runs.mkdir()
    locked(program.runs)
    ended = program.begin()
    assert (ended.code, ended.line) == (2, f"{program.run}: can't be written (Permission denied); choose another place")
    assert list(program.runs.iterdir()) == []


def test_a_stage_that_may_not_make_its_folder(begun: Program, locked: Lock) -> None:
    locked(begun.run)
    ended = begun.stage("sft")
    assert ended.code == 2
    assert str(begun.run) in ended.line
    assert "Permission denied" in ended.line
    assert not (begun.run / "sft").exists()


def test_rights_that_are_taken_away_in_the_middle_leave_the_last_checkpoint(
    begun: Program, at_step: Callable[[int, Callable[[], Any]], None], locked: Lock
) -> None:
    checkpoints = begun.run / "sft" / "checkpoints"
    at_step(1, lambda: locked(checkpoints))
    ended = begun.stage("sft")
    assert ended.code == 2
    assert ended.line.startswith(f"{checkpoints / 'checkpoint-'}")
    assert ended.line.endswith(DENIED)
    whole = CheckpointManager(checkpoints).load_last()
    assert whole is not None
    assert whole.step == 0
    assert list(checkpoints.glob(".*")) == []
    checkpoints.chmod(0o755)
    assert begun.stage("sft").code == 0


@pytest.mark.parametrize("file", ["config.yaml", "manifest.jsonl", "prepare/train.jsonl"])
def test_a_file_of_a_run_that_cant_be_read(begun: Program, locked: Lock, file: str) -> None:
    locked(begun.run / file)
    ended = begun.stage("sft")
    assert (ended.code, ended.line) == (2, f"{begun.run / file}: can't be read (Permission denied)")


def test_dialogues_that_cant_be_read(program: Program, locked: Lock, tmp_path: Path) -> None:
    data = tmp_path / "mine.jsonl"
    data.write_bytes((program.base / "made.jsonl").read_bytes())
    locked(data)
    ended = program.begin(data=str(data))
    assert (ended.code, ended.line) == (2, f"{data}: can't be read (Permission denied)")


def test_a_card_that_can_go_nowhere(program: Program, locked: Lock, tmp_path: Path) -> None:
    place = tmp_path / "cards"
    place.mkdir()
    locked(place)
    ended = program("cards", "convert", str(place / "max.json"), "--persona", "I have two dogs.", "--name", "Max")
    assert (ended.code, ended.line) == (2, f"{place / 'max.json'}: {DENIED}")
    assert list(place.iterdir()) == []


def test_a_cache_that_cant_be_written_is_told_before_the_model_is_converted(
    locked: Lock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PERSONATUNE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    locked(tmp_path)
    with pytest.raises(UserError) as caught:
        backbone.locate("embedded")
    assert str(caught.value) == (
        f"{tmp_path / '.cache' / 'personatune'}: the cache can't be written (Permission denied); "
        "name a folder that can be written: PERSONATUNE_CACHE=FOLDER"
    )


def test_a_cache_on_a_disk_for_reading_only_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONATUNE_CACHE", "/proc/personatune")  # nobody may make a folder there
    with pytest.raises(UserError, match=r"/proc/personatune: the cache can't be written \(.*\); name a folder that"):
        backbone.locate("embedded")


def test_a_user_without_a_home_is_asked_for_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("PERSONATUNE_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UserError) as caught:
        backbone.cache_folder()
    assert str(caught.value) == (
        "this user has no home directory for the cache; name a folder that can be written: PERSONATUNE_CACHE=FOLDER"
    )


def test_a_file_system_that_fails_elsewhere_is_a_line_and_a_mistake_of_ours_stays_a_trace() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/mnt/run/metrics.csv")
    assert machine_failure(full) == (
        "/mnt/run/metrics.csv: No space left on device; what was complete before stays as it was"
    )
    assert machine_failure(FileNotFoundError(errno.ENOENT, "No such file", "/mnt/run")) is None
    assert machine_failure(RuntimeError("shapes don't fit")) is None
