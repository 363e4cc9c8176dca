"""A judge that remembers: every pair is judged once, and an interrupted evaluation goes on where it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from personatune.errors import UserError
from personatune.judging.entailment import LABELS, EntailmentJudge
from personatune.progress import Progress, SilentProgress
from personatune.storage import read_json, write_json

_CHUNK = 1024
"""Pairs judged between two writings of the file: a few seconds' work."""


class KeptAnswers:
    """An `EntailmentJudge` in front of another one, which is asked for new pairs only.

    Args:
        judge: who is asked.
        file: where answers are kept between runs, by the judge's name; None keeps them in memory. Other judges'
            answers in the file stay.

    Raises:
        UserError: the file is not one of kept answers.
    """

    def __init__(self, judge: EntailmentJudge, file: Path | None = None, progress: Progress | None = None) -> None:
        self._judge = judge
        self._file = file
        self._progress = progress or SilentProgress()
        self._kept: dict[tuple[str, str], list[float]] = _read(file, judge.name) if file and file.exists() else {}

    @property
    def name(self) -> str:
        """The judge's own name."""
        return self._judge.name

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return for each (premise, hypothesis) the probabilities of `LABELS`, (n, 3); rows add to 1.

        Raises:
            UserError: the judge gave something else.
        """
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._kept]
        if new:
            with self._progress.task(f"Judging {len(new)} pairs with {self.name}", len(new)) as task:
                for start in range(0, len(new), _CHUNK):
                    chunk = new[start : start + _CHUNK]
                    answers = _checked(self.name, chunk, self._judge.probabilities(chunk))
                    self._kept.update(zip(chunk, answers.tolist(), strict=True))
                    self._write()
                    task.advance(len(chunk))
        rows = [self._kept[pair] for pair in pairs]
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(LABELS))

    def _write(self) -> None:
        if self._file is None:
            return
        judges = read_json(self._file)["judges"] if self._file.exists() else {}
        judges[self.name] = [[*pair, *answer] for pair, answer in self._kept.items()]
        write_json(self._file, {"labels": list(LABELS), "judges": judges})


def _read(file: Path, judge: str) -> dict[tuple[str, str], list[float]]:
    found = read_json(file)
    if not isinstance(found, dict) or found.get("labels") != list(LABELS) or not isinstance(found.get("judges"), dict):
        raise UserError(f"{file}: no kept answers of a judge (expected labels and judges); name another file")
    rows = found["judges"].get(judge, [])
    try:
        answers = np.array([row[2:] for row in rows], dtype=np.float64).reshape(len(rows), len(LABELS))
        return {(str(row[0]), str(row[1])): answer for row, answer in zip(rows, answers.tolist(), strict=True)}
    except (TypeError, ValueError, IndexError) as error:
        raise UserError(f"{file}: damaged answers of {judge} ({error}); delete it to have them made again") from error


def _checked(judge: str, pairs: Sequence[tuple[str, str]], answers: NDArray[np.float32]) -> NDArray[np.float32]:
    if answers.shape != (len(pairs), len(LABELS)):
        raise UserError(f"judge {judge}: found answers of shape {answers.shape}, expected {(len(pairs), len(LABELS))}")
    good = np.isfinite(answers).all(axis=1) & (answers >= 0).all(axis=1) & (np.abs(answers.sum(axis=1) - 1) < 1e-3)
    if not good.all():
        row = int(np.argmin(good))
        raise UserError(
            f"judge {judge}: found {answers[row].tolist()} for {pairs[row]}, expected three probabilities that add to 1"
        )
    return answers
