"""The audit of the dependencies tells holes, tells clean, and never takes silence for clean."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from audit import CLEAN, HOLES, NOT_CHECKED, audit, report

REPOSITORY = Path(__file__).resolve().parents[2]
HOLE = {"id": "PYSEC-2026-1", "fix_versions": ["3.1.4"], "aliases": ["CVE-2026-1"], "description": "…"}


def test_every_hole_is_a_line_with_its_way_out() -> None:
    unmended = {**HOLE, "id": "X-2", "fix_versions": []}
    code, lines = report(
        [{"name": "jinja2", "version": "3.1.2", "vulns": [HOLE, unmended]}, {"name": "a", "version": "1", "vulns": []}]
    )
    assert code == HOLES
    assert lines == [
        "jinja2 3.1.2: PYSEC-2026-1; mended in 3.1.4",
        "jinja2 3.1.2: X-2; mended in no version yet",
        "audit: 2 pinned packages, 2 known holes",
    ]


def test_no_hole_is_clean_and_what_was_skipped_is_told() -> None:
    skipped = {"name": "b", "skip_reason": "not found"}
    assert report([{"name": "a", "version": "1", "vulns": []}, skipped]) == (
        CLEAN,
        ["not checked: b (not found)", "audit: 1 pinned packages, no known holes"],
    )
    assert report([skipped])[0] == NOT_CHECKED
    assert report([])[0] == NOT_CHECKED


def program(folder: Path, *lines: str) -> list[str]:
    """A program that stands for pip-audit and ends as it was seen to end."""
    (folder / "asked.py").write_text("\n".join(("import sys", *lines)), encoding="utf-8")
    return [sys.executable, str(folder / "asked.py")]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (
            ["print('requests.exceptions.ConnectionError: no such host', file=sys.stderr)", "sys.exit(1)"],
            "no such host",
        ),
        (["print('{}')"], "exit code 0"),
        (["print('[1')", "sys.exit(1)"], "exit code 1"),
    ],
)
def test_a_register_that_does_not_answer_is_never_taken_for_clean(tmp_path: Path, lines: list[str], why: str) -> None:
    code, [told] = audit(program(tmp_path, *lines), tmp_path / "c.txt", "osv")
    assert code == NOT_CHECKED
    assert why in told
    assert "NOTHING WAS CHECKED" in told


def test_the_pinned_set_is_what_is_asked_about(tmp_path: Path) -> None:
    answer = {"dependencies": [{"name": "a", "version": "1", "vulns": []}], "fixes": []}
    told = f"open({str(tmp_path / 'words')!r}, 'w').write(' '.join(sys.argv[1:]))"
    code, _ = audit(program(tmp_path, told, f"print({json.dumps(answer)!r})"), tmp_path / "c.txt", "osv")
    assert code == CLEAN
    words = (tmp_path / "words").read_text(encoding="utf-8")
    assert f"--requirement {tmp_path / 'c.txt'}" in words
    assert "--no-deps --disable-pip" in words
    assert "tools/audit.py" in (REPOSITORY / "Makefile").read_text(encoding="utf-8")
