"""Where dialogues come from: `chitchat`, a file, a folder or a dataset of the hub, behind one interface."""

from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personatune.data.cells import UnusableRowError
from personatune.data.chitchat import chitchat_file, fits_chitchat, read_chitchat
from personatune.data.reading import Row, data_files, read_rows, split_named, with_field_names
from personatune.data.schemas import Schema, schema_of
from personatune.dialogue import Dialogue
from personatune.errors import UserError, did_you_mean
from personatune.hub import why_no_hub

# Above this share of unreadable rows the file itself is at fault and going on would hide it.
BROKEN_SHARE_TOLERATED = 0.01

_HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?(?::[\w.-]+)?")
_EXPECTED = (
    "expected a persona column (persona, personas, personality, user 1 personas …) "
    "and a dialogue column (conversation, dialogue, history, messages, utterances …); see docs/data.md"
)


@dataclass(frozen=True, slots=True)
class LoadedData:
    """What a source gave.

    Attributes:
        dialogues: every speaker with the own persona.
        skipped: rows left out, by reason.
        source: as the user named it.
        description: the format found and the number of rows.
        licence: of the data, where it is known.
    """

    dialogues: list[Dialogue]
    skipped: Counter[str]
    source: str
    description: str
    licence: str | None = None
    formats: tuple[str, ...] = field(default=())


@dataclass(slots=True)
class Reading:
    """A source that is being read: what `LoadedData` says is right once the last dialogue was taken."""

    dialogues: Iterator[Dialogue]
    skipped: Counter[str]
    source: str
    description: str = ""
    licence: str | None = None
    formats: tuple[str, ...] = ()


class DatasetLoader:
    """Reads persona dialogues from ``source``.

    Args:
        source: "chitchat", a file, a folder of files, or a hub id ("owner/name", "owner/name:configuration").
        fraction: share of the conversations drawn, by ``seed``; the others are never built.
        revision: branch, tag or commit of a hub id.
    """

    def __init__(self, source: str, *, fraction: float = 1.0, seed: int = 0, revision: str | None = None) -> None:
        if not 0 < fraction <= 1:
            raise UserError(f"--fraction {fraction}: expected a share above 0 and up to 1")
        self.source = source
        self.fraction = fraction
        self.seed = seed
        self.revision = revision

    def load(self) -> LoadedData:
        """Read the source.

        Raises:
            UserError: nothing usable is there; one line names file, row and the way out.
        """
        reading = self.stream()
        dialogues = list(reading.dialogues)
        return LoadedData(
            dialogues, reading.skipped, reading.source, reading.description, reading.licence, reading.formats
        )

    def stream(self) -> Reading:
        """Read the source dialogue by dialogue.

        Raises:
            UserError: nothing usable is there; by this call, or by what is iterated.
        """
        skipped: Counter[str] = Counter()
        rows = self._rows(skipped)
        first = next(rows, None)
        if first is None:
            raise UserError(f"{self.source}: no rows; expected at least one dialogue")
        rows = _chain(first, rows)
        if first.value is not None and isinstance(first.value, Mapping) and fits_chitchat(first.value):
            return self._load_chitchat(rows, skipped)
        reading = Reading(iter(()), skipped, self.source)
        reading.dialogues = self._read_rows(rows, reading)
        return reading

    def _rows(self, skipped: Counter[str]) -> Iterator[Row]:
        path = Path(self.source).expanduser()
        if self.source == "chitchat" and not path.exists():
            return read_rows(chitchat_file())
        if path.is_dir():
            files, others = data_files(path)
            if others:
                skipped["file of another kind"] += others
            return (row for file in files for row in read_rows(file))
        if path.is_file():
            return read_rows(path)
        if _HUB_ID.fullmatch(self.source) and not path.suffix.lower().startswith(
            (".json", ".csv", ".tsv", ".parq", ".txt")
        ):
            return hub_rows(self.source, self.revision)
        raise UserError(f"{self.source}: no such file or folder{did_you_mean(path.name, _names_beside(path))}")

    def _load_chitchat(self, rows: Iterator[Row], skipped: Counter[str]) -> Reading:
        records = [row.value for row in rows if isinstance(row.value, Mapping)]
        kept = [record for record in records if self._draws(str(record.get("id")))] if self.fraction < 1 else records
        dialogues = read_chitchat(kept, skipped)
        if not dialogues:
            raise UserError(f"{self.source}: none of {len(kept)} conversations has a speaker who tells about oneself")
        description = f"chitchat: {len(kept)} human conversations, personas mined from the speakers' own statements"
        return Reading(iter(dialogues), skipped, self.source, description, "MIT", ("chitchat",))

    def _draws(self, key: str) -> bool:
        return random.Random(f"{self.seed}/{key}").random() < self.fraction

    def _read_rows(self, rows: Iterator[Row], reading: Reading) -> Iterator[Dialogue]:
        skipped = reading.skipped
        schemas: dict[str, Schema] = {}
        first_fault: dict[str, str] = {}
        names: set[str] = set()
        draw = random.Random(self.seed)
        total = broken = drawn = usable = 0
        for row in last_rows(rows):
            total += 1
            if row.broken is not None:
                broken += 1
                skipped[_reason(row.broken)] += 1
                first_fault.setdefault("broken", f"{row.place}: {row.broken}")
                continue
            if draw.random() >= self.fraction:
                continue
            drawn += 1
            try:
                schema, dialogue = _read(row, total)
            except UnusableRowError as error:
                skipped[str(error)] += 1
                first_fault.setdefault("unusable", f"{row.place}: {_explained(str(error), row)}")
                continue
            schemas[schema.name] = schema
            usable += 1
            yield _with_unique_id(dialogue, names)
        if broken and broken >= BROKEN_SHARE_TOLERATED * total:
            raise UserError(f"{first_fault['broken']} ({broken} of {total} rows are broken)")
        if not usable:
            if not drawn:
                raise UserError(f"{self.source}: fraction {self.fraction} of {total} rows draws none; raise --fraction")
            raise UserError(f"{first_fault['unusable']} (no row of {drawn} is usable)")
        reading.formats = tuple(schemas)
        reading.licence = schemas[reading.formats[0]].licence if len(schemas) == 1 else None
        reading.description = f"{' and '.join(schemas)}: {usable} dialogues of {drawn} rows"


