"""Prints the lowest versions that pyproject.toml allows, one ``name==version`` a line, for ``pip install -c``.

    python tools/lowest_versions.py [extra ...]

`make test-oldest` installs them: a lower bound is a promise, and this keeps it from being an untested one. Only what
pyproject.toml itself names is pinned; what those packages need in turn is left to pip.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def lowest_versions(pyproject: Any, extras: Sequence[str]) -> Iterator[str]:
    """Yield a pin of the lower bound of each requirement of the project and of some extras.

    Raises:
        SystemExit: an extra that isn't there.
    """
    from packaging.requirements import Requirement

    project = pyproject["project"]
    known = project["optional-dependencies"]
    for extra in extras:
        if extra not in known:
            raise SystemExit(f"{extra}: no such extra; expected one of {', '.join(known)}")
    for line in [*project["dependencies"], *(line for extra in extras for line in known[extra])]:
        requirement = Requirement(line)
        bounds = [bound.version for bound in requirement.specifier if bound.operator in (">=", "==", "~=")]
        if bounds:  # types-PyYAML and its like have none: any will do
            yield f"{requirement.name}=={bounds[0]}"


if __name__ == "__main__":
    pins = lowest_versions(tomllib.loads(PYPROJECT.read_text(encoding="utf-8")), sys.argv[1:])
    print("\n".join(sorted(set(pins))))
