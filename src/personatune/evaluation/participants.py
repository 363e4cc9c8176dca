"""Splits of conversations between pairs of people that never show a person on both sides.

People who chat with many others tie nearly all conversations into one component, so a split by component is no split.
What lies between two sides is left out instead, or, in cross-validation, tested with weights that saw neither person.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from personatune.errors import UserError
from personatune.intervals import resample_counts

Pair = tuple[str, str]
Indices = NDArray[np.intp]


def hold_out_people(pairs: Sequence[Pair], share: float, seed: int, starts: int = 20) -> tuple[Indices, Indices]:
    """Return the conversations to work on and the ones to keep aside, with nobody in both.

    A group of people grows from one of them, always by who has the largest share of their conversations inside, until
    it holds ``share`` of all conversations. Of ``starts`` groups the one with fewest conversations across its border is
    taken; those are in neither set.
    """
    people = sorted({person for pair in pairs for person in pair}, reverse=True)
    number = {person: place for place, person in enumerate(people)}
    sides = np.asarray([[number[a], number[b]] for a, b in pairs], dtype=np.intp).reshape(-1, 2)
    met = np.zeros((len(people), len(people)))  # conversations of each two people
    np.add.at(met, (sides[:, 0], sides[:, 1]), 1)
    met += met.T
    rng = random.Random(seed)
    firsts = [number[rng.choice(people[::-1])] for _ in range(starts)]
    inside = [_grown(first, met, share * len(pairs))[sides].sum(axis=1) for first in firsts]
    fewest_across = min(inside, key=lambda members: int((members == 1).sum()))
    return np.flatnonzero(fewest_across == 0), np.flatnonzero(fewest_across == 2)


def participant_folds(pairs: Sequence[Pair], groups: int, seed: int) -> list[tuple[Indices, Indices]]:
    """Return (train, test) indices: every conversation is tested once, by what neither of its two people was part of.

    People are dealt to ``groups`` of about equally many conversations. The conversations between two groups (or within
    one) are a test block; its training set are the conversations that touch neither group.

    Raises:
        UserError: too few people to leave a training set for some block.
    """
    rng = random.Random(seed)
    counts = Counter(person for pair in pairs for person in pair)
    people = sorted(counts)
    rng.shuffle(people)
    group_of: dict[str, int] = {}
    loads = [0] * groups
    for person in sorted(people, key=lambda person: -counts[person]):
        lightest = loads.index(min(loads))
        group_of[person] = lightest
        loads[lightest] += counts[person]
    sides = np.asarray([[group_of[a], group_of[b]] for a, b in pairs]).reshape(-1, 2)
    folds = list(_blocks(sides, groups))
    if any(not len(train) for train, _ in folds):
        raise UserError(f"{len(pairs)} conversations of {len(people)} people leave a fold without training data")
    return folds


def people_draws(pairs: Sequence[Pair], samples: int, seed: int) -> list[Indices]:
    """Return the conversations of resampled people, one array a resample.

    A conversation comes as often as the product of how often its two people were drawn (the pigeonhole bootstrap of
    Owen, 2007). Resamples without any conversation are left out.
    """
    people = {person: place for place, person in enumerate(sorted({person for pair in pairs for person in pair}))}
    sides = np.asarray([[people[a], people[b]] for a, b in pairs], dtype=np.intp).reshape(-1, 2)
    drawn = resample_counts(len(people), samples, seed)
    times = drawn[:, sides[:, 0]] * drawn[:, sides[:, 1]]
    return [np.repeat(np.arange(len(pairs)), row) for row in times if row.any()]


def _blocks(sides: NDArray[np.int_], groups: int) -> Iterator[tuple[Indices, Indices]]:
    for block in combinations_with_replacement(range(groups), 2):
        test = np.flatnonzero((np.sort(sides, axis=1) == block).all(axis=1))
        if len(test):
            yield np.flatnonzero(~np.isin(sides, block).any(axis=1)), test


def _grown(first: int, met: NDArray[np.float64], wanted: float) -> NDArray[np.int_]:
    """Return 1 for the members of a group that holds ``wanted`` conversations, 0 for the others, (people,)."""
    member = np.zeros(len(met), dtype=np.int_)
    member[first] = 1
    links, degrees, inside = met[first].copy(), met.sum(axis=1), 0.0
    while inside < wanted and not member.all():
        # Largest share of own conversations inside; the tiny term breaks ties by their number.
        joins = int(np.argmax(np.where(member, -1.0, links / degrees + 1e-9 * links)))
        inside += links[joins]
        member[joins] = 1
        links += met[joins]
    return member
