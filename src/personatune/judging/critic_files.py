"""The critic's weights on disk: 8 bits a weight, one scale a row, so that the whole file stays under 8 MB."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personatune.errors import UserError
from personatune.storage import replacing, write_json

if TYPE_CHECKING:
    from torch import Tensor

_SCALE = ".scale"


def save_critic(folder: Path, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
    """Write ``critic.safetensors`` and ``critic.json``; the fingerprint in the settings is that of the weights."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "critic.safetensors"
    with replacing(target) as aside:
        save_file(quantised(tensors), aside)
    fingerprint = hashlib.sha256(target.read_bytes()).hexdigest()[:8]
    write_json(folder / "critic.json", {**settings, "fingerprint": fingerprint})


def quantised(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return matrices as int8 with a float32 scale a row (symmetric, largest weight 127), the rest as float32."""
    import torch

    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.dim() < 2:
            stored[name] = tensor.detach().float().contiguous()
            continue
        scale = tensor.detach().abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
        stored[name] = (tensor.detach() / scale).round().to(torch.int8).contiguous()
        stored[name + _SCALE] = scale.contiguous()
    return stored


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return the float32 tensors that `save_critic` stored.

    Raises:
        UserError: no such file, or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: {error}; expected the weights of a critic") from error
    return restored(stored)


def restored(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the float32 tensors that `quantised` was given, as exactly as 8 bits tell."""
    return {
        name: tensor.float() * stored[name + _SCALE] if name + _SCALE in stored else tensor.float()
        for name, tensor in stored.items()
        if not name.endswith(_SCALE)
    }
