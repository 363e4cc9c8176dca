"""One small interface for the curves of a run: CSV always; W&B (offline by default), TensorBoard, trackio where wanted.

What each backend writes and where: docs/tracking.md.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from personatune.errors import UserError
from personatune.plain_text import hide_secrets, without_secrets
from personatune.settings import TrackingConfig
from personatune.storage import write_json

_IDENTITY = "tracking.json"


class Tracker(Protocol):
    """Where a training writes its figures and sample replies."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the figures of one step."""

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        """Write example texts as a table, one mapping of column to text for each row."""

    def close(self) -> None:
        """Finish; nothing is written afterwards."""


class ReportTracker(Tracker, Protocol):
    """One that takes a finished report too."""

    def figures(self, drawings: Mapping[str, bytes], step: int) -> None:
        """Write drawings, name to PNG."""

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Keep finished files together as one artefact of a kind ("report", "model")."""


class SilentTracker:
    """The do-nothing tracker: library calls and tests need no ``if``."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        pass

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        pass

    def figures(self, drawings: Mapping[str, bytes], step: int) -> None:
        pass

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class TrackedStage:
    """What a tracker is told about its stage.

    Attributes:
        directory: the stage's own folder (``runs/<name>/<stage>``).
        run: the personatune run's name.
        known: the word under which W&B and trackio know the stage, the same when it is resumed.
        resume_step: the last step of the checkpoint that is resumed; 0 begins anew.
        config: settings by dotted names, without secrets.
    """

    directory: Path
    settings: TrackingConfig
    run: str
    stage: str
    known: str
    resume_step: int
    config: Mapping[str, Any]


def worth_sampling(number: int, often: int = 100) -> bool:
    """Say whether samples are written down at the ``number``-th chance: always below 2 · often, then ever more seldom.

    From k · often on it is every k-th time. So N chances leave about often · (2 + ln(N / often)) samples, where each
    would be megabytes, or thousands of files, after a night.
    """
    return number % max(1, number // often) == 0


class _Trackers:
    """The CSV files, which must be written, and others that may fail: a lost dashboard ends no training."""

    def __init__(self, csv: ReportTracker, others: Mapping[str, ReportTracker]) -> None:
        self._csv = csv
        self._others = dict(others)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._each(lambda tracker: tracker.log(metrics, step))

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        self._each(lambda tracker: tracker.samples(name, rows, step))

    def figures(self, drawings: Mapping[str, bytes], step: int) -> None:
        self._each(lambda tracker: tracker.figures(drawings, step))

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        self._each(lambda tracker: tracker.files(name, kind, paths))

    def close(self) -> None:
        self._each(lambda tracker: tracker.close())

    def _each(self, act: Callable[[ReportTracker], None]) -> None:
        act(self._csv)
        for name, tracker in list(self._others.items()):
            try:
                act(tracker)
            except Exception as error:  # whatever a service, its process or its disk comes up with
                del self._others[name]
                told = f"tracking: {name} failed ({_reason(error)}); its curves end here, metrics.csv goes on"
                print(told, file=sys.stderr, flush=True)


def open_tracker(
    directory: Path,
    settings: TrackingConfig,
    *,
    run: str,
    stage: str,
    resume_step: int = 0,
    config: Mapping[str, Any] | None = None,
) -> ReportTracker:
    """Open the trackers of one stage; ``directory`` is the stage's own folder (``runs/<name>/<stage>``).

    Args:
        run: the personatune run's name.
        stage: name of the stage; a run of its own, in the group of the personatune run, for W&B and trackio.
        resume_step: the last step of the checkpoint that is resumed; W&B and trackio go on with the run they began,
            CSV and TensorBoard cut off what was written after it. 0 begins anew.
        config: the settings to show beside the curves; anything that looks like a secret is hidden in them.

    Raises:
        UserError: a listed backend is not installed, or can't start.
    """
    from personatune.training.csv_tracker import CsvTracker

    wanted = _backends(settings)
    directory.mkdir(parents=True, exist_ok=True)
    known = _identity(directory, resume_step) if {"wandb", "trackio"} & set(wanted) else ""
    shown = _flat(hide_secrets(config or {}))
    tracked = TrackedStage(directory, settings, run, stage, known, resume_step, shown)
    csv = CsvTracker(directory, resume_step)
    others: dict[str, ReportTracker] = {}
    for backend in wanted:
        try:
            others[backend] = _make(backend, tracked)
        except Exception as error:
            for tracker in (csv, *others.values()):
                tracker.close()
            raise UserError(
                f"tracking.backends: {backend} can't start ({_reason(error)}); to go on without it: "
                "--set tracking.backends=[csv]"
            ) from error
    return _Trackers(csv, others)


def _make(backend: str, tracked: TrackedStage) -> ReportTracker:
    """Open one backend; its package is loaded here, not before."""
    if backend == "wandb":
        from personatune.training.wandb_tracker import WandbTracker

        return WandbTracker(tracked)
    if backend == "trackio":
        from personatune.training.trackio_tracker import TrackioTracker

        return TrackioTracker(tracked)
    from personatune.training.tensorboard_tracker import TensorBoardTracker

    return TensorBoardTracker(tracked.directory, tracked.resume_step)


def _reason(error: Exception) -> str:
    return without_secrets(" ".join(str(error).split())) or type(error).__name__


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


def _identity(directory: Path, resume_step: int) -> str:
    """Return the word under which W&B and trackio know this stage: the one it was begun with if it is resumed."""
    place = directory / _IDENTITY
    if resume_step:
        with suppress(OSError, ValueError, KeyError, TypeError):  # lost or damaged: a run of its own goes on
            return str(json.loads(place.read_text(encoding="utf-8"))["id"])
    known = secrets.token_hex(6)
    write_json(place, {"id": known})
    return known


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a tree of settings by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
