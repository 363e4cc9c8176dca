"""The curves as a CSV file, samples as lines of JSON, drawings as PNG files: what the report reads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from personatune.storage import append_text, replacing, write_text

_COLUMNS = ["step", "name", "value"]


class CsvTracker:
    """``metrics.csv`` in long form (step, name, value), so that a new figure never breaks it, and ``samples.jsonl``.

    Rows are written as they come, those of a step whole or not at all. Reopened for a resume, rows after
    ``resume_step`` are cut off: the resumed run writes them again, and each step stands there once.
    """

    def __init__(self, directory: Path, resume_step: int = 0) -> None:
        self._directory = directory
        self._metrics = directory / "metrics.csv"
        self._samples = directory / "samples.jsonl"
        _cut_metrics(self._metrics, resume_step)
        _cut_samples(self._samples, resume_step)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        lines = io.StringIO(newline="")
        csv.writer(lines).writerows([step, name, repr(float(value))] for name, value in metrics.items())
        append_text(self._metrics, lines.getvalue())

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        lines = (json.dumps({"step": step, "name": name, **row}, ensure_ascii=False) + "\n" for row in rows)
        append_text(self._samples, "".join(lines))

    def figures(self, drawings: Mapping[str, bytes], step: int) -> None:
        for name, png in drawings.items():
            with replacing(self._directory / "figures" / f"{name}.png") as temporary:
                temporary.write_bytes(png)

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Do nothing: they lie in the run's folder already."""

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _cut_metrics(file: Path, last_step: int) -> None:
    rows: list[list[str]] = []
    if last_step and file.exists():
        with file.open(encoding="utf-8", newline="") as stream:
            # An interrupt can leave half a row at the end: it has a step that is run again, or no step at all.
            rows = [
                row for row in csv.reader(stream) if len(row) == 3 and row[0].isdigit() and int(row[0]) <= last_step
            ]
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([_COLUMNS, *rows])


def _cut_samples(file: Path, last_step: int) -> None:
    kept: list[str] = []
    if last_step and file.exists():
        for line in file.read_text(encoding="utf-8").split("\n"):  # a reply may hold Unicode's other line ends
            with suppress(json.JSONDecodeError):  # half a line, left by an interrupt
                if json.loads(line)["step"] <= last_step:
                    kept.append(line + "\n")
    write_text(file, "".join(kept))
