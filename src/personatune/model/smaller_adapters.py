"""Adapters made small enough to ship: the nearest update of a lower rank, in 16 bits."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from personatune.model.lora import read_tensors
from personatune.storage import read_json, replacing


def shrink_adapter(source: Path, target: Path, *, rank: int | None = None, half: bool = False) -> float:
    """Write an adapter whose update of each weight is the nearest one of at most ``rank`` (None: as it is).

    The nearest in the Frobenius norm is the truncated singular value decomposition (Eckart and Young 1936); it is taken
    of ``BA`` through the QR decompositions of its factors, whose sizes are those of the rank, not of the layer.
    Singular values are shared between both factors, so that neither leaves the range of 16 bits.

    Returns:
        The share of the update that is lost: ‖difference‖ / ‖update‖ over all weights together, 0 to 1.

    Raises:
        UserError: ``source`` holds no adapter, or a damaged one.
    """
    from safetensors.torch import save_file

    config = read_json(source / "adapter_config.json")
    tensors = read_tensors(source / "adapter_model.safetensors")
    dtype = torch.float16 if half else torch.float32
    ranks, scale = int(config["r"]), config["lora_alpha"] / config["r"]
    smaller: dict[str, Tensor] = {}
    lost = whole = 0.0
    for name in sorted(tensors):
        if not name.endswith("lora_A.weight"):
            continue
        up_name = name.replace("lora_A", "lora_B")
        down, up = tensors[name].double(), tensors[up_name].double() * scale
        kept_up, kept_down = (up, down) if rank is None else _truncated(up, down, rank)
        smaller[name], smaller[up_name] = kept_down.to(dtype).contiguous(), kept_up.to(dtype).contiguous()
        update = up @ down
        lost += float((update - smaller[up_name].double() @ smaller[name].double()).square().sum())
        whole += float(update.square().sum())
    new_rank = ranks if rank is None else max(tensor.shape[0] for name, tensor in smaller.items() if "lora_A" in name)
    with replacing(target) as temporary:
        temporary.mkdir()
        save_file(smaller, temporary / "adapter_model.safetensors", metadata={"format": "pt"})
        settings = {**config, "r": new_rank, "lora_alpha": new_rank, "lora_dropout": 0.0}
        (temporary / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return (lost / whole) ** 0.5 if whole else 0.0


def _truncated(up_O_R: Tensor, down_R_I: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return factors (O × rank, rank × I) of the nearest matrix of that rank, padded with zeros where R is smaller."""
    left, upper = torch.linalg.qr(up_O_R)
    right, lower = torch.linalg.qr(down_R_I.T)
    rotation, values, back = torch.linalg.svd(upper @ lower.T)
    kept = min(rank, len(values))
    root = values[:kept].sqrt()
    up = torch.zeros(up_O_R.shape[0], rank, dtype=up_O_R.dtype)
    down = torch.zeros(rank, down_R_I.shape[1], dtype=up_O_R.dtype)
    up[:, :kept] = left @ rotation[:, :kept] * root
    down[:kept] = (right @ back[:kept].T * root).T
    return up, down
