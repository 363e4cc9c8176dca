"""Files of labelled sentence pairs: ``premise⇥hypothesis⇥label`` lines, as SNLI and our own are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from personatune.data.persona_pairs import Label, SentencePair
from personatune.errors import UserError

_LABELS: dict[str, Label] = {
    "entailment": "entailment",
    "neutral": "neutral",
    "contradiction": "contradiction",
    "0": "entailment",
    "1": "neutral",
    "2": "contradiction",
}
_NO_LABEL = frozenset(("-", "-1"))
_HEADER = ("premise", "hypothesis", "label")


@dataclass(frozen=True)
class PairFile:
    """The pairs of a file, and how many lines were left out, by reason."""

    pairs: list[SentencePair]
    skipped: Counter[str]


def read_pairs(file: Path, kind: str = "") -> PairFile:
    """Read tab-separated lines without quoting: premise, hypothesis, label.

    Labels are names or the numbers of SNLI (0 entailment, 1 neutral, 2 contradiction). A first line of column names is
    passed over; pairs on which SNLI's annotators did not agree ("-" or -1) are left out and counted.

    Raises:
        UserError: no such file, no pair in it, a line without three columns, an empty sentence or an unknown label.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: can't be read ({error}); expected UTF-8 lines premise⇥hypothesis⇥label") from error
    skipped: Counter[str] = Counter()
    pairs = list(_pairs(text, str(file), kind or file.stem, skipped))
    if not pairs:
        raise UserError(f"{file}: no pair in it; expected lines premise⇥hypothesis⇥label")
    return PairFile(pairs, skipped)


def hand_written_pairs() -> list[SentencePair]:
    """Return the persona pairs written by hand for training that come with the package."""
    return _packaged("persona_pairs.tsv", "written by hand")


def hand_written_scenes() -> list[SentencePair]:
    """Return the pairs on everyday scenes, in the manner of SNLI, written by hand for training."""
    return _packaged("scene_pairs.tsv", "general entailment")


def _packaged(name: str, kind: str) -> list[SentencePair]:
    text = resources.files("personatune.data").joinpath(name).read_text(encoding="utf-8")
    return list(_pairs(text, name, kind, Counter()))


def _pairs(text: str, place: str, kind: str, skipped: Counter[str]) -> Iterator[SentencePair]:
    for number, line in enumerate(text.split("\n"), start=1):
        columns = [column.strip() for column in line.split("\t")]
        if not line.strip() or (number == 1 and tuple(map(str.lower, columns)) == _HEADER):
            continue
        if len(columns) != len(_HEADER):
            raise UserError(
                f"{place}, line {number}: {len(columns)} columns, expected premise, hypothesis, label between tabs"
            )
        premise, hypothesis, label = columns
        if label in _NO_LABEL:
            skipped["annotators did not agree"] += 1
            continue
        if label.lower() not in _LABELS:
            raise UserError(
                f"{place}, line {number}: label {label!r}, expected entailment, neutral, contradiction or 0, 1, 2"
            )
        if not premise or not hypothesis:
            raise UserError(f"{place}, line {number}: an empty sentence; expected premise⇥hypothesis⇥label")
        yield SentencePair(premise, hypothesis, _LABELS[label.lower()], kind)
