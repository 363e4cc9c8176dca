"""Files of replies to choose from: dialogue-NLI records and ConvAI2 candidates, told apart by their content.

Nothing is skipped: a file whose records can't all be read would give a figure of other records than it names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from personatune.dialogue import Context, Persona, RankingTask, Turn
from personatune.errors import UserError, did_you_mean
from personatune.plain_json import parse_json

DIALOGUE_NLI: Literal["dialogue-nli"] = "dialogue-nli"
CONVAI2: Literal["convai2"] = "convai2"

_KINDS = {"label": "gold", "neg": "neg", "similar": "similar", "rand": "rand"}
_SILENCE = "__SILENCE__"
_NUMBERED = re.compile(r"([0-9]{1,9}) (.*)")
_EXPECTED = (
    'dialogue-NLI records as JSON ({"persona": […], "prefix": […], "candidates": {…}}) '
    "or ConvAI2 text ('1 your persona: i have a dog.')"
)


@dataclass(frozen=True)
class RankingFile:
    """The records of one file.

    Attributes:
        tasks: in order. A ConvAI2 task's id is "file:dialogue:turn", a dialogue-NLI one's "file:record".
        sha256: of the file's bytes.
        without: how many records have no candidate of a class at all (dialogue-NLI: "neg", "similar", "rand").
    """

    path: Path
    format: Literal["dialogue-nli", "convai2"]
    tasks: list[RankingTask]
    sha256: str
    without: Mapping[str, int] = field(default_factory=dict)


def read_ranking_file(path: Path) -> RankingFile:
    """Read a file of either format.

    Raises:
        UserError: it is missing, empty or of another kind, or a record is incomplete: a missing, empty or surplus
            candidate, an unknown class, a gold reply that isn't where it should be (names record or line).
    """
    content = _bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: bytes that are not UTF-8; convert the file to UTF-8") from error
    begin = text.lstrip()[:200]
    if not begin:
        raise UserError(f"{path}: the file is empty; expected {_EXPECTED}")
    sha256 = hashlib.sha256(content).hexdigest()
    name = path.name.replace(":", "_")  # ids are told apart by colons
    if begin[0] in "[{":
        places = _json_records(path, text)
        tasks = [_nli_task(f"{name}:{number}", *place) for number, place in enumerate(places, start=1)]
        return RankingFile(path, DIALOGUE_NLI, tasks, sha256, _without(path, tasks))
    if _NUMBERED.match(begin):
        return RankingFile(path, CONVAI2, _convai2_tasks(path, name, text), sha256)
    raise UserError(f"{path}, line 1: found {begin.splitlines()[0][:40]!r}, expected {_EXPECTED}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error})") from error


# --- dialogue-NLI --------------------------------------------------------------------------------------------------


def _json_records(path: Path, text: str) -> list[tuple[str, Any]]:
    """Return (place, record) of a JSON list, an object that holds one list, a lone record, or one object a line."""
    try:
        tree = parse_json(text)
    except json.JSONDecodeError as error:
        return _json_lines(path, text, error)
    if isinstance(tree, dict) and "candidates" not in tree:
        lists = [value for value in tree.values() if isinstance(value, list)]
        if len(lists) != 1:
            raise UserError(f"{path}: found an object with {sorted(tree)[:6]}, expected {_EXPECTED}")
        tree = lists[0]
    records = tree if isinstance(tree, list) else [tree]
    if not records:
        raise UserError(f"{path}: found an empty list, expected {_EXPECTED}")
    return [(f"{path}, record {number}", record) for number, record in enumerate(records, start=1)]


def _json_lines(path: Path, text: str, whole: json.JSONDecodeError) -> list[tuple[str, Any]]:
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append((f"{path}, line {number}", parse_json(line)))
        except json.JSONDecodeError as error:
            if not records:  # no file of one object a line: tell where the whole breaks
                raise UserError(f"{path}, line {whole.lineno}: not valid JSON ({whole.msg})") from error
            raise UserError(
                f"{path}, line {number}: not valid JSON ({error.msg}), expected one object a line"
            ) from error
    return records


def _nli_task(name: str, place: str, record: Any) -> RankingTask:
    if not isinstance(record, dict):
        raise UserError(f"{place}: found {_shown(record)}, expected an object with persona, prefix and candidates")
    missing = [key for key in ("persona", "prefix", "candidates") if key not in record]
    if missing:
        raise UserError(f"{place}: '{missing[0]}' is missing; found {', '.join(map(str, record)) or 'nothing'}")
    persona = tuple(_texts(record["persona"], f"{place}, persona"))
    lines = _texts(record["prefix"], f"{place}, prefix")
    candidates, kinds = _nli_candidates(record["candidates"], f"{place}, candidates")
    return RankingTask(name, Context(Persona(persona), _spoken(lines)), candidates, kinds)


def _nli_candidates(groups: Any, place: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not isinstance(groups, dict):
        raise UserError(f"{place}: found {_shown(groups)}, expected an object with {', '.join(_KINDS)}")
    unknown = next((key for key in groups if key not in _KINDS), None)
    if unknown is not None:
        hint = did_you_mean(str(unknown), _KINDS)
        raise UserError(f"{place}: unknown class {unknown!r}, expected {', '.join(_KINDS)}{hint}")
    missing = next((key for key in _KINDS if key not in groups), None)
    if missing is not None:
        raise UserError(f"{place}: '{missing}' is missing, expected {', '.join(_KINDS)}")
    candidates: list[str] = []
    kinds: list[str] = []
    for key, group in groups.items():
        texts = [] if group == [] and key != "label" else _texts(group, f"{place}, {key}")
        candidates += texts
        kinds += [_KINDS[key]] * len(texts)
    if len(candidates) < 2:
        raise UserError(f"{place}: found the gold reply alone, expected others to choose from")
    return tuple(candidates), tuple(kinds)


def _texts(value: Any, place: str) -> list[str]:
    """Return the texts of a field: a list of texts, or one text."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise UserError(f"{place}: found {_shown(value)}, expected a list of texts")
    if not value:
        empty = f"; where nobody has spoken yet, write {_SILENCE!r}" if place.endswith("prefix") else ""
        raise UserError(f"{place}: found an empty list, expected at least one text{empty}")
    for number, text in enumerate(value, start=1):
        if not isinstance(text, str):
            raise UserError(f"{place}, entry {number}: found {_shown(text)}, expected a text")
        if not text.strip():
            raise UserError(f"{place}, entry {number}: found an empty text, expected words")
    return [text.strip() for text in value]


