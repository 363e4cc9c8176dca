"""What people think of replies, kept in files: preference pairs, and single ratings beside them.

A pair needs two replies to one context. A vote side by side is one; likes and dislikes become one as soon as a liked
and a disliked reply to the same context meet (dislike, retry, like). Every single rating is kept too, in a file beside.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

from personatune.dialogue import VOTE, Context, PreferencePair
from personatune.storage import append_jsonl, read_jsonl, write_jsonl


class Ballots:
    """The two files; all tabs of a demo write to the same ones.

    Args:
        file: of pairs, as ``preferences.votes`` reads them. Ratings stand beside it (``votes.ratings.jsonl``).
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.ratings_file = file.with_suffix(".ratings.jsonl")
        self._lock = Lock()

    def vote(self, context: Context, chosen: str, rejected: str, origin: str) -> bool:
        """Save that one reply is better than another; False where they are the same words, which tells nothing.

        Raises:
            UserError: the file can't be written.
        """
        if chosen.strip() == rejected.strip():
            return False
        self.add(self.file, PreferencePair(context, chosen, rejected, VOTE, f"web demo, {origin}").to_json())
        return True

    def add(self, file: Path, row: dict[str, Any]) -> None:
        """Add a row to one of the files."""
        with self._lock:
            append_jsonl(file, row)

    def take_back(self, file: Path, row: dict[str, Any]) -> None:
        """Take the last row like this out of one of the files; nothing happens where there is none."""
        with self._lock:
            rows = read_jsonl(file) if file.is_file() else []
            if row in rows:
                place = len(rows) - 1 - rows[::-1].index(row)
                write_jsonl(file, rows[:place] + rows[place + 1 :])


class Ratings:
    """Likes and dislikes of one tab, and the pairs they make.

    A rating that is changed or taken back takes what it wrote with it.
    """

    def __init__(self, ballots: Ballots) -> None:
        self._ballots = ballots
        self._liked: dict[Context, dict[str, tuple[bool, str]]] = {}

    def of(self, context: Context, reply: str) -> bool | None:
        """Return whether a reply is liked; None where nobody said."""
        rated = self._liked.get(context, {}).get(reply)
        return rated[0] if rated else None

    def rate(self, context: Context, reply: str, liked: bool | None, model: str) -> int:
        """Keep a rating (None takes it back) and return how many pairs the reply is part of now.

        Raises:
            UserError: a file can't be written.
        """
        before = self._liked.get(context, {}).get(reply)
        if before is not None:
            for file, row in self._rows(context, reply, *before):
                self._ballots.take_back(file, row)
            del self._liked[context][reply]
        if liked is None:
            return 0
        rows = list(self._rows(context, reply, liked, model))
        for file, row in rows:
            self._ballots.add(file, row)
        self._liked.setdefault(context, {})[reply] = (liked, model)
        return len(rows) - 1

    def _rows(self, context: Context, reply: str, liked: bool, model: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield the file and row of a rating, then of each pair that it makes with ratings of the other kind."""
        rating = {"context": context.to_json(), "reply": reply, "liked": liked, "origin": f"web demo | {model}"}
        yield self._ballots.ratings_file, rating
        for other, (liked_too, others_model) in self._liked.get(context, {}).items():
            if liked_too == liked or other.strip() == reply.strip():
                continue
            better, worse = (reply, other) if liked else (other, reply)
            models = (model, others_model) if liked else (others_model, model)
            origin = f"web demo, liked and disliked | {models[0]} > {models[1]}"
            yield self._ballots.file, PreferencePair(context, better, worse, VOTE, origin).to_json()
