"""What differs between two runs that should be the same but for their clocks."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CLOCKED = {
    "seconds", "wall_seconds", "cpu_seconds", "tokens_per_second", "finished", "created", "date", "peak_memory_bytes",
    "money", "cost_saved", "time_saved", "memory_saved", "disturbed", "costs", "savings", "machine", "environment",
}  # fmt: skip
"""Keys and figures that a clock or the machine's memory decides."""

_CLOCKED_GOALS = {"Cost saved against full fine-tuning", "Time saved against full fine-tuning"}
"""Goals of a report whose value is quotients of seconds."""

_OF_THE_MACHINE = {"costs.jsonl", "machine.json", ".lock", ".lock.json"}
_DRAWN = {".html", ".png", ".md"}
"""Pages and drawings show times; the figures in them are those of report.json."""


def differences(expected: Path, found: Path) -> list[str]:
    """Return what differs between two runs' folders, one line each: files, weights, figures, rows of the trackers."""
    names = [{str(file.relative_to(run)) for file in _files(run)} for run in (expected, found)]
    odd = [f"{name}: missing" for name in sorted(names[0] - names[1])]
    odd += [f"{name}: left over" for name in sorted(names[1] - names[0])]
    for name in sorted(names[0] & names[1]):
        odd += [f"{name}: {what}" for what in _differences_of(expected / name, found / name)]
    return odd


def _files(run: Path) -> Iterator[Path]:
    for file in run.rglob("*"):
        if file.is_file() and file.name not in _OF_THE_MACHINE:
            yield file


def _differences_of(expected: Path, found: Path) -> list[str]:
    if expected.suffix in _DRAWN:
        return []
    if expected.name == "metrics.csv":
        return _of_rows(_rows(expected), _rows(found))
    if expected.suffix in (".json", ".jsonl"):
        return _of_values(_values(expected), _values(found))
    return [] if expected.read_bytes() == found.read_bytes() else ["other bytes"]


def _rows(file: Path) -> list[tuple[str, str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [(step, name, value) for step, name, value in csv.reader(stream)]
    return [row for row in rows if row[1] not in CLOCKED and not row[1].startswith("costs/")]


def _of_rows(expected: list[tuple[str, str, str]], found: list[tuple[str, str, str]]) -> list[str]:
    keys = [row[:2] for row in found]
    odd = [f"step {step}, {name}: there {count} times" for (step, name), count in Counter(keys).items() if count > 1]
    odd += [f"step {row[0]}, {row[1]}: missing" for row in expected if row[:2] not in keys]
    values = dict(zip(keys, (row[2] for row in found), strict=True))
    odd += [
        f"step {row[0]}, {row[1]}: {values[row[:2]]}, expected {row[2]}"
        for row in expected
        if row[:2] in values and values[row[:2]] != row[2]
    ]
    return odd or ([] if expected == found else ["rows in another order, or too many"])


def _values(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text)


def _of_values(expected: Any, found: Any, place: str = "") -> list[str]:
    if isinstance(expected, dict) and isinstance(found, dict):
        clocked = {"value", "met", "why"} if expected.get("name") in _CLOCKED_GOALS else set()
        keys = sorted((set(expected) | set(found)) - CLOCKED - clocked)
        return [one for key in keys for one in _of_values(expected.get(key), found.get(key), f"{place}.{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [one for number, pair in pairs for one in _of_values(*pair, f"{place}[{number}]")]
    return (
        [] if expected == found else [f"{place.lstrip('.') or 'all'}: {str(found)[:60]}, expected {str(expected)[:60]}"]
    )
