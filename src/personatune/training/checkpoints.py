"""Checkpoints that an interrupt can't break: tensors as safetensors, everything else as JSON, no pickle.

One folder a checkpoint, ``checkpoint-000123/``: ``<group>.safetensors`` for every group of tensors, ``state.json``
and ``manifest.json`` with a SHA-256 of each file, what the training was made from and which step was its best so far.
It is written aside, flushed and renamed, so one rename makes all of it true at once. A damaged one is told by its
hashes, another training's by its settings, and the one before it is used. What an exact resume needs beside the
weights stands in `exact_state`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import personatune
from personatune.errors import UserError
from personatune.storage import read_json, replacing, write_json
from personatune.training.exact_state import capture_rng, optimizer_tensors, restore_optimizer, restore_rng
from personatune.training.identity import first_difference

__all__ = [
    "Checkpoint",
    "CheckpointManager",
    "capture_rng",
    "optimizer_tensors",
    "restore_optimizer",
    "restore_rng",
]

SAVE_EVERY = 300.0
"""Seconds of training that a kill may cost at most, one step aside."""

_FOLDER = re.compile(r"checkpoint-(\d+)")
_GROUP = re.compile(r"[A-Za-z0-9_-]+")
_FILE = re.compile(rf"{_GROUP.pattern}\.(?:safetensors|json)")  # and never a path: a checkpoint may be a stranger's


@dataclass(frozen=True)
class Checkpoint:
    """What a stage needs to go on.

    Attributes:
        step: the optimiser step after which it was written.
        tensors: group name ("adapter", "optimizer", "rng") to tensor name to tensor, on the CPU.
        state: everything else, as JSON values.
        damaged: what was wrong with newer checkpoints that were passed over, one line each.
    """

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    damaged: tuple[str, ...] = ()


class CheckpointManager:
    """Writes, prunes and reads the checkpoints of one stage.

    Kept are the newest ``keep_last``, the best that each of them knows, so that falling back to an earlier one falls
    back to its best too, and the newest sound one. All of it stands in the manifests, so that no kill comes between a
    checkpoint and a mark on it. A step that is best and last is stored once.

    Args:
        identity: what the training is made from (settings, marks of model and data), as JSON values; checkpoints of
            another one are passed over. None takes any.
        say: told which checkpoints were passed over, and why.
    """

    def __init__(
        self,
        directory: Path,
        keep_last: int = 2,
        *,
        identity: Mapping[str, Any] | None = None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        if keep_last < 1:
            raise ValueError(f"keep_last = {keep_last}: a run without a last checkpoint can't resume")
        self.directory = directory
        self.keep_last = keep_last
        self.identity = identity
        self.say = say
        self.current: int | None = None  # the step that was saved or loaded last
        self._saved = time.monotonic()

    def save(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        state: Mapping[str, Any],
        *,
        best: bool = False,
        sound: bool = False,
    ) -> Path:
        """Write one checkpoint, all or nothing, then prune the older ones; return its folder.

        Later ones go too: they were passed over as damaged or another training's, or a new training began.

        Args:
            sound: a training that diverges later goes back to here. It must follow from the step alone: what an
                interrupt saves is not sound, or a resumed run would go back to another place than an unbroken one.

        Raises:
            UserError: the disk is full or the folder can't be written; older checkpoints are untouched.
            ValueError: a group name that is no file name, or a state that is no JSON.
        """
        target = self._folder(step)
        best_step = step if best else self._best_before(step)
        with replacing(target) as folder:
            folder.mkdir()
            for group, named in tensors.items():
                if not _GROUP.fullmatch(group):
                    raise ValueError(f"tensor group {group!r}: expected letters, digits, - and _")
                _write_tensors(folder / f"{group}.safetensors", named)
            write_json(folder / "state.json", dict(state))
            write_json(
                folder / "manifest.json",
                {
                    "step": step,
                    "best": best_step,
                    "sound": sound,
                    "sha256": {file.name: _sha256(file) for file in sorted(folder.iterdir())},
                    "versions": {"personatune": personatune.__version__, "torch": torch.__version__},
                    "config": self.identity,
                },
            )
        self._note(step)
        self._prune(step)
        return target

    @property
    def due(self) -> bool:
        """Say whether the last checkpoint is `SAVE_EVERY` seconds old."""
        return time.monotonic() - self._saved >= SAVE_EVERY

    def load_last(self) -> Checkpoint | None:
        """Return the newest whole checkpoint of this training, or None where none was ever written.

        Raises:
            UserError: there are checkpoints and none will do (names what is wrong with the newest).
        """
        passed: list[str] = []
        for folder in reversed(self._folders()):
            try:
                checkpoint = _read(folder, self._manifest(folder))
            except UserError as error:
                passed.append(str(error))
                continue
            for line in passed:
                self.say(f"{line}; going on from {folder.name}")
            self._note(checkpoint.step)
            return Checkpoint(checkpoint.step, checkpoint.tensors, checkpoint.state, tuple(passed))
        if passed:
            raise UserError(f"{passed[0]}; no earlier checkpoint is whole, delete {self.directory} to start over")
        return None

    def load_best(self) -> Checkpoint | None:
        """Return the checkpoint that was the best when the current one was written, or None where none was marked.

        Raises:
            UserError: it is damaged or gone. Another one would not be the best, so there is no fallback.
        """
        folders = self._folders()
        newest = folders[-1] if folders and self.current is None else self._folder(self.current or 0)
        if not newest.is_dir():
            return None
        best = self._manifest(newest)["best"]
        if best is None:
            return None
        folder = self._folder(best)
        if not folder.is_dir():
            raise UserError(f"{newest}: names {folder.name}, which is gone; delete {self.directory} to run it again")
        return _read(folder, self._manifest(folder))

    def load_sound(self) -> Checkpoint | None:
        """Return the newest sound checkpoint, or None where there is none.

        Raises:
            UserError: it is damaged.
        """
        sound = next(filter(self._is_sound, reversed(self._folders())), None)
        if sound is None:
            return None
        found = _read(sound, self._manifest(sound))
        self._note(found.step)
        return found

    def drop_after(self, step: int) -> None:
        """Delete the checkpoints of later steps: the training went back to this one and goes another way."""
        for folder in self._folders():
            if _step_of(folder) > step:
                _delete(folder)

    def clear(self) -> None:
        """Delete every checkpoint of this stage."""
        for folder in self._folders():
            _delete(folder)

    def _note(self, step: int) -> None:
        self.current, self._saved = step, time.monotonic()

    def _folder(self, step: int) -> Path:
        return self.directory / f"checkpoint-{step:06d}"

    def _folders(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        found = [folder for folder in self.directory.iterdir() if _FOLDER.fullmatch(folder.name) and folder.is_dir()]
        return sorted(found, key=_step_of)

    def _manifest(self, folder: Path) -> dict[str, Any]:
        """Return a checkpoint's manifest.

        Raises:
            UserError: it is damaged, or of another training.
        """
        place = folder / "manifest.json"
        found = read_json(place)
        try:
            best = found["best"]
            manifest = {
                "sha256": {str(name): str(value) for name, value in found["sha256"].items()},
                "step": int(found["step"]),
                "best": None if best is None else int(best),
                "sound": found.get("sound") is True,
            }
        except (TypeError, KeyError, ValueError, AttributeError):
            raise UserError(f"{place}: damaged (no list of files and step)") from None
        if manifest["step"] != _step_of(folder):
            raise UserError(f"{place}: of step {manifest['step']}, so not of this folder")
        odd = None if self.identity is None else first_difference(found.get("config"), self.identity)
        if odd is not None:
            raise UserError(f"{folder}: of another training ({odd})")
        return manifest

    def _is_sound(self, folder: Path) -> bool:
        try:
            return bool(self._manifest(folder)["sound"])
        except UserError:  # damaged, or of another training
            return False

    def _best_before(self, step: int) -> int | None:
        """Return which step was the best until now: the newest checkpoint before this one knows."""
        for folder in reversed(self._folders()):
            if _step_of(folder) < step:
                try:
                    return cast("int | None", self._manifest(folder)["best"])
                except UserError:  # told when it was passed over
                    continue
        return None

    def _prune(self, step: int) -> None:
        folders = [folder for folder in self._folders() if _step_of(folder) <= step]
        kept = {folder.name for folder in folders[-self.keep_last :]}
        for folder in folders[-self.keep_last :]:
            try:
                best = self._manifest(folder)["best"]
            except UserError:
                continue
            if best is not None:
                kept.add(self._folder(best).name)
        kept |= {folder.name for folder in [*filter(self._is_sound, folders)][-1:]}
        for folder in self._folders():
            if folder.name not in kept:
                _delete(folder)


def _step_of(folder: Path) -> int:
    return int(folder.name.partition("-")[2])


def _delete(folder: Path) -> None:
    """Delete a checkpoint, out of sight first: a kill in the middle leaves no half one."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _write_tensors(target: Path, named: Mapping[str, Tensor]) -> None:
    # Tensors that share storage (tied weights, views) are refused by safetensors: only those are copied.
    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, tensor in named.items():
        plain = tensor.detach().to("cpu")
        storage = plain.untyped_storage()
        shared = storage.data_ptr() in seen or storage.nbytes() != plain.nbytes
        own[name] = plain.clone().contiguous() if shared else plain.contiguous()
        seen.add(storage.data_ptr())
    save_file(own, target)


def _read(folder: Path, manifest: Mapping[str, Any]) -> Checkpoint:
    hashes: dict[str, str] = manifest["sha256"]
    for name, expected in hashes.items():
        if not _FILE.fullmatch(name):
            raise UserError(f"{folder / 'manifest.json'}: damaged ({name!r} is no file of a checkpoint)")
        file = folder / name
        if not file.is_file():
            raise UserError(f"{file}: gone, though manifest.json lists it")
        found = _sha256(file)
        if found != expected:
            told = (
                f"SHA-256 {found[:12]}…, in manifest.json {expected[:12]}…"  # either of the two may be the damaged one
            )
            raise UserError(f"{file}: damaged, or not what its manifest.json tells of ({told})")
    files = [folder / name for name in hashes if name.endswith(".safetensors")]
    state = read_json(folder / "state.json")
    if not isinstance(state, dict):
        raise UserError(f"{folder / 'state.json'}: damaged (found {type(state).__name__}, expected an object)")
    return Checkpoint(int(manifest["step"]), {file.stem: _read_group(file) for file in files}, state)


def _read_group(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:  # whole by its hash, and still no such file
        raise UserError(f"{file}: damaged ({error})") from error


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
