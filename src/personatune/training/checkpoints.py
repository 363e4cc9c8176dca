"""Checkpoints that an interrupt can't break: tensors as safetensors, everything else as JSON, no pickle.

One folder a checkpoint, ``checkpoint-000123/``: ``<group>.safetensors`` for every group of tensors, ``state.json``
and ``manifest.json`` with a SHA-256 of each file. It is written aside and renamed; a damaged one is told by its
hashes, and the one before it is used. Below stands what an exact resume needs beside the weights: the optimiser's
moments and every random generator's state.
"""

from __future__ import annotations

import hashlib
import random
import re
import shutil
from collections.abc import Mapping
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

_FOLDER = re.compile(r"checkpoint-(\d+)")
_GROUP = re.compile(r"[A-Za-z0-9_-]+")


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

    Kept are the newest ``keep_last``, the best and the newest sound one. The best is a mark (``best.json``) on one of
    the folders, so that a step which is both is stored once; soundness stands in the manifest, so that no kill comes
    between a checkpoint and its mark.
    """

    def __init__(self, directory: Path, keep_last: int = 1) -> None:
        if keep_last < 1:
            raise ValueError(f"keep_last = {keep_last}: a run without a last checkpoint can't resume")
        self.directory = directory
        self.keep_last = keep_last

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

        Args:
            sound: a training that diverges later goes back to here. It must follow from the step alone: what an
                interrupt saves is not sound, or a resumed run would go back to another place than an unbroken one.

        Raises:
            UserError: the disk is full or the folder can't be written; older checkpoints are untouched.
            ValueError: a group name that is no file name, or a state that is no JSON.
        """
        target = self.directory / f"checkpoint-{step:06d}"
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
                    "sound": sound,
                    "sha256": {file.name: _sha256(file) for file in sorted(folder.iterdir())},
                    "versions": {"personatune": personatune.__version__, "torch": torch.__version__},
                },
            )
        if best:
            write_json(self.directory / "best.json", {"step": step, "folder": target.name})
        self._prune()
        return target

    def load_last(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, or None where none was ever written.

        Raises:
            UserError: there are checkpoints and every one is damaged (names what is wrong with the newest).
        """
        damaged: list[str] = []
        for folder in reversed(self._folders()):
            try:
                checkpoint = _read(folder)
            except UserError as error:
                damaged.append(str(error))
                continue
            return Checkpoint(checkpoint.step, checkpoint.tensors, checkpoint.state, tuple(damaged))
        if damaged:
            raise UserError(f"{damaged[0]}; no earlier checkpoint is whole, delete {self.directory} to start over")
        return None

    def load_best(self) -> Checkpoint | None:
        """Return the checkpoint marked best, or None where none was marked.

        Raises:
            UserError: it is damaged or gone. Another one would not be the best, so there is no fallback.
        """
        mark = self.directory / "best.json"
        if not mark.exists():
            return None
        folder = self.directory / self._best_folder(mark)
        if not folder.is_dir():
            raise UserError(f"{mark}: names {folder.name}, which is gone; delete {self.directory} to run it again")
        return _read(folder)

    def load_sound(self) -> Checkpoint | None:
        """Return the newest sound checkpoint, or None where there is none.

        Raises:
            UserError: it is damaged.
        """
        sound = next(filter(_is_sound, reversed(self._folders())), None)
        return None if sound is None else _read(sound)

    def drop_after(self, step: int) -> None:
        """Delete the checkpoints of later steps: the training went back to this one and goes another way."""
        for folder in self._folders():
            if _step_of(folder) > step:
                shutil.rmtree(folder)

    def clear(self) -> None:
        """Delete every checkpoint of this stage."""
        (self.directory / "best.json").unlink(missing_ok=True)
        for folder in self._folders():
            shutil.rmtree(folder)

    def _folders(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        found = [folder for folder in self.directory.iterdir() if _FOLDER.fullmatch(folder.name) and folder.is_dir()]
        return sorted(found, key=_step_of)

    def _prune(self) -> None:
        folders = self._folders()
        mark = self.directory / "best.json"
        kept = {folder.name for folder in folders[-self.keep_last :]}
        if mark.exists():
            kept.add(self._best_folder(mark))
        kept |= {folder.name for folder in [*filter(_is_sound, folders)][-1:]}
        for folder in folders:
            if folder.name not in kept:
                shutil.rmtree(folder)

    @staticmethod
    def _best_folder(mark: Path) -> str:
        row = read_json(mark)
        name = row.get("folder") if isinstance(row, dict) else None
        if not isinstance(name, str) or not _FOLDER.fullmatch(name):
            raise UserError(f"{mark}: found {row!r}, expected the name of a checkpoint folder; delete it")
        return name


def _step_of(folder: Path) -> int:
    return int(folder.name.partition("-")[2])


def _is_sound(folder: Path) -> bool:
    try:
        return bool(read_json(folder / "manifest.json")["sound"])
    except (UserError, TypeError, KeyError):  # damaged, or of an older version
        return False


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
    try:
        save_file(own, target)
    except SafetensorError as error:  # the writer reports a full disk as its own kind of error
        raise OSError(str(error)) from error


def _read(folder: Path) -> Checkpoint:
    manifest = read_json(folder / "manifest.json")
    try:
        hashes, step = dict(manifest["sha256"]), int(manifest["step"])
    except (TypeError, KeyError, ValueError):
        raise UserError(f"{folder / 'manifest.json'}: damaged (no list of files and step)") from None
    for name, expected in hashes.items():
        file = folder / name
        found = _sha256(file) if file.is_file() else "no file"
        if found != expected:
            raise UserError(f"{file}: damaged (SHA-256 {found[:12]}, expected {expected[:12]})")
    groups = {Path(name).stem: folder / name for name in hashes if name.endswith(".safetensors")}
    return Checkpoint(
        step, {group: load_file(file) for group, file in groups.items()}, read_json(folder / "state.json")
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an optimiser's state: tensors named ``<parameter index>.<moment>``, and its groups' scalars as JSON."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                scalars.setdefault(str(index), {})[key] = value
    return tensors, {"param_groups": state["param_groups"], "scalars": scalars}


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    """Give an optimiser back what `optimizer_tensors` took from it; the next step is bit for bit the same.

    Raises:
        UserError: it was saved for other parameters (other number, groups or shapes).
    """
    entries: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in dict(state["scalars"]).items()}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        entries.setdefault(int(index), {})[key] = tensor
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in entries.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.dim():
                expected = tuple(parameters[number].shape) if number < len(parameters) else None
                if tuple(value.shape) != expected:
                    raise UserError(
                        f"checkpoint: optimiser state {number}.{key} has shape {tuple(value.shape)}, "
                        f"the model's parameter {expected}; resume with the run's own settings"
                    )
    groups = [_as_saved(saved, current) for saved, current in _paired_groups(state["param_groups"], optimizer)]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def _paired_groups(saved: list[dict[str, Any]], optimizer: torch.optim.Optimizer) -> list[tuple[dict[str, Any], Any]]:
    """Pair saved parameter groups with the optimiser's own.

    Raises:
        UserError: their numbers or sizes differ.
    """
    found = [len(group["params"]) for group in saved]
    expected = [len(group["params"]) for group in optimizer.param_groups]
    if found != expected:
        raise UserError(
            f"checkpoint: optimiser saved for parameter groups of {found}, the model has {expected}; "
            "resume with the run's own settings"
        )
    return list(zip(saved, optimizer.param_groups, strict=True))


def _as_saved(saved: dict[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    # JSON turned tuples (AdamW's betas) into lists; the optimiser's own group says which they were.
    return {
        key: tuple(value) if isinstance(value, list) and isinstance(current.get(key), tuple) else value
        for key, value in saved.items()
    }


def capture_rng() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state of torch's CPU and CUDA generators, Python's ``random`` and NumPy's global generator."""
    import numpy as np

    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        for device, state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"cuda.{device}"] = state
    version, internal, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = cast(tuple[str, Any, int, int, float], np.random.get_state())
    tensors["numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    return tensors, {
        "python": [version, list(internal), gauss],
        "numpy": [str(kind), int(position), int(has_gauss), float(cached)],
    }


def restore_rng(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Set every random generator as `capture_rng` found it; CUDA devices that are not there are left out."""
    import numpy as np

    torch.set_rng_state(tensors["torch"])
    if torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            if f"cuda.{device}" in tensors:
                torch.cuda.set_rng_state(tensors[f"cuda.{device}"], device)
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, cached))
