"""Variants: further trainings from a run's SFT checkpoint, each with settings and a folder of its own.

`personatune dpo` makes one, `personatune compare-methods` many. A variant remembers what it was begun from, so that an
interrupted one never goes on from another SFT checkpoint, other pairs or other settings.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from personatune.errors import UserError
from personatune.pipeline.run import STAGES, Run
from personatune.settings import Config
from personatune.storage import read_json, write_json
from personatune.training.budget import Budget

BEGUN = "begun.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


@dataclass(frozen=True)
class Variant:
    """One training.

    Attributes:
        stage: whose function trains it ("dpo" or "ppo").
        name: its folder under the run's.
        config: its settings.
        pairs, held_out: preference files in place of the run's own.
        seconds: what it may train; None: as long as its settings say.
    """

    stage: str
    name: str
    config: Config
    pairs: Path | None = None
    held_out: Path | None = None
    seconds: float | None = None

    def budget(self) -> Budget:
        return Budget(self.seconds)


def check_name(name: str) -> str:
    """Return a variant's name.

    Raises:
        UserError: no plain folder name, or that of one of the run's own stages.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"--as {name!r}: expected letters, digits, '.', '_' and '-' only")
    if name.split("/", maxsplit=1)[0] in (*STAGES, "methods"):
        raise UserError(f"--as {name}: a folder of the run's own; take another name")
    return name


def check_settings(run: Run, config: Config, sections: tuple[str, ...]) -> None:
    """Check that a variant's settings differ from its run's only in sections that are its own.

    Raises:
        UserError: another section differs.
    """
    before, after = run.config.model_dump(), config.model_dump()
    for section, value in after.items():
        if section not in sections and before[section] != value:
            raise UserError(
                f"--set {section}.…: that was settled when the run {run.name} began; expected one of "
                f"{', '.join(sections)}"
            )


def begin_variant(run: Run, variant: Variant, *, redo: bool = False) -> bool:
    """Note what a variant is begun from; returns whether it is done already.

    Raises:
        UserError: what it builds on is missing, or it was begun from something else.
    """
    if redo:
        run.forget(variant.name)
    run.require(variant.stage)
    place = run.folder(variant.name) / BEGUN
    wanted = _origin(run, variant)
    if place.is_file():
        found = read_json(place)
        found["settings"] = _as_now(found.get("settings"))
        odd = next((key for key in wanted if found.get(key) != wanted[key]), None)
        if odd is not None:
            raise UserError(
                f"{place.parent}: begun with {_WORDS.get(odd, 'other settings')}; --redo starts it over"
                + ("" if variant.name.startswith("methods/") else ", --as gives another one a name of its own")
            )
    else:
        write_json(place, wanted)
    return variant.name in run.finished()


def _as_now(settings: Any) -> Any:
    """Return settings that an earlier version wrote as this one reads them: what it didn't know has its default."""
    try:
        now = Config.model_validate(settings).model_dump(mode="json")
    except ValidationError:
        return settings
    return {name: now[name] for name in settings}


_WORDS = {
    "sft": "another SFT checkpoint",
    "reward": "another reward model",
    "pairs": "other preference pairs",
    "held_out": "other held-out pairs",
    "seconds": "another budget",
}


def _origin(run: Run, variant: Variant) -> dict[str, Any]:
    settings = variant.config.model_dump(mode="json")
    kept = ("seed", "model", "branch", "dpo") if variant.stage == "dpo" else ("seed", "model", "branch", "ppo")
    own = run.folder("preferences")
    origin = {
        "sft": sha256_of(run.folder("sft") / "adapter" / "adapter_model.safetensors"),
        "settings": {name: settings[name] for name in kept},
        "seconds": variant.seconds,
    }
    if variant.stage == "dpo":
        origin["pairs"] = sha256_of(variant.pairs or own / "train.jsonl")
        origin["held_out"] = sha256_of(variant.held_out or own / "test.jsonl")
    else:
        origin["reward"] = sha256_of(run.folder("reward") / "branch" / "adapter_model.safetensors")
    return origin


def sha256_of(file: Path) -> str:
    """Return a file's SHA-256.

    Raises:
        UserError: it is missing or can't be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except OSError as error:
        raise UserError(f"{file}: can't be read ({error.strerror or error})") from error
