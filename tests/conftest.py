"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is missing."""
    place = Path(os.environ.get("PERSONATUNE_SHARED_DATA", _REPOSITORY.parent / "shared" / "data"))
    if not place.is_dir():
        pytest.skip(f"no real data at {place}; set PERSONATUNE_SHARED_DATA")
    return place
