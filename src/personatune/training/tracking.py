"""One small interface for the curves of a run: CSV always, W&B (offline by default) and TensorBoard where installed."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from personatune.config import TrackingConfig
from personatune.errors import UserError
from personatune.storage import replacing, write_text

_COLUMNS = ["step", "name", "value"]


class Tracker(Protocol):
    """Where a stage writes its figures and sample replies."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the figures of one step."""

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        """Write example texts, one mapping of column to text for each."""

    def close(self) -> None:
        """Finish; nothing is written afterwards."""


class SilentTracker:
    """The do-nothing tracker: library calls and tests need no ``if``."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        pass

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        pass

    def close(self) -> None:
        pass


class CsvTracker:
    """``metrics.csv`` in long form (step, name, value), so that a new figure never breaks it, and ``samples.jsonl``.

    Rows are flushed as they come. Reopened for a resume, rows after ``resume_step`` are cut off: the resumed run
    writes them again, and each step stands there once.
    """

    def __init__(self, directory: Path, resume_step: int = 0) -> None:
        self._metrics = directory / "metrics.csv"
        self._samples = directory / "samples.jsonl"
        _cut_metrics(self._metrics, resume_step)
        _cut_samples(self._samples, resume_step)
        self._stream = self._metrics.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.writerow([step, name, repr(float(value))])
        self._stream.flush()

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        with self._samples.open("a", encoding="utf-8") as stream:
            for row in rows:
                stream.write(json.dumps({"step": step, "name": name, **row}, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._stream.close()


class _WandbTracker:
    """W&B without banner, without prompts and without touching the environment.

    A stage is one W&B run in the group of its personatune run. Offline, opening it costs about a second (and another
    one for the first import), which no stage notices.
    """

    def __init__(self, directory: Path, settings: TrackingConfig, run: str, stage: str) -> None:
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            project=settings.project,
            group=run,
            name=f"{run}/{stage}",
            # The place makes the id, so that a resumed stage goes on with the W&B run it began.
            id=hashlib.sha256(f"{settings.project}/{directory.resolve()}".encode()).hexdigest()[:12],
            resume="allow" if settings.online else None,
            reinit="finish_previous",
            mode="online" if settings.online else "offline",
            dir=str(directory),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_stats=True,
                x_disable_meta=True,
            ),
        )
        # A resumed stage repeats the steps after its checkpoint, and W&B's own step counter must only grow.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log({**{name: float(value) for name, value in metrics.items()}, "step": step})

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        if rows:
            columns = list(rows[0])
            table = self._wandb.Table(columns=columns, data=[[row.get(key, "") for key in columns] for row in rows])
            self._run.log({name: table, "step": step})

    def close(self) -> None:
        self._run.finish()


class _TensorBoardTracker:
    def __init__(self, directory: Path, resume_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # purge_step hides what an interrupted run wrote after the step that is resumed.
        purge = resume_step + 1 if resume_step else None
        self._writer: Any = SummaryWriter(str(directory / "tensorboard"), purge_step=purge)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        text = "\n\n".join("  \n".join(f"**{key}** {value}" for key, value in row.items()) for row in rows)
        self._writer.add_text(name, text, step)

    def close(self) -> None:
        self._writer.close()


class _Trackers:
    """Several trackers as one."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for tracker in self._trackers:
            tracker.log(metrics, step)

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        for tracker in self._trackers:
            tracker.samples(name, rows, step)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()


def open_tracker(directory: Path, settings: TrackingConfig, *, run: str, stage: str, resume_step: int = 0) -> Tracker:
    """Open the trackers of one stage; ``directory`` is the stage's own folder (``runs/<name>/<stage>``).

    Args:
        run: the personatune run's name.
        stage: name of the stage; a W&B run in the group of the run.
        resume_step: the last step of the checkpoint that is resumed; what was written after it is cut off.

    Raises:
        UserError: a listed backend is not installed, or W&B can't start.
    """
    wanted = _backends(settings)
    directory.mkdir(parents=True, exist_ok=True)
    trackers: list[Tracker] = [CsvTracker(directory, resume_step)]
    makers: dict[str, Callable[[], Tracker]] = {
        "wandb": lambda: _WandbTracker(directory, settings, run, stage),
        "tensorboard": lambda: _TensorBoardTracker(directory, resume_step),
    }
    try:
        for backend in wanted:
            trackers.append(makers[backend]())
    except Exception as error:
        for tracker in trackers:
            tracker.close()
        reason = " ".join(str(error).split())
        raise UserError(f"tracking.backends: {backend} can't start ({reason}); leave it out to go on") from error
    return _Trackers(trackers)


def _backends(settings: TrackingConfig) -> list[str]:
    if settings.backends == "auto":
        return ["wandb"] if _installed("wandb") else []
    wanted: list[str] = [backend for backend in dict.fromkeys(settings.backends) if backend != "csv"]
    for backend in wanted:
        if not _installed(backend):
            raise UserError(
                f"tracking.backends: {backend} is not installed; pip install 'personatune[tracking]', or leave it out"
            )
    return wanted


def _installed(package: str) -> bool:
    # A folder called "wandb" (W&B's own output) in the working directory looks like a namespace package: no loader.
    with suppress(ValueError):
        found = find_spec(package)
        return found is not None and found.origin is not None
    return False


def _cut_metrics(file: Path, last_step: int) -> None:
    rows: list[list[str]] = []
    if last_step and file.exists():
        with file.open(encoding="utf-8", newline="") as stream:
            # An interrupt can leave half a row at the end: it has a step that is run again, or no step at all.
            rows = [
                row for row in csv.reader(stream) if len(row) == 3 and row[0].isdigit() and int(row[0]) <= last_step
            ]
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([_COLUMNS, *rows])


def _cut_samples(file: Path, last_step: int) -> None:
    kept: list[str] = []
    if last_step and file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            with suppress(json.JSONDecodeError):  # half a line, left by an interrupt
                if json.loads(line)["step"] <= last_step:
                    kept.append(line + "\n")
    write_text(file, "".join(kept))
