"""Which entries of a card's lorebook are spoken of in the last turns.

By plain text search, never by a card's regular expressions: a stranger's pattern can hang a program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personatune.cards.decorators import Decorated, read_decorators
from personatune.cards.limits import MAX_LORE_PASSES, MAX_SCAN_DEPTH, MAX_SCANNED_CHARACTERS
from personatune.cards.macros import Macros
from personatune.cards.schema import Lorebook, LoreEntry
from personatune.dialogue import Turn

DEFAULT_SCAN_DEPTH = 4
"""Turns looked back over where the card doesn't say: the last two exchanges. The specifications leave it open."""


_MAX_OCCURRENCES = 20  # inside other words, before a key counts as not spoken of: a bound on what a card can cost


@dataclass(frozen=True, slots=True)
class LoreNote:
    """An entry made ready: decorators read, macros in its keys expanded."""

    entry: LoreEntry
    decorated: Decorated
    keys: tuple[str, ...]
    secondary_keys: tuple[str, ...]

    @property
    def content(self) -> str:
        return self.decorated.content

    def folded(self, text: str) -> str:
        """Return the text as keys are looked for in it: without capital letters, unless the entry heeds them."""
        return text if self.entry.heeds_case else text.casefold()


class LoreScanner:
    """Finds the entries that fire.

    Args:
        book: the card's lorebook; without one nothing fires.
        macros: for keys such as ``{{user}}``.
    """

    def __init__(self, book: Lorebook | None, macros: Macros) -> None:
        self._depth = DEFAULT_SCAN_DEPTH if book is None or book.scan_depth is None else book.scan_depth
        self._recursive = book is not None and book.recursive_scanning
        entries = [] if book is None else [entry for entry in book.entries if entry.enabled and entry.content.strip()]
        self.regex_entries = sum(entry.use_regex for entry in entries)
        """How many entries ask for regular expressions; they never fire."""
        self._notes = tuple(_note(entry, macros) for entry in entries if not entry.use_regex)

    def fired(self, history: Sequence[Turn], greeting: int = 0) -> list[LoreNote]:
        """Return the entries that fire, in the order they are inserted (`insertion_order`, then as written).

        Args:
            history: all turns so far, the latest last.
            greeting: the position of the greeting that opened the chat, 0 for `first_mes`.
        """
        replies = sum(turn.speaker == "self" for turn in history)
        waiting = [note for note in self._notes if _may_fire(note, replies, greeting)]
        fired: list[LoreNote] = []
        told = ""
        for _ in range(MAX_LORE_PASSES if self._recursive else 1):
            found = [note for note in waiting if self._matches(note, history, told)]
            if not found:
                break
            fired += found
            waiting = [note for note in waiting if not any(note is other for other in found)]
            told += "".join(f"\n{note.content}" for note in found)
        return sorted(fired, key=lambda note: note.entry.insertion_order)

    def _matches(self, note: LoreNote, history: Sequence[Turn], told: str) -> bool:
        entry, decorated = note.entry, note.decorated
        if entry.constant or "activate" in decorated.flags:
            return True
        depth = int(min(max(decorated.numbers.get("scan_depth", self._depth), 0), MAX_SCAN_DEPTH))
        turns = "\n".join(turn.text for turn in history[max(0, len(history) - depth) :]) if depth else ""
        text = note.folded(turns[-MAX_SCANNED_CHARACTERS:] + told[-MAX_SCANNED_CHARACTERS:])

        def spoken(keys: Sequence[str]) -> bool:
            return any(is_spoken(note.folded(key), text) for key in keys)

        if not spoken(note.keys) or (entry.selective and note.secondary_keys and not spoken(note.secondary_keys)):
            return False
        more, less = (decorated.lists.get(name, ()) for name in ("additional_keys", "exclude_keys"))
        return not (more and not spoken(more)) and not spoken(less)


def is_spoken(key: str, text: str) -> bool:
    """Say whether a key stands in a text as a word of its own ("art" isn't spoken of in "start").

    Scripts without spaces between words have no capital letters either: there a key counts anywhere.
    """
    key = key.strip()
    start = text.find(key) if key else -1
    for _ in range(_MAX_OCCURRENCES):
        if start < 0:
            break
        end = start + len(key)
        if not (_joined(text[start - 1 : start], key[0]) or _joined(key[-1], text[end : end + 1])):
            return True
        start = text.find(key, start + 1)
    return False


def _joined(left: str, right: str) -> bool:
    """Say whether two characters (or none) belong to one word."""
    return all(side != "" and (side.isdigit() or side.lower() != side.upper()) for side in (left, right))


def _may_fire(note: LoreNote, replies: int, greeting: int) -> bool:
    decorated = note.decorated
    if "activate" in decorated.flags:
        return True
    if "dont_activate" in decorated.flags or not note.content:
        return False
    if replies < decorated.numbers.get("activate_only_after", 0):
        return False
    every = decorated.numbers.get("activate_only_every", 1)
    if every and replies % every:
        return False
    return decorated.numbers.get("is_greeting", greeting) == greeting


def _note(entry: LoreEntry, macros: Macros) -> LoreNote:
    keys, secondary = (tuple(macros.expand(key) for key in keys) for keys in (entry.keys, entry.secondary_keys))
    return LoreNote(entry, read_decorators(entry.content), keys, secondary)
