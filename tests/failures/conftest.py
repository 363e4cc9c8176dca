"""A run that is prepared and no further, and the program to go on with it while something breaks."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.program import call

from personatune.training.tracking import open_tracker

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

SMALL = (
    "model.max_length=384", "lora.rank=4", "data.validation_share=0.2", "data.test_share=0.2",
    "tracking.backends=[csv]", "data.max_dialogues=24", "sft.batch_size=4", "sft.learning_rate=1e-2",
    "sft.validation_dialogues=6", "sft.evaluations=3",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a call of the program came to."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on stderr, without the program's name."""
        assert self.err.startswith("personatune: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("personatune: ").removesuffix("\n")


class Program:
    """Calls the program as its entry point does, in this process, on one folder of runs."""

    def __init__(self, runs: Path, base: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.runs, self.base, self._capture = runs, base, capture

    @property
    def run(self) -> Path:
        return self.runs / "tiny"

    def __call__(self, *words: str) -> Outcome:
        self._capture.readouterr()
        code = call(*words)
        printed = self._capture.readouterr()
        return Outcome(code, printed.out, printed.err)

    def begin(self, command: str = "prepare", *settings: str, **places: str) -> Outcome:
        return self(*beginning(command, self.runs, self.base, *settings, **places))

    def stage(self, command: str, *more: str) -> Outcome:
        return self(command, "--run", "tiny", "--runs", str(self.runs), *more)


def beginning(command: str, runs: Path, base: Path, *settings: str, model: str = "", data: str = "") -> list[str]:
    chosen = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    places = ["--model", model or str(base / "model"), "--data", data or str(base / "made.jsonl")]
    return [command, "--name", "tiny", *places, "--runs", str(runs), *chosen]


@pytest.fixture(scope="session")
def base(tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base model and dialogues."""
    folder = tmp_path_factory.mktemp("base")
    tiny.save(folder / "model", layers=2, spread=0.05)
    dialogues.write(folder / "made.jsonl", 60)
    return folder


@pytest.fixture(scope="session")
def prepared(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one that is prepared, to be copied."""
    folder = tmp_path_factory.mktemp("prepared")
    assert call(*beginning("prepare", folder, base)) == 0
    return folder


@pytest.fixture
def program(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Program:
    """The program with an empty folder of runs."""
    return Program(tmp_path / "runs", base, capsys)


@pytest.fixture
def begun(program: Program, prepared: Path) -> Program:
    """The program with a prepared run called tiny."""
    shutil.copytree(prepared, program.runs)
    return program


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], None]:
    """Have something happen in the middle of training, after a step's figures were written."""

    def arrange(step: int, happens: Callable[[], Any]) -> None:
        done: list[int] = []

        def opened(*places: Any, **options: Any) -> Any:
            tracker = open_tracker(*places, **options)
            plain = tracker.log

            def log(metrics: Mapping[str, float], now: int) -> None:
                plain(metrics, now)
                if now == step and "train_loss" in metrics and not done:
                    done.append(now)
                    happens()

            tracker.log = log  # type: ignore[method-assign, assignment]
            return tracker

        monkeypatch.setattr("personatune.pipeline.stages.open_tracker", opened)

    return arrange


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Powers(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


_ABOVE_PERMISSIONS = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, capabilities(7)


@contextmanager
def obeying_permissions() -> Iterator[None]:
    """Let permissions hold for this thread inside the block, also where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, powers = _Header(0x20080522, 0), (_Powers * 2)()
    if not hasattr(libc, "capset") or libc.capget(ctypes.byref(header), powers):
        pytest.skip("root here, and its powers can't be laid down")
    before = powers[0].effective
    powers[0].effective = before & ~_ABOVE_PERMISSIONS
    if libc.capset(ctypes.byref(header), powers):
        pytest.skip("root here, and its powers can't be laid down")
    try:
        yield
    finally:
        powers[0].effective = before
        libc.capset(ctypes.byref(header), powers)


@pytest.fixture
def locked() -> Iterator[Callable[[Path], None]]:
    """Return what takes the right to write from a folder or to read from a file; it is given back after the test."""
    taken: list[tuple[Path, int]] = []

    def lock(place: Path) -> None:
        taken.append((place, place.stat().st_mode))
        place.chmod(0o555 if place.is_dir() else 0o000)

    with obeying_permissions():
        yield lock
        for place, mode in taken:
            if place.exists():
                place.chmod(mode)
