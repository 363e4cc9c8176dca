"""The critic's weights on disk: 8 bits a weight, one scale a row, so that the whole file stays under 8 MB.

Beside them lie the spreads of the layers' inputs (`input_spreads`): a weight's column is stored times its input's
spread, since that is the integer the layer multiplies with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personatune.errors import UserError
from personatune.storage import replacing, write_json

if TYPE_CHECKING:
    from torch import Tensor

_SCALE, _SPREAD = ".scale", ".spread"
_MATRIX = ".weight"


def save_critic(
    folder: Path,
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    spreads: Mapping[str, Tensor] | None = None,
) -> None:
    """Write ``critic.safetensors`` and ``critic.json``; the fingerprint in the settings is that of the weights."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "critic.safetensors"
    with replacing(target) as aside:
        save_file(quantised(tensors, spreads), aside)
    fingerprint = hashlib.sha256(target.read_bytes()).hexdigest()[:8]
    write_json(folder / "critic.json", {**settings, "fingerprint": fingerprint})


def quantised(tensors: Mapping[str, Tensor], spreads: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return matrices as int8 with a float32 scale a row (symmetric, largest weight 127), the rest as float32.

    ``spreads`` go by the name of the layer ("upper.0.qkv"), also of layers whose weights are not among ``tensors``.
    """
    import torch

    spreads = spreads or {}
    stored = {name + _SPREAD: spread.float().contiguous() for name, spread in spreads.items()}
    for name, tensor in tensors.items():
        if tensor.dim() < 2:
            stored[name] = tensor.detach().float().contiguous()
            continue
        matrix = tensor.detach() * spreads.get(name.removesuffix(_MATRIX), 1)
        scale = matrix.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
        stored[name] = (matrix / scale).round().to(torch.int8).contiguous()
        stored[name + _SCALE] = scale.contiguous()
    return stored


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return the float32 tensors that `save_critic` stored.

    Raises:
        UserError: no such file, or no safetensors file.
    """
    return restored(_read(file))


def read_spreads(file: Path) -> dict[str, Tensor]:
    """Return the spreads that `save_critic` stored, by the name of the layer; none in files before they were."""
    return {name.removesuffix(_SPREAD): spread for name, spread in _read(file).items() if name.endswith(_SPREAD)}


def restored(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the float32 tensors that `quantised` was given, as exactly as 8 bits tell."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith((_SCALE, _SPREAD)):
            continue
        tensors[name] = tensor.float()
        if name + _SCALE in stored:
            tensors[name] = tensors[name] * stored[name + _SCALE]
            spread = name.removesuffix(_MATRIX) + _SPREAD
            if spread in stored:
                tensors[name] = tensors[name] / stored[spread]
    return tensors


def _read(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: {error}; expected the weights of a critic") from error
