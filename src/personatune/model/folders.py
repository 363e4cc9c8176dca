"""What is wrong with a model folder that can't be loaded: the libraries' own words rarely name the file."""

from __future__ import annotations

import json
from pathlib import Path

_INDEX = "model.safetensors.index.json"
_JSON = (_INDEX, "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_POINTER = b"version https://git-lfs"


def what_is_wrong(folder: Path, *, tokenizer: bool = False) -> str | None:
    """Return what a folder lacks that is to hold a model, or its tokenizer; None if nothing is seen at once.

    Half a download shows as a missing shard, a file that ends too early, or a pointer of Git LFS in its place.
    """
    broken = next((name for name in _JSON if not _reads_as_json(folder / name)), None)
    if broken is not None:
        return f"{broken} is no valid JSON, as after an interrupted download"
    if tokenizer:
        if not any((folder / name).is_file() for name in _TOKENIZERS):
            return "no tokenizer in it, such as tokenizer.json"
        return None
    files, missing = _weight_files(folder)
    if missing:
        return f"{len(missing)} of {len(files)} weight files are missing, as {missing[0]}"
    if not files:
        return "no weights in it, such as model.safetensors"
    return next((why for name in files if (why := _cut_off(folder / name)) is not None), None)


def _reads_as_json(file: Path) -> bool:
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True  # not every folder has every file
    except (OSError, ValueError):
        return False
    return True


def _weight_files(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the weight files, and those that aren't there."""
    index = folder / _INDEX
    if index.is_file():
        try:
            files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (KeyError, TypeError, AttributeError):
            return [_INDEX], [f"those that {_INDEX} should name"]
        return files, [name for name in files if not (folder / name).is_file()]
    return sorted(file.name for kind in ("*.safetensors", "*.bin") for file in folder.glob(kind)), []


def _cut_off(file: Path) -> str | None:
    """Return how much of a safetensors file is missing: its head (8 bytes of length, then JSON) says where it ends."""
    if file.suffix != ".safetensors":
        return None
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = stream.read(8)
        if (length + stream.read(len(_POINTER) - 8)).startswith(_POINTER):
            return f"{file.name} is a pointer of Git LFS in place of the weights; git lfs pull fetches them"
        head = int.from_bytes(length, "little")
        if len(length) < 8 or 8 + head > size:
            return f"{file.name} is cut off after {size:,} bytes, or no safetensors file"
        stream.seek(8)
        try:
            tensors = json.loads(stream.read(head))
            ends = [entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return f"{file.name} is no safetensors file"
    whole = 8 + head + max(ends, default=0)
    return f"{file.name} is cut off: {size:,} of {whole:,} bytes" if size < whole else None
