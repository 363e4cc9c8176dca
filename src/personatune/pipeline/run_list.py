"""All runs of a folder at a glance: what is done, from which preset, the headline figures, goals met, size on disk.

Runs are made, moved and deleted while this looks: whatever can't be read is said in the run's own line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from personatune.config import PRESETS, load_config
from personatune.errors import UserError
from personatune.pipeline.run import STAGES
from personatune.plain_text import plain_text, without_secrets
from personatune.settings import Config
from personatune.storage import read_json, read_jsonl

HEADLINES = {
    "base": ("baseline/evaluation.json", "untouched"),
    "sft": ("evaluate/sft.json", "SFT"),
    "ppo": ("evaluate/ppo.json", "PPO"),
}
"""Model -> where its evaluation lies, and what it is called in a row of the list."""


@dataclass
class RunSummary:
    """One run.

    Attributes:
        done: stages that are done, in order, then variants.
        preset: the nearest preset, and how many settings differ from it; None where the settings can't be read.
        changed: as just said.
        date: when its last stage was finished (ISO 8601), None before the first one.
        consistency: model -> share of consistent answers on held-out personas.
        goals_met, goals: of its report; None before there is one.
        bytes: its size on disk.
        problems: what could not be read, and why.
    """

    name: str
    done: list[str] = field(default_factory=list)
    preset: str | None = None
    changed: int | None = None
    date: str | None = None
    consistency: dict[str, float] = field(default_factory=dict)
    goals_met: int | None = None
    goals: int | None = None
    bytes: int = 0
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def list_runs(runs: Path) -> list[RunSummary]:
    """Return a summary of every folder that looks like a run, the latest first; a damaged one says what is wrong.

    Raises:
        UserError: the folder can't be read; a missing one has no runs.
    """
    try:
        folders = [folder for folder in runs.iterdir() if folder.is_dir() and _looks_like_a_run(folder)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{runs}: can't be read ({error.strerror or error}); --runs names another folder") from error
    presets = {name: _leaves(load_config(name)) for name in PRESETS}
    found = [_summary(folder, presets) for folder in folders]
    return sorted(sorted(found, key=lambda run: run.name), key=lambda run: run.date or "", reverse=True)


def _looks_like_a_run(folder: Path) -> bool:
    with suppress(OSError):
        return (folder / "config.yaml").exists() or (folder / "manifest.jsonl").exists()
    return True  # it can't even be asked: let its line say so


def _summary(folder: Path, presets: Mapping[str, Mapping[str, Any]]) -> RunSummary:
    run = RunSummary(plain_text(folder.name).replace("\n", " "))
    for read in (_read_settings, _read_manifest, _read_figures, _read_goals):
        try:
            read(folder, run, presets)
        except UserError as error:
            run.problems.append(_short(str(error), folder))
        except OSError as error:
            run.problems.append(_short(f"{error.filename or folder}: {error.strerror or error}", folder))
        except (KeyError, TypeError, ValueError, AttributeError):
            run.problems.append(f"{read.__name__.removeprefix('_read_')}: not what personatune writes")
    if not folder.exists():
        run.problems = ["vanished while it was read"]
    run.bytes = _size(folder)
    return run


def _read_settings(folder: Path, run: RunSummary, presets: Mapping[str, Mapping[str, Any]]) -> None:
    if not (folder / "config.yaml").is_file():
        raise UserError("no config.yaml: half-written, or copied without it")
    own = _leaves(load_config(folder / "config.yaml"))
    changes = {name: sum(own[key] != value for key, value in leaves.items()) for name, leaves in presets.items()}
    run.preset = min(changes, key=lambda name: changes[name])
    run.changed = changes[run.preset]


def _read_manifest(folder: Path, run: RunSummary, presets: Mapping[str, Mapping[str, Any]]) -> None:
    place = folder / "manifest.jsonl"
    rows = read_jsonl(place) if place.is_file() else []
    names = [plain_text(str(row["stage"])) for row in rows]
    variants = [name for name in names if name not in STAGES and not name.startswith("methods/")]
    run.done = [stage for stage in STAGES if stage in names] + variants
    moments = [datetime.fromisoformat(row["finished"]) for row in rows]
    run.date = max(moments).isoformat() if moments else None


def _read_figures(folder: Path, run: RunSummary, presets: Mapping[str, Mapping[str, Any]]) -> None:
    for model, (place, _) in HEADLINES.items():
        if (folder / place).is_file():
            figure = read_json(folder / place)["metrics"].get("probe_consistency")
            if figure is not None:
                run.consistency[model] = float(figure["value"])


def _read_goals(folder: Path, run: RunSummary, presets: Mapping[str, Mapping[str, Any]]) -> None:
    place = folder / "report/report.json"
    if place.is_file():
        met = [goal["met"] for goal in read_json(place)["goals"]]
        run.goals_met, run.goals = sum(one is True for one in met), len(met)


def _size(folder: Path) -> int:
    """Return the bytes of a run's files; those that vanish meanwhile count nothing."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += (Path(place) / name).lstat().st_size
    return size


def _leaves(config: Config) -> dict[str, Any]:
    """Return the settings that make a run what it is, by dotted names; where its figures go is none of them."""
    tree = config.model_dump(mode="json", exclude={"tracking"})
    return {
        f"{section}.{key}": json.dumps(value)
        for section, values in tree.items()
        for key, value in (values.items() if isinstance(values, dict) else [("", values)])
    }


def _short(text: str, folder: Path) -> str:
    line = " ".join(plain_text(without_secrets(text)).split()).replace(f"{folder}/", "")
    return line if len(line) <= 200 else line[:199] + "…"
