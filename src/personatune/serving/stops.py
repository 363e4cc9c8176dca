"""Ends a streamed reply at a string, without ever showing a part of that string."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence


class UntilStop:
    """The pieces of a reply up to the first of some strings, which is left out.

    What may be the beginning of such a string is held back until it is known. Iterate over it once.

    Attributes:
        met: whether one of the strings came.
    """

    def __init__(self, pieces: Iterable[str], stops: Sequence[str]) -> None:
        self._pieces = pieces
        self._stops = stops
        self.met = False

    def __iter__(self) -> Generator[str, None, None]:
        held = ""
        for piece in self._pieces:
            held += piece
            found = [place for stop in self._stops if (place := held.find(stop)) >= 0]
            if found:
                self.met = True
                if text := held[: min(found)]:
                    yield text
                return
            keep = self._open_end(held)
            if text := held[: len(held) - keep]:
                yield text
            held = held[len(held) - keep :]
        if held:
            yield held

    def _open_end(self, text: str) -> int:
        """Return how many characters at the end of ``text`` begin one of the strings."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        sizes = range(min(longest, len(text)), 0, -1)
        return next((size for size in sizes if any(stop.startswith(text[-size:]) for stop in self._stops)), 0)
