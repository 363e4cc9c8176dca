"""Rows out of files: JSON, JSONL, CSV, TSV, Parquet and ParlAI text, each row with the place it comes from.

Line formats are streamed; only a ``.json`` file is read whole.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from personatune.errors import UserError
from personatune.plain_json import parse_json

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".txt")

_SNIFFED_BYTES = 65_536
_NEIGHBOURS = frozenset({"dataset_info.json", "dataset_infos.json", "state.json", "requirements.txt", "license.txt"})


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a source, or what is left of a broken one.

    Attributes:
        place: where it stands, as "file, row 3", for messages.
        value: the record; None where the row can't be read.
        split: "train", "validation" or "test" where the file's name says so.
        broken: why the row can't be read, with what was expected.
    """

    place: str
    value: Any
    split: str | None = None
    broken: str | None = None


def split_named(name: str) -> str | None:
    """Return the split that a file or split name speaks of, as a whole word ("spc_train_00" -> "train")."""
    parts = re.split(r"[^a-z]+", name.lower())
    for word, split in (("test", "test"), ("valid", "validation"), ("validation", "validation"), ("val", "validation")):
        if word in parts:
            return split
    if "dev" in parts:
        return "validation"
    return "train" if "train" in parts or "training" in parts else None


def data_files(folder: Path) -> tuple[list[Path], int]:
    """Return the readable data files below ``folder`` in order and the number of other files.

    Raises:
        UserError: there is none.
    """
    everything = sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path, folder))
    files = [path for path in everything if path.suffix.lower() in SUFFIXES and path.name.lower() not in _NEIGHBOURS]
    if not files:
        raise UserError(f"{folder}: no data file in this folder; expected files ending in {', '.join(SUFFIXES)}")
    return files, len(everything) - len(files)


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of one file; broken rows come marked, so that the caller can count them.

    Raises:
        UserError: the file can't be read at all (missing, empty, binary, unknown kind, not JSON).
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: a {suffix or 'nameless'} file is not known; expected one of {', '.join(SUFFIXES)}")
    head = _head(path)
    split = split_named(path.stem)
    if suffix == ".parquet":
        yield from _parquet_rows(path, split)
        return
    _refuse_binary(path, head)
    with path.open(
        encoding="utf-8-sig", errors="surrogateescape", newline="" if suffix in (".csv", ".tsv") else None
    ) as stream:
        if suffix in (".jsonl", ".ndjson"):
            yield from _line_rows(path, stream, split)
        elif suffix == ".json":
            yield from _json_rows(path, stream, split)
        elif suffix == ".txt":
            yield from _text_rows(path, stream, split)
        else:
            yield from _table_rows(path, stream, "\t" if suffix == ".tsv" else ",", split)


