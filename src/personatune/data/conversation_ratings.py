"""What people said about their conversations: chitchat's ratings, with the turns and the people they are about.

After a conversation the site asked for a rating, and the file keeps one set a conversation: witty, interesting, upbeat,
1 to 10, without saying which of the two gave it. So a rating is read as one about the conversation, and what both said
counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personatune.data.chitchat import chitchat_file, fits_chitchat, joined_turns, messages_of
from personatune.dialogue import Turn
from personatune.errors import UserError

RATINGS = ("witty", "interesting", "upbeat")
UNTOUCHED = 5  # where the sliders stand: 2,920 rated all three 5, but 5 people all three 4 and 5 all three 6
MIN_TURNS = 6  # fewer say little about the way of talking


@dataclass(frozen=True, slots=True)
class RatedConversation:
    """A conversation of two participants and how one of them rated it (it is not known who).

    Attributes:
        participants: the two senders, sorted.
        turns: consecutive messages of one sender are one turn.
        ratings: ``witty``, ``interesting`` and ``upbeat``, 1 to 10.
    """

    id: str
    participants: tuple[str, str]
    turns: tuple[Turn, ...]
    ratings: Mapping[str, float]


def rated_chitchat(skipped: Counter[str]) -> list[RatedConversation]:
    """Return the rated conversations of the installed ``chitchat-dataset``; the rest is counted in ``skipped``.

    Raises:
        UserError: the package is not installed or its file is broken.
    """
    path = chitchat_file()
    return read_rated(_records(path), skipped)


def read_rated(records: Iterable[Mapping[str, Any]], skipped: Counter[str]) -> list[RatedConversation]:
    """Return the conversations of two people whose rating was moved off the default; the rest is counted by reason.

    Raises:
        UserError: a rating is missing, no number, or not from 1 to 10.
    """
    rated = []
    for record in records:
        ratings = record.get("ratings")
        if not ratings:
            skipped["not rated"] += 1
            continue
        values = {name: _rating(record["id"], ratings, name) for name in RATINGS}
        turns = joined_turns(messages_of(record)) if fits_chitchat(record) else ()
        people = sorted({turn.speaker for turn in turns})
        if len(people) != 2:
            skipped["not two speakers"] += 1
        elif len(turns) < MIN_TURNS:
            skipped[f"fewer than {MIN_TURNS} turns"] += 1
        elif set(values.values()) == {UNTOUCHED}:
            skipped[f"all three ratings {UNTOUCHED}: untouched sliders"] += 1
        else:
            rated.append(RatedConversation(str(record["id"]), (people[0], people[1]), turns, values))
    return rated


def _rating(conversation: object, ratings: Mapping[str, Any], name: str) -> float:
    value = ratings.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 10:
        raise UserError(f"conversation {conversation}: rating {name} is {value!r}, expected a number from 1 to 10")
    return float(value)


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); pip install --force-reinstall chitchat-dataset") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: found {type(content).__name__}, expected an object of conversations by id")
    return [{**record, "id": name} for name, record in content.items()]
