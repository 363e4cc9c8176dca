"""What an exact resume needs beside the weights: the optimiser's moments and every random generator's state."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from personatune.errors import UserError


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