def is_clean_text(text: str) -> bool:
    """Say whether ``text`` was valid UTF-8 (undecodable bytes were read as lone surrogates)."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            head = stream.read(_SNIFFED_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error})") from error
    if not head.strip():
        raise UserError(f"{path}: the file is empty; expected at least one dialogue")
    return head


def _refuse_binary(path: Path, head: bytes) -> None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: UTF-16 text, expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8 IN > OUT")
    if b"\0" in head:
        raise UserError(f"{path}: binary data (a zero byte at {head.index(bytes(1))}), expected UTF-8 text")


def _undecodable(path: Path, number: int, split: str | None) -> Row:
    why = "bytes that are not UTF-8; convert the file: iconv -f LATIN1 -t UTF-8 IN > OUT"
    return Row(f"{path}, row {number}", None, split, why)


def _line_rows(path: Path, stream: Iterable[str], split: str | None) -> Iterator[Row]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        if not is_clean_text(line):
            yield _undecodable(path, number, split)
            continue
        try:
            yield Row(f"{path}, row {number}", parse_json(line), split)
        except json.JSONDecodeError as error:
            why = f"not valid JSON ({error}), expected one object a line"
            yield Row(f"{path}, row {number}", None, split, why)


def _json_rows(path: Path, stream: IO[str], split: str | None) -> Iterator[Row]:
    text = stream.read()
    if not is_clean_text(text):
        line = next(n for n, part in enumerate(text.split("\n"), start=1) if not is_clean_text(part))
        raise UserError(f"{path}, line {line}: bytes that are not UTF-8; convert it: iconv -f LATIN1 -t UTF-8 IN > OUT")
    try:
        tree = parse_json(text)
    except json.JSONDecodeError as error:
        lines = text.split("\n")  # and not at the other line ends that Unicode knows: they may stand in a text
        if len(lines) > 1 and _is_json_object(lines[0]):  # one object a line under the wrong suffix
            yield from _line_rows(path, lines, split)
            return
        cut = "; the file looks cut off, fetch it again" if error.pos >= len(text.rstrip()) - 1 else ""
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}){cut}") from error
    yield from _tree_rows(path, tree, split)


def _is_json_object(line: str) -> bool:
    try:
        return isinstance(parse_json(line), dict)
    except json.JSONDecodeError:
        return False


def _tree_rows(path: Path, tree: Any, split: str | None) -> Iterator[Row]:
    if isinstance(tree, list):
        for number, value in enumerate(tree, start=1):
            yield Row(f"{path}, row {number}", value, split)
        return
    if not isinstance(tree, dict):
        raise UserError(f"{path}: found a JSON {type(tree).__name__}, expected a list of dialogues")
    inner = [value for value in tree.values() if isinstance(value, (list, dict))]
    if inner and len(inner) == len(tree) and all(split_named(name) or name in ("data", "rows") for name in tree):
        for name, rows in tree.items():  # {"train": [...], "valid": [...]}
            yield from _tree_rows(path, rows, split_named(name) or split)
    elif inner and len(inner) == len(tree) and all(isinstance(value, dict) for value in inner):
        for number, (name, value) in enumerate(tree.items(), start=1):  # {id: {...}, ...}
            yield Row(f"{path}, row {number}", {"id": name, **value}, split)
    else:
        yield Row(f"{path}, row 1", tree, split)


def _table_rows(path: Path, stream: Iterable[str], delimiter: str, split: str | None) -> Iterator[Row]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    reader = csv.DictReader(stream, delimiter=delimiter)
    number = 0
    while True:
        number += 1
        try:
            value = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(f"{path}, row {number}", None, split, f"not a table row ({error})")
            continue
        if any(isinstance(cell, str) and not is_clean_text(cell) for cell in value.values()):
            yield _undecodable(path, number, split)
        else:
            yield Row(f"{path}, row {number}", {str(name): cell for name, cell in value.items()}, split)


def _parquet_rows(path: Path, split: str | None) -> Iterator[Row]:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        table = pyarrow.parquet.ParquetFile(path)
        numbers = itertools.count(1)
        for batch in table.iter_batches(batch_size=1024):
            for value in batch.to_pylist():
                yield Row(f"{path}, row {next(numbers)}", value, split)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable Parquet file ({reason}); fetch it again") from error


_NUMBERED = re.compile(r"([0-9]{1,9}) (.*)")


def _text_rows(path: Path, stream: Iterable[str], split: str | None) -> Iterator[Row]:
    """Read ParlAI's text: numbered lines, a number that doesn't grow begins the next dialogue."""
    episode: list[str] = []
    begun, last = 1, 0
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        match = _NUMBERED.match(line.rstrip("\n"))
        if match is None or not is_clean_text(line):
            if match is None:
                why = f"found {line.strip()[:40]!r}, expected a numbered line as '1 your persona: i have a dog.'"
                yield Row(f"{path}, row {number}", None, split, why)
            else:
                yield _undecodable(path, number, split)
            continue
        if int(match[1]) <= last and episode:
            yield Row(f"{path}, row {begun}", {"parlai": episode}, split)
            episode, begun = [], number
        last = int(match[1])
        episode.append(match[2])
    if episode:
        yield Row(f"{path}, row {begun}", {"parlai": episode}, split)


@lru_cache(maxsize=1000)  # every row of a file has the same columns
def field_name(name: str) -> str:
    """Return a column name in one spelling: "user 1 personas" and "User-1-Personas" are "user_1_personas"."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def with_field_names(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with every column name in one spelling."""
    return {field_name(str(name)): content for name, content in value.items()}
