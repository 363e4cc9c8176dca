"""A run: its folder, its settings and which stages are done."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from personatune.anchors import require_standing
from personatune.config import load_config, save_config
from personatune.costs.meter import MetricsTracker
from personatune.errors import UserError, did_you_mean
from personatune.settings import Config
from personatune.storage import read_jsonl, write_jsonl

STAGES = ("prepare", "baseline", "sft", "preferences", "reward", "ppo", "evaluate", "compare", "report")
BUILDS_ON: dict[str, tuple[str, ...]] = {
    "prepare": (),
    "baseline": ("prepare",),
    "sft": ("prepare",),
    "preferences": ("sft",),
    "reward": ("preferences",),
    "dpo": ("preferences",),  # beside the road of `run`: see `pipeline/variants.py`
    "ppo": ("reward",),
    "evaluate": ("sft", "ppo"),
    "compare": ("sft",),
    "report": ("baseline", "evaluate", "compare"),
}
MAY_CHANGE = ("tracking.", "sft.micro_batch_size", "branch.trunk_memory_gb")
"""Settings of a begun run that may change: where figures go, and how much memory the same sums take."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_INSIDE = re.compile(rf"{_NAME.pattern}(/{_NAME.pattern})*")  # of a stage or a variant: its folder inside the run's


@dataclass
class Run:
    """One run under ``runs/<name>``. Every stage keeps its files in a folder of its own."""

    directory: Path
    config: Config

    @classmethod
    def open(cls, runs: Path, name: str, config: Config | None = None) -> Run:
        """Open a run, or begin one when ``config`` is given and there is none.

        Raises:
            UserError: a name that is no plain folder name, no such run, or other settings than it was begun with.
        """
        directory = run_directory(runs, name)
        settings = directory / "config.yaml"
        if settings.is_file():
            saved = load_config(settings)
            begun = (directory / "manifest.jsonl").is_file()  # before the first stage is done, settings may change
            if config is not None and config != saved and (not begun or _may_follow(saved, config)):
                save_config(config, settings)
                return cls(directory, config)
            if config is not None and config != saved:
                raise UserError(
                    f"{directory}: this run was begun with other settings ({_first_difference(saved, config)}); "
                    f"take another --name, or delete the folder to start over"
                )
            return cls(directory, saved)
        if config is None:
            hint = did_you_mean(name, [path.parent.name for path in runs.glob("*/config.yaml")])
            raise UserError(f"{directory}: no such run{hint}; start one: personatune run --name {name}")
        save_config(config, settings)
        return cls(directory, config)

    @property
    def name(self) -> str:
        return self.directory.name

    def folder(self, stage: str) -> Path:
        """Return a stage's folder, made if needed."""
        folder = self.directory / stage
        require_standing(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def done(self) -> list[str]:
        """Return the stages that are done, in order."""
        finished = self.finished()
        return [stage for stage in STAGES if stage in finished]

    def finished(self) -> set[str]:
        """Return all that is done: stages, and variants of them under their own names."""
        return {row["stage"] for row in self._manifest()}

    def mark_done(self, stage: str, figures: dict[str, Any]) -> None:
        """Add a stage's line to the manifest."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [row for row in self._manifest() if row["stage"] != stage]
        write_jsonl(self.directory / "manifest.jsonl", [*rows, {"stage": stage, "finished": now, **figures}])

    def require(self, stage: str, *needed: str) -> None:
        """Check that the stages a stage builds on are done; by default those of `BUILDS_ON`.

        Raises:
            UserError: one is missing (names the command).
        """
        finished = self.finished()
        missing = [other for other in needed or BUILDS_ON[stage] if other not in finished]
        if missing:
            raise UserError(
                f"{stage} of run {self.name} needs {' and '.join(missing)} first; "
                f"run: personatune {missing[0]} --run {self.name}"
            )

    def forget(self, stage: str) -> None:
        """Delete a stage's files, costs and its line in the manifest, and those of all stages that build on it."""
        gone = {stage}
        for later in STAGES:
            if gone & set(BUILDS_ON[later]):
                gone.add(later)
        before = self._manifest()
        for row in before:  # a variant builds on what its stage builds on
            if gone & set(BUILDS_ON.get(row.get("of", ""), ())):
                gone.add(row["stage"])
        rows = [row for row in before if row["stage"] not in gone]
        write_jsonl(self.directory / "manifest.jsonl", rows)
        if "sft" in gone:  # nothing of `compare-methods` holds any more
            self._delete("methods")
        costs = MetricsTracker(self.directory / "costs.jsonl")
        for name in gone:
            costs.forget(name)
            self._delete(name)

    def _delete(self, name: str) -> None:
        """Delete a folder of the run; of a link only the link, and nothing that a link in its way leads to."""
        place = self.directory / name
        if not place.parent.resolve().is_relative_to(self.directory.resolve()):
            return
        if place.is_symlink():
            place.unlink()
        else:
            shutil.rmtree(place, ignore_errors=True)

    def _manifest(self) -> list[dict[str, Any]]:
        """Return what is done, each under the name of its folder, which `forget` deletes: a run may be a stranger's."""
        place = self.directory / "manifest.jsonl"
        rows = read_jsonl(place) if place.is_file() else []
        for number, row in enumerate(rows, start=1):
            if not isinstance(row.get("stage"), str) or not _INSIDE.fullmatch(row["stage"]):
                raise UserError(f"{place}, row {number}: stage {row.get('stage')!r} is no name of a stage or a model")
        return rows


def run_directory(runs: Path, name: str) -> Path:
    """Return where a run of this name lies.

    Raises:
        UserError: it is no plain folder name.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name!r}: expected letters, digits, '.', '_' and '-' only")
    return runs / name


def _may_follow(saved: Config, wanted: Config) -> bool:
    """Say whether a run that was begun with ``saved`` may go on with other settings."""
    return all(key.startswith(MAY_CHANGE) for key, *_ in _differences(saved, wanted))


def _first_difference(saved: Config, wanted: Config) -> str:
    key, before, after = next(row for row in _differences(saved, wanted) if not row[0].startswith(MAY_CHANGE))
    return f"{key}: {before!r}, now {after!r}"


def _differences(saved: Config, wanted: Config) -> Iterator[tuple[str, Any, Any]]:
    before, after = _leaves(saved.model_dump(mode="json")), _leaves(wanted.model_dump(mode="json"))
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key):
            yield key, before.get(key), after.get(key)


def _leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= _leaves(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = value
    return leaves
