"""The shipped character model: an adapter in the package, on the embedded base model."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

FLAGSHIP = "flagship"


def flagship_folder() -> Path:
    """Return the folder with the adapter and its card (README.md: data, licences, figures, limits)."""
    return Path(str(resources.files("personatune.pipeline").joinpath("flagship_weights")))
