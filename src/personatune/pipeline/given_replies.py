"""A file of replies that another system made, used as if it were a chatbot."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personatune.dialogue import Context
from personatune.errors import UserError
from personatune.plain_json import parse_json

_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Given:
    """One row: ``history`` and ``persona`` are None where the row doesn't say what it answers."""

    number: int
    reply: str
    history: _Key | None
    persona: _Key | None


class GivenReplies:
    """Replies of a JSONL file, found again by the history (and persona, where given) that they answer.

    Rows are ``{"persona": […]?, "history": […], "reply": "…"}``; a history is the lines in order, or pairs of speaker
    and line. A file whose rows have no history holds one reply for each context asked for, in order.
    """

    def __init__(self, file: Path, rows: Sequence[_Given], sha256: str) -> None:
        self.file = file
        self.sha256 = sha256
        self._rows = rows
        self._in_order = rows[0].history is None
        self._found: dict[tuple[_Key, _Key | None], list[_Given]] = {}
        for row in rows:
            if row.history is not None:
                self._found.setdefault((row.history, row.persona), []).append(row)

    @classmethod
    def read(cls, file: Path) -> GivenReplies:
        """Read a file.

        Raises:
            UserError: it is missing or empty, or a row is no reply (names the row).
        """
        try:
            content = file.read_bytes()
            lines = content.decode("utf-8-sig").split("\n")
        except FileNotFoundError:
            raise UserError(f"{file}: no such file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: can't be read as UTF-8 text ({error})") from error
        rows = [_row(file, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        if not rows:
            raise UserError(f'{file}: the file is empty; expected rows like {{"history": ["Hi!"], "reply": "Hello."}}')
        odd = next((row for row in rows if (row.history is None) != (rows[0].history is None)), None)
        if odd is not None:
            has, first = ("no history", "has one") if odd.history is None else ("a history", "has none")
            raise UserError(f"{file}, row {odd.number}: {has}, while row {rows[0].number} {first}; give all or none")
        return cls(file, rows, hashlib.sha256(content).hexdigest())

    def respond(self, contexts: Sequence[Context]) -> list[str]:
        """Return the reply to each context. A file without histories must be asked for all contexts in one call.

        Several rows for one context answer its occurrences in order.

        Raises:
            UserError: a context without a reply, or, without histories, more or fewer replies than contexts.
        """
        if self._in_order:
            if len(contexts) != len(self._rows):
                raise UserError(
                    f"{self.file}: found {len(self._rows)} replies for {len(contexts)} contexts "
                    f"({self._first_odd_row(len(contexts))}); expected one reply a context, or rows with a history"
                )
            return [row.reply for row in self._rows]
        asked: Counter[tuple[_Key, _Key | None]] = Counter()
        replies = []
        for position, context in enumerate(contexts, start=1):
            history = _folded(turn.text for turn in context.history)
            persona = tuple(sorted(_folded(context.persona.traits)))
            key = next((key for key in ((history, persona), (history, None)) if key in self._found), None)
            if key is None:
                raise self._unanswered(context, history, position, len(contexts))
            rows = self._found[key]
            if 1 < len(rows) <= asked[key]:
                raise UserError(
                    f"{self.file}, row {rows[0].number}: its history is answered by {len(rows)} rows and asked for "
                    "more often; give every row its persona"
                )
            replies.append(rows[min(asked[key], len(rows) - 1)].reply)
            asked[key] += 1
        return replies

    def _first_odd_row(self, contexts: int) -> str:
        if len(self._rows) > contexts:
            return f"row {self._rows[contexts].number} is the first too many"
        return f"nothing after row {self._rows[-1].number}"

    def _unanswered(self, context: Context, history: _Key, position: int, total: int) -> UserError:
        last = context.history[-1].text if context.history else ""
        near = next((row for row in self._rows if row.history == history), None)
        if near is not None:
            why = f"row {near.number} answers this history for another persona"
        else:
            first = self._rows[0]
            answers = first.history[-1] if first.history else ""
            why = f"its {len(self._rows)} rows answer other contexts (row {first.number} answers {answers[:60]!r})"
        return UserError(
            f"{self.file}: no reply to context {position} of {total}, which ends in {last[:60]!r}; {why}; "
            "generate the replies for these contexts"
        )


def _row(file: Path, number: int, line: str) -> _Given:
    place = f"{file}, row {number}"
    try:
        value = parse_json(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not valid JSON ({error.msg}), expected one object a line") from error
    if not isinstance(value, dict) or not isinstance(value.get("reply"), str):
        found = f"keys {sorted(value)}" if isinstance(value, dict) else type(value).__name__
        raise UserError(f"{place}: found {found[:80]}, expected an object with the text 'reply'")
    if not value["reply"].strip():
        raise UserError(f"{place}: the reply is empty; a system that says nothing can't be measured")
    history, persona = value.get("history"), value.get("persona")
    return _Given(
        number,
        value["reply"].strip(),
        None if history is None else _folded(_lines(history, place, "history")),
        None if persona is None else tuple(sorted(_folded(_lines(persona, place, "persona")))),
    )


def _lines(value: Any, place: str, name: str) -> list[str]:
    if isinstance(value, dict) and name == "persona":
        value = value.get("traits")
    if isinstance(value, list):
        lines = [part[1] if isinstance(part, list) and len(part) == 2 else part for part in value]
        if all(isinstance(line, str) for line in lines):
            return lines
    raise UserError(f"{place}: '{name}' is {str(value)[:60]!r}, expected a list of texts")


def _folded(texts: Any) -> _Key:
    """Return lines as they are compared: blanks don't matter."""
    return tuple(" ".join(text.split()) for text in texts)
