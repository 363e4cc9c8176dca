"""The weights of persona recall on disk: 16 bits each, with a card beside them that names their fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personatune.embedded import sha256_of
from personatune.errors import DamagedFileError, UserError
from personatune.storage import read_json, replacing, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from personatune.judging.recall.network import RecallNetwork

CARD, WEIGHTS = "recall.json", "recall.safetensors"
_NEEDED = ("base", "alone", "rank", "share", "fingerprint")


def save_recall(folder: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write ``recall.safetensors`` and ``recall.json``; the fingerprint in the card is that of the weights."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / WEIGHTS
    with replacing(target) as aside:
        save_file({name: tensor.half().contiguous() for name, tensor in tensors.items()}, aside)
    write_json(folder / CARD, {**card, "fingerprint": sha256_of(target)[:8]})


def load_recall(folder: Path) -> tuple[dict[str, Any], RecallNetwork]:
    """Return card and network of a folder that `save_recall` wrote.

    Raises:
        UserError: no recall there, or one for another base.
        DamagedFileError: the weights aren't those that the card tells of.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from personatune.judging.recall.network import RecallNetwork

    if not (folder / CARD).is_file():
        raise UserError(f"{folder}: no persona recall there ({CARD} is missing); train one: personatune recall train")
    card = read_json(folder / CARD)
    missing = [name for name in _NEEDED if name not in card]
    if missing:
        raise DamagedFileError(f"{folder / CARD}: no {missing[0]} in it; {_WAY_OUT}")
    weights = folder / WEIGHTS
    try:
        found = sha256_of(weights)
        if not found.startswith(card["fingerprint"]):
            raise DamagedFileError(
                f"{weights}: not the weights that {CARD} beside it tells of (SHA-256 {found[:8]}, expected "
                f"{card['fingerprint']}); {_WAY_OUT}"
            )
        tensors = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise DamagedFileError(f"{weights}: {error}; expected the weights of persona recall; {_WAY_OUT}") from error
    network = RecallNetwork(card["base"], card["alone"], card["rank"])
    try:
        network.load_trained_state(tensors)
    except ValueError as error:
        raise UserError(f"{weights}: {error}; expected weights for {card['base']}") from error
    return card, network.eval()


_WAY_OUT = "install personatune again, or train one: personatune recall train"