def hub_rows(source: str, revision: str | None = None) -> Iterator[Row]:
    """Yield the rows of a dataset of the hub, or of the local cache when the hub is out of reach.

    Code that a dataset brings along is never run.

    Raises:
        UserError: unknown, unreachable or of a kind that needs its own code.
    """
    no_hub = "" if Path(source).is_dir() else why_no_hub()  # before `datasets` is loaded: it reads once whether to ask
    from datasets import load_dataset

    name, _, configuration = source.partition(":")
    try:
        splits = load_dataset(name, configuration or None, revision=revision)
    except Exception as error:  # the hub client raises a dozen kinds, all of them the user's to solve
        reason = f"not in the local cache, and {no_hub}" if no_hub else _shortened(error)
        raise UserError(
            f"{source}: neither a local file or folder nor a dataset that could be fetched from the hub ({reason}); "
            "download it elsewhere and give the path of the file or folder"
        ) from error
    for split, rows in splits.items():
        for number, value in enumerate(rows, start=1):
            yield Row(f"{source} ({split}), row {number}", value, split_named(str(split)))


def _shortened(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def last_rows(rows: Iterator[Row]) -> Iterator[Row]:
    """Keep the last row of every conversation where a source repeats it with a growing history (Persona-Chat)."""
    held: Row | None = None
    for row in rows:
        if not isinstance(row.value, Mapping) or "history" not in row.value or "candidates" not in row.value:
            if held is not None:
                yield held
                held = None
            yield row
            continue
        if held is not None and not _goes_on(held.value, row.value):
            yield held
        held = row
    if held is not None:
        yield held


def _goes_on(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    if "conv_id" in before or "conv_id" in after:
        return before.get("conv_id") == after.get("conv_id")
    old, new = before["history"], after["history"]
    if not isinstance(old, (list, str)) or type(old) is not type(new) or len(new) <= len(old):
        return False
    if isinstance(old, str) and isinstance(new, str):
        return new.startswith(old.rstrip("]"))
    return bool(new[: len(old)] == old)


def _read(row: Row, number: int) -> tuple[Schema, Dialogue]:
    if not isinstance(row.value, Mapping):
        raise UnusableRowError("not a record with named columns")
    record = with_field_names(row.value)
    if not any(value not in (None, "", []) for value in record.values()):
        raise UnusableRowError("empty row")
    schema = schema_of(record)
    if schema is None:
        raise UnusableRowError("wrong columns")
    name = next(
        (str(record[key]) for key in ("id", "dialogue_id", "conv_id") if record.get(key) not in (None, "")), None
    )
    try:
        dialogue = schema.read(record, name or f"row-{number}")
    except UnusableRowError:
        raise
    except (TypeError, KeyError, IndexError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise UnusableRowError("columns of an unknown form") from error
    said = record.get("split")
    split = (split_named(str(said)) if said else None) or row.split
    return schema, dialogue if split is None else dataclasses.replace(dialogue, split=split)


def _explained(reason: str, row: Row) -> str:
    if isinstance(row.value, Mapping) and reason == "wrong columns":
        return f"found the columns {', '.join(map(str, row.value))}, {_EXPECTED}"
    if not isinstance(row.value, Mapping):
        return f"found {type(row.value).__name__}, expected an object with named columns"
    return f"{reason}; {_EXPECTED}"


def _reason(broken: str) -> str:
    return "not UTF-8" if broken.startswith("bytes") else "broken row"


def _with_unique_id(dialogue: Dialogue, names: set[str]) -> Dialogue:
    name, copies = dialogue.id, 1
    while name in names:
        copies += 1
        name = f"{dialogue.id}#{copies}"
    names.add(name)
    return dialogue if name == dialogue.id else dataclasses.replace(dialogue, id=name)


def _names_beside(path: Path) -> list[str]:
    try:
        return [neighbour.name for neighbour in path.parent.iterdir()]
    except OSError:
        return []


def _chain(first: Row, rest: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rest
