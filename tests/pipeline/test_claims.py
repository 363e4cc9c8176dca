"""One writer a run: the second process is told who the first one is; a dead one's lock is nobody's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.program import call

from personatune.config import load_config
from personatune.errors import UserError
from personatune.pipeline.claims import claimed
from personatune.pipeline.run import Run

HOLDER = """
import sys
from pathlib import Path
from personatune.pipeline.claims import claimed
sys.argv = ["personatune", "run", "--name", "mine"]
with claimed(Path({folder!r})) as claim:
    claim.note("sft")
    print("here", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with one run that has begun."""
    Run.open(tmp_path / "runs", "mine", load_config("quick")).mark_done("prepare", {})
    return tmp_path / "runs"


@pytest.fixture
def holder(runs: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes into the run."""
    program = HOLDER.format(folder=str(runs / "mine"))
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--name", "mine"],
        ["prepare", "--name", "mine"],
        ["baseline", "--run", "mine"],
        ["sft", "--run", "mine", "--redo"],
        ["preferences", "--run", "mine"],
        ["reward", "--run", "mine"],
        ["ppo", "--run", "mine"],
        ["dpo", "--run", "mine"],
        ["compare", "--run", "mine"],
        ["evaluate", "--run", "mine"],
        ["report", "--run", "mine"],
        ["compare-methods", "--run", "mine", "--method", "sft"],
    ],
    ids=lambda words: words[0],
)
def test_who_comes_second_is_refused_with_the_first_ones_process(
    runs: Path, holder: subprocess.Popen[str], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    before = {file: file.read_bytes() for file in runs.rglob("*") if file.is_file()}
    code = call(*words, "--runs", str(runs))
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert f"{runs / 'mine'}: process {holder.pid} (personatune run, since 20" in err
    assert "now at sft) is writing here; wait for it or end it" in err
    assert {file: file.read_bytes() for file in runs.rglob("*") if file.is_file()} == before


def test_who_only_reads_is_not_refused(
    runs: Path, holder: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("runs", "--runs", str(runs)) == 0
    assert "mine" in capsys.readouterr().out


def test_the_lock_of_a_killed_process_is_nobodys(runs: Path, holder: subprocess.Popen[str]) -> None:
    half = runs / "mine" / "sft" / f".adapter.{holder.pid}.part"
    half.mkdir(parents=True)
    with pytest.raises(UserError, match=f"process {holder.pid} "), claimed(runs / "mine"):
        pass
    assert half.exists()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert json.loads((runs / "mine" / ".lock.json").read_text(encoding="utf-8"))["pid"] == holder.pid
    with claimed(runs / "mine"):
        assert not half.exists()  # what the dead one was writing
        assert json.loads((runs / "mine" / ".lock.json").read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert not (runs / "mine" / ".lock.json").exists()


def test_one_thread_may_claim_twice_and_another_one_may_not(tmp_path: Path) -> None:
    found: list[object] = []

    def other() -> None:
        try:
            with claimed(tmp_path):
                found.append("in")
        except UserError as error:
            found.append(str(error))

    with claimed(tmp_path) as outer:
        with claimed(tmp_path / "." / "") as inner:
            assert inner is outer
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert f"process {os.getpid()} " in str(found[0])
    with claimed(tmp_path):
        pass


def test_a_place_that_cant_be_claimed_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="can't be written"), claimed(tmp_path / "file"):
        pass
