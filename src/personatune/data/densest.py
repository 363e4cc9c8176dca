"""Which perspectives to train on when there are more than wanted: those where persona turns stand densest."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator

from personatune.dialogue import Perspective


class Densest:
    """Takes note of perspectives, some numbers each, and says which of them to keep.

    Of every persona the densest perspective comes first, then the second densest of each, and so on. Density is persona
    turns per word, so that time goes into what teaches; going round the personas keeps a few talkative speakers from
    filling the set.

    Args:
        seed: decides between perspectives of one density.
    """

    def __init__(self, limit: int, seed: int) -> None:
        self.limit = limit
        self.seed = seed
        self._numbers: dict[int, int] = {}
        self._places, self._personas = array("Q"), array("I")
        self._densities = array("d")

    def add(self, place: int, view: Perspective, persona_turns: int) -> None:
        """Take note of a perspective.

        Args:
            place: whatever finds it again.
            persona_turns: its number of turns that draw on the persona.
        """
        self._places.append(place)
        self._personas.append(self._numbers.setdefault(hash(frozenset(view.persona.traits)), len(self._numbers)))
        length = sum(len(text.split()) for text in view.persona.traits)  # of the training sequence, in words
        length += sum(len(turn.text.split()) for turn in view.turns)
        self._densities.append(persona_turns / length)

    def __len__(self) -> int:
        return len(self._places)

    def chosen(self) -> Iterator[int]:
        """Yield the places of those to keep, best first; all of them in their own order where the limit is no bound."""
        import numpy as np

        if len(self) <= self.limit:
            yield from self._places
            return
        draw = random.Random(self.seed)
        ties = np.array([draw.random() for _ in self._places])
        thinness, personas = -np.asarray(self._densities), np.asarray(self._personas)
        by_persona = np.lexsort((ties, thinness, personas))  # sorted by the last one first
        grouped = personas[by_persona]
        begins = np.concatenate(([0], np.flatnonzero(np.diff(grouped)) + 1))
        lengths = np.diff(np.append(begins, len(grouped)))
        rank = np.empty(len(grouped), dtype=np.int64)
        rank[by_persona] = np.arange(len(grouped)) - np.repeat(begins, lengths)
        for number in np.lexsort((ties, thinness, rank))[: self.limit].tolist():
            yield self._places[number]
