"""The lowest versions are read from pyproject.toml, so that no second list can grow old."""

from __future__ import annotations

import tomllib
from importlib.metadata import version

import pytest
from packaging.version import Version

from lowest_versions import PYPROJECT, lowest_versions


def test_every_bounded_requirement_is_pinned_at_its_bound() -> None:
    project = {
        "dependencies": ["one>=1.2", "two >= 2, <3", "free"],
        "optional-dependencies": {"more": ["three[part]>=0.3"], "other": ["four>=4"]},
    }
    assert list(lowest_versions({"project": project}, ["more"])) == ["one==1.2", "two==2", "three==0.3"]
    with pytest.raises(SystemExit, match="mor: no such extra; expected one of more, other"):
        list(lowest_versions({"project": project}, ["mor"]))


def test_what_is_installed_is_not_below_the_projects_bounds() -> None:
    pins = [pin.split("==") for pin in lowest_versions(tomllib.loads(PYPROJECT.read_text(encoding="utf-8")), ["dev"])]
    assert len(pins) > 25
    for name, lowest in pins:
        assert Version(version(name)) >= Version(lowest), name
