"""The runner and the Kaggle builder, which are scripts beside the notebooks and no part of the package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def load(file: Path) -> ModuleType:
    name = f"notebook_script_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def folder() -> Path:
    return NOTEBOOKS


@pytest.fixture(scope="session")
def runner() -> ModuleType:
    pytest.importorskip("jupytext")
    pytest.importorskip("nbclient")
    return load(NOTEBOOKS / "execute.py")


@pytest.fixture(scope="session")
def kaggle() -> ModuleType:
    pytest.importorskip("jupytext")
    return load(NOTEBOOKS / "kaggle" / "build.py")
