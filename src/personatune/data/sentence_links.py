"""Personas as sets of numbered sentences, and the groups of them that shared sentences tie together."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence


class Links:
    """Gives each persona (a set of sentence keys) a number; the same set has the same one.

    A persona costs about 150 bytes beside its new sentences, so that millions fit.
    """

    def __init__(self) -> None:
        self._sentences: dict[str, int] = {}
        self._numbers: dict[bytes, int] = {}
        self._keys = array("I")
        self._ends = array("Q", [0])
        self._texts: list[str] | None = None

    def add(self, sentences: Iterable[str]) -> int:
        """Return the number of the persona with these sentences; one without any is like no other."""
        keys = array("I", sorted({self._number(sentence) for sentence in sentences if sentence}))
        if not keys:
            keys.append(self._number(f"\0{len(self._sentences)}"))
        number = self._numbers.setdefault(keys.tobytes(), len(self._numbers))
        if number == len(self._ends) - 1:
            self._keys.extend(keys)
            self._ends.append(len(self._keys))
        return number

    def __len__(self) -> int:
        return len(self._ends) - 1

    def keys(self, persona: int) -> array[int]:
        """Return the numbers of a persona's sentences."""
        return self._keys[self._ends[persona] : self._ends[persona + 1]]

    def sentence(self, key: int) -> str:
        if self._texts is None or len(self._texts) < len(self._sentences):
            self._texts = list(self._sentences)  # the keys of a dictionary stand in the order of their numbers
        return self._texts[key].partition("\0")[0]

    def sentences(self, persona: int) -> list[str]:
        """Return a persona's sentences in alphabetical order."""
        return sorted(map(self.sentence, self.keys(persona)))

    def least(self, personas: Iterable[int]) -> str:
        """Return the alphabetically first sentence of personas."""
        return min(self.sentence(key) for persona in personas for key in self.keys(persona))

    def components(self, personas: Sequence[int]) -> list[list[int]]:
        """Group personas that shared sentences tie together, directly or over others (union-find)."""
        parent = array("I", range(len(self._sentences)))

        def root(key: int) -> int:
            while parent[key] != key:
                parent[key] = parent[parent[key]]
                key = parent[key]
            return key

        for persona in personas:
            first, *others = self.keys(persona)
            for key in others:
                parent[root(key)] = root(first)
        members: dict[int, list[int]] = defaultdict(list)
        for persona in personas:
            members[root(self.keys(persona)[0])].append(persona)
        return list(members.values())

    def _number(self, sentence: str) -> int:
        return self._sentences.setdefault(sentence, len(self._sentences))