def _shown(value: Any) -> str:
    kind = {dict: "an object", list: "a list", int: "a number", float: "a number", type(None): "null"}.get(type(value))
    return f"{kind or type(value).__name__} {json.dumps(value, ensure_ascii=False)[:40]}"


def _spoken(lines: Sequence[str]) -> tuple[Turn, ...]:
    """Return the lines as turns: the last one is the partner's, speakers alternate backwards from it."""
    last = len(lines) - 1
    turns = (Turn("self" if (last - index) % 2 else "partner", line) for index, line in enumerate(lines))
    return tuple(turn for turn in turns if turn.text != _SILENCE)


def _without(path: Path, tasks: Sequence[RankingTask]) -> dict[str, int]:
    """Count the records without a class; a class that no record has would make its rate a silent zero."""
    lacking = Counter(kind for task in tasks for kind in _KINDS.values() if kind not in task.kinds)
    nowhere = next((kind for kind, count in lacking.items() if count == len(tasks)), None)
    if nowhere is not None:
        raise UserError(f"{path}: no record has a candidate of class '{nowhere}', so its rate would always be 0")
    return dict(lacking)


# --- ConvAI2 -------------------------------------------------------------------------------------------------------


def _convai2_tasks(path: Path, name: str, text: str) -> list[RankingTask]:
    """Read ParlAI text: numbered lines; a number that doesn't grow begins the next dialogue."""
    tasks: list[RankingTask] = []
    traits: list[str] = []
    turns: list[Turn] = []
    last = dialogue = spoken = 0
    usual: tuple[int, int] | None = None  # how many candidates, and the line that set it
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        match = _NUMBERED.match(line.rstrip("\r"))
        if match is None:
            raise UserError(f"{place}: found {line.strip()[:40]!r}, expected a numbered line: '1 your persona: …'")
        if int(match[1]) <= last or not dialogue:
            traits, turns, spoken, dialogue = [], [], 0, dialogue + 1
        last = int(match[1])
        content = match[2]
        if content.startswith("your persona:"):
            traits.append(_trait(content, place))
            continue
        if content.startswith("partner's persona:"):
            continue
        partner, reply, candidates = _convai2_turn(content, place)
        if not traits:
            raise UserError(f"{place}: a turn without a persona before it; expected lines '1 your persona: …'")
        usual = usual or (len(candidates), number)
        if len(candidates) != usual[0]:
            raise UserError(f"{place}: found {len(candidates)} candidates, expected {usual[0]} as in line {usual[1]}")
        spoken += 1
        turns += [Turn("partner", partner)] if partner != _SILENCE else []
        context = Context(Persona(tuple(traits)), tuple(turns))
        kinds = ("rand",) * (len(candidates) - 1) + ("gold",)
        tasks.append(RankingTask(f"{name}:{dialogue}:{spoken}", context, candidates, kinds))
        turns.append(Turn("self", reply))
    if not tasks:
        raise UserError(f"{path}: no turn with candidates, expected lines 'n partner⇥reply⇥⇥c1|…|c20'")
    return tasks


def _trait(content: str, place: str) -> str:
    trait = content.partition(":")[2].strip()
    if not trait:
        raise UserError(f"{place}: an empty persona sentence")
    return trait


def _convai2_turn(content: str, place: str) -> tuple[str, str, tuple[str, ...]]:
    fields = [part.strip() for part in content.split("\t")]
    if len(fields) < 4 or not fields[3]:
        raise UserError(
            f"{place}: found {len(fields)} tab-separated fields without candidates, expected partner⇥reply⇥⇥c1|…|c20"
        )
    partner, reply = fields[0], fields[1]
    candidates = tuple(candidate.strip() for candidate in fields[3].split("|"))
    empty = next((index for index, candidate in enumerate(candidates, start=1) if not candidate), None)
    if empty is not None:
        raise UserError(f"{place}: candidate {empty} of {len(candidates)} is empty")
    if len(candidates) < 2:
        raise UserError(f"{place}: found one candidate, expected others to choose from")
    if not partner or not reply:
        raise UserError(f"{place}: the {'reply' if partner else 'partner line'} is empty")
    if candidates[-1] != reply:
        where = f"candidate {candidates.index(reply) + 1}" if reply in candidates else "no candidate"
        raise UserError(f"{place}: the gold reply {reply[:40]!r} is {where} of {len(candidates)}, expected the last")
    return partner, reply, candidates
