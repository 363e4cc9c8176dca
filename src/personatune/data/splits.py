"""Training, validation and test data that share no persona sentence."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from personatune.data.sentence_links import Links
from personatune.dialogue import Dialogue, Persona, Perspective

_HELD_OUT = ("test", "validation")  # the more held-out first
# A component of sentences may fill at most this part of a held-out split, so that the split stays a mixture.
_LARGEST_PART = 0.25
_OFFICIAL = "dropped: shares a persona sentence with held-out rows of the source"
_PARTNER = "dropped: the partner is held out"
_NO_LETTER = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Splits:
    """Perspectives by use; ``dropped`` counts those in none of the three, by reason."""

    train: list[Perspective]
    validation: list[Perspective]
    test: list[Perspective]
    dropped: Counter[str]


def sentence_key(sentence: str) -> str:
    """Return what makes two persona sentences the same: their letters and digits ("I'm 32." = "i m 32")."""
    return _NO_LETTER.sub("", sentence.lower())


def split_by_persona(dialogues: Sequence[Dialogue], validation_share: float, test_share: float, seed: int) -> Splits:
    """Split the perspectives of dialogues so that no persona sentence crosses; how, see `PersonaSplit`."""
    split = PersonaSplit()
    for dialogue in dialogues:
        split.add(dialogue)
    split.decide(validation_share, test_share, seed)
    parts: dict[str, list[Perspective]] = {"train": [], "validation": [], "test": []}
    dropped: Counter[str] = Counter()
    for dialogue, places in zip(dialogues, split.places(), strict=True):
        for speaker, place in places:
            if place in parts:
                parts[place].append(dialogue.seen_by(speaker))
            else:
                dropped[place] += 1
    return Splits(parts["train"], parts["validation"], parts["test"], dropped)


class PersonaSplit:
    """Decides for every perspective where it goes, after having seen each dialogue once.

    1. Rows the source itself calls validation or test become test; other personas with one of their sentences are
       dropped.
    2. The rest falls into components that share no sentence (union-find). Small ones, in seeded order, fill test and
       validation up to their shares of the perspectives; giant ones train.
    3. Where small components don't suffice, single personas are held out and training ones that share a sentence with
       them are dropped.
    4. A dialogue whose two speakers fall into different splits is seen only from the more held-out side.

    Kept are the different sentences, and numbers: personas of the same sentences share one, and where it goes.
    """

    def __init__(self) -> None:
        self._links = Links()
        self._speakers: dict[str, int] = {}
        self._dialogues = array("B")  # perspectives of each dialogue; with 128 added where the source holds it out
        self._views = array("I")  # the persona of each perspective
        self._names = array("I")  # its speaker
        self._place: list[str] = []  # of each persona

    def add(self, dialogue: Dialogue) -> None:
        """Take note of a dialogue."""
        before = len(self._views)
        for speaker in dialogue.speakers():
            self._views.append(self._links.add(map(sentence_key, dialogue.personas[speaker].traits)))
            self._names.append(self._speakers.setdefault(speaker, len(self._speakers)))
        self._dialogues.append(len(self._views) - before + (128 if dialogue.split in _HELD_OUT else 0))

    def decide(self, validation_share: float, test_share: float, seed: int) -> None:
        """Choose a place for every persona."""
        links = self._links
        official = [False] * len(links)
        free = [0] * len(links)  # perspectives that the source says nothing of
        for views, held_out in self._rows():
            for persona in views:
                official[persona] |= held_out
                free[persona] += not held_out
        known = {key for persona, held_out in enumerate(official) if held_out for key in links.keys(persona)}
        self._place = ["train"] * len(links)
        for persona in range(len(links)):
            if not known.isdisjoint(links.keys(persona)):
                self._place[persona], free[persona] = _OFFICIAL, 0
        shares = {"test": 0.0 if any(official) else test_share, "validation": validation_share}
        self._assign(free, shares, seed)

    def places(self) -> Iterator[list[tuple[str, str]]]:
        """Yield for each dialogue, in the order they were added, its speakers with a persona and where each goes.

        A place is "train", "validation", "test", or a reason that begins with "dropped: ".
        """
        speakers = list(self._speakers)
        begin = 0
        for views, held_out in self._rows():
            places = ["test" if held_out else self._place[persona] for persona in views]
            strictest = next((name for name in _HELD_OUT if name in places), None)
            if strictest:  # its words shall be in one split
                places = [_PARTNER if place != strictest and place in ("train", "validation") else place
                          for place in places]  # fmt: skip
            names = self._names[begin : begin + len(places)]
            begin += len(places)
            yield [(speakers[name], place) for name, place in zip(names, places, strict=True)]

    def leaks(self) -> list[str]:
        """Return the persona sentences (as keys) that are in more than one split; must be empty."""
        found: list[set[int]] = [set(), set(), set()]
        for persona, place in enumerate(self._place):
            if place in ("train", *_HELD_OUT):
                found[("train", *_HELD_OUT).index(place)].update(self._links.keys(persona))
        for views, held_out in self._rows():
            if held_out:
                found[1].update(key for persona in views for key in self._links.keys(persona))
        crossing = (found[0] & found[1]) | (found[0] & found[2]) | (found[1] & found[2])
        return sorted(map(self._links.sentence, crossing))

    def _rows(self) -> Iterator[tuple[array[int], bool]]:
        begin = 0
        for mark in self._dialogues:
            count = mark & 127
            yield self._views[begin : begin + count], mark > 127
            begin += count

    def _assign(self, free: Sequence[int], shares: dict[str, float], seed: int) -> None:
        """Hold out what the shares ask for, of personas with free perspectives."""
        trained = sum(free)
        wanted = {name: round(share * trained) for name, share in shares.items()}
        if trained >= 3:
            wanted = {name: max(1, count) if shares[name] else 0 for name, count in wanted.items()}
        filled = dict.fromkeys(_HELD_OUT, 0)
        components = self._links.components([persona for persona, views in enumerate(free) if views])
        for component in sorted(components, key=lambda part: _order(self._links.least(part), seed)):
            size = sum(free[persona] for persona in component)
            for name in _HELD_OUT:
                room = wanted[name] - filled[name]
                if 0 < size <= min(room, max(1, wanted[name] * _LARGEST_PART)) and size < trained:
                    for persona in component:
                        self._place[persona] = name
                    filled[name] += size
                    trained -= size
                    break
        for name in _HELD_OUT:
            if filled[name] < 0.5 * wanted[name]:
                self._hold_out_single(name, wanted[name] - filled[name], free, seed)

    def _hold_out_single(self, name: str, count: int, free: Sequence[int], seed: int) -> None:
        """Hold out ``count`` training perspectives, rarest sentences first, and drop those that share one with them."""
        links = self._links
        training = [persona for persona, views in enumerate(free) if views and self._place[persona] == "train"]
        uses: Counter[int] = Counter()
        for persona in training:
            for key in links.keys(persona):
                uses[key] += free[persona]
        by_rarity: dict[float, list[int]] = defaultdict(list)
        for persona in training:
            keys = links.keys(persona)
            by_rarity[sum(uses[key] for key in keys) / len(keys)].append(persona)
        held: set[int] = set()
        taken, left = 0, len(training) - 1  # something must be left to train on
        for rarity in sorted(by_rarity):
            for persona in sorted(by_rarity[rarity], key=lambda one: _order(" ".join(links.sentences(one)), seed)):
                if taken >= count or not left:
                    break
                held.update(links.keys(persona))
                taken += free[persona]
                left -= 1
                self._place[persona] = name
            if taken >= count or not left:
                break
        for persona in training:
            keys = links.keys(persona)
            if self._place[persona] == "train" and not held.isdisjoint(keys):
                inside = held.issuperset(keys)
                self._place[persona] = name if inside else f"dropped: shares a persona sentence with {name}"


def leakage(splits: Splits) -> list[str]:
    """Return the persona sentences (as keys) found in more than one split; must be empty."""
    seen = [
        {key for view in part for key in _keys(view.persona)} for part in (splits.train, splits.validation, splits.test)
    ]
    return sorted((seen[0] & seen[1]) | (seen[0] & seen[2]) | (seen[1] & seen[2]))


def _keys(persona: Persona) -> frozenset[str]:
    return frozenset(filter(None, map(sentence_key, persona.traits)))


def sentence_components(indices: Iterable[int], keys: Sequence[frozenset[str]]) -> list[list[int]]:
    """Group perspectives that are linked by shared sentences."""
    links = Links()
    indices = list(indices)
    personas = [links.add(keys[index]) for index in indices]
    members: dict[int, list[int]] = defaultdict(list)
    for index, persona in zip(indices, personas, strict=True):
        members[persona].append(index)
    return [sorted(index for persona in part for index in members[persona]) for part in links.components(list(members))]


def _order(text: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}/{text}".encode(), digest_size=8).hexdigest()
