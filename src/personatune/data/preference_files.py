"""Preference pairs from a file: what the stage preferences writes, and files made elsewhere in its form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from personatune.dialogue import PreferencePair
from personatune.errors import UserError
from personatune.storage import read_jsonl

_FORM = (
    '{"context": {"persona": {"traits": ["…"]}, "history": [["partner", "…"]]}, "chosen": "…", "rejected": "…", '
    '"kind": "…"}'
)


def read_preference_file(file: Path) -> list[PreferencePair]:
    """Read one pair a line; ``kind`` ("given" without one) and ``origin`` (file and row) may be left out.

    Raises:
        UserError: no such file, nothing in it, or a row that is no pair (names the row and what is wrong).
    """
    pairs = [_pair(row, f"{file}, row {number}") for number, row in enumerate(read_jsonl(file), start=1)]
    if not pairs:
        raise UserError(f"{file}: the file is empty; expected lines {_FORM}")
    return pairs


def _pair(row: Mapping[str, Any], place: str) -> PreferencePair:
    chosen, rejected = (_text(row, name, place) for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise UserError(f"{place}: chosen and rejected are the same ({chosen[:40]!r}); leave the pair out")
    context = row.get("context")
    persona = context.get("persona") if isinstance(context, Mapping) else None
    traits = persona.get("traits") if isinstance(persona, Mapping) else None
    if not isinstance(context, Mapping) or not isinstance(traits, list):
        raise UserError(f"{place}: found no context with a persona's traits; expected {_FORM}")
    if not traits or not all(isinstance(trait, str) and trait.strip() for trait in traits):
        raise UserError(f"{place}: found traits {str(traits)[:60]}, expected a list of sentences")
    _check_history(context.get("history"), place)
    kind, origin = row.get("kind", "given"), row.get("origin", place)
    return PreferencePair.from_json({**row, "kind": str(kind), "origin": str(origin)})


def _text(row: Mapping[str, Any], name: str, place: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{place}: {name} is {value!r}, expected a reply; a row reads {_FORM}")
    return value


def _check_history(history: Any, place: str) -> None:
    turns = history if isinstance(history, list) else []
    for number, turn in enumerate(turns, start=1):
        whole = isinstance(turn, list) and len(turn) == 2 and all(isinstance(part, str) for part in turn)
        if not whole or turn[0] not in ("self", "partner"):
            raise UserError(f'{place}: turn {number} is {str(turn)[:60]}, expected ["self" or "partner", text]')
    if not turns or turns[-1][0] != "partner":
        raise UserError(f"{place}: the history ends with no line of the partner's, so there is nothing to answer")
