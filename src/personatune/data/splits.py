"""Training, validation and test data that share no persona sentence."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from personatune.dialogue import Dialogue, Persona, Perspective

_HELD_OUT = ("test", "validation")  # the more held-out first
# A component of sentences may fill at most this part of a held-out split, so that the split stays a mixture.
_LARGEST_PART = 0.25


@dataclass(frozen=True, slots=True)
class Splits:
    """Perspectives by use; ``dropped`` counts those in none of the three, by reason."""

    train: list[Perspective]
    validation: list[Perspective]
    test: list[Perspective]
    dropped: Counter[str]


def sentence_key(sentence: str) -> str:
    """Return what makes two persona sentences the same: their letters and digits ("I'm 32." = "i m 32")."""
    return "".join(character for character in sentence.lower() if character.isalnum())


def split_by_persona(dialogues: Sequence[Dialogue], validation_share: float, test_share: float, seed: int) -> Splits:
    """Split the perspectives of dialogues so that no persona sentence crosses.

    1. Rows the source itself calls validation or test become test; other personas with one of their sentences are
       dropped.
    2. The rest falls into components that share no sentence (union-find). Small ones, in seeded order, fill test and
       validation up to their shares of the perspectives; giant ones train.
    3. Where small components don't suffice, single personas are held out and training ones that share a sentence with
       them are dropped.
    4. A dialogue whose two speakers fall into different splits is seen only from the more held-out side.
    """
    rows = [(dialogue, view) for dialogue in dialogues for view in dialogue.perspectives()]
    keys = [_keys(view.persona) for _, view in rows]
    dropped: Counter[str] = Counter()
    where: list[str | None] = ["test" if dialogue.split in _HELD_OUT else None for dialogue, _ in rows]
    official = {key for index, place in enumerate(where) if place for key in keys[index]}
    free: list[int] = []
    for index, place in enumerate(where):
        if place is None and not official.isdisjoint(keys[index]):
            where[index] = "dropped: shares a persona sentence with held-out rows of the source"
        elif place is None:
            free.append(index)
    shares = {"test": 0.0 if official else test_share, "validation": validation_share}
    for index, place in _assign(free, keys, shares, seed).items():
        where[index] = place
    _keep_held_out_side(rows, where)
    chosen: dict[str, list[Perspective]] = {"train": [], "validation": [], "test": []}
    for (_, view), place in zip(rows, where, strict=True):
        if place in chosen:
            chosen[place].append(view)
        else:
            dropped[str(place)] += 1
    return Splits(chosen["train"], chosen["validation"], chosen["test"], dropped)


def leakage(splits: Splits) -> list[str]:
    """Return the persona sentences (as keys) found in more than one split; must be empty."""
    seen = [
        {key for view in part for key in _keys(view.persona)} for part in (splits.train, splits.validation, splits.test)
    ]
    return sorted((seen[0] & seen[1]) | (seen[0] & seen[2]) | (seen[1] & seen[2]))


def _keys(persona: Persona) -> frozenset[str]:
    return frozenset(filter(None, map(sentence_key, persona.traits)))


def _assign(free: list[int], keys: Sequence[frozenset[str]], shares: dict[str, float], seed: int) -> dict[int, str]:
    """Return the split of every perspective in ``free``."""
    wanted = {name: round(share * len(free)) for name, share in shares.items()}
    if len(free) >= 3:
        wanted = {name: max(1, count) if shares[name] else 0 for name, count in wanted.items()}
    place = dict.fromkeys(free, "train")
    filled = dict.fromkeys(_HELD_OUT, 0)
    components = sorted(
        sentence_components(free, keys), key=lambda part: _order(min(min(keys[i], default="") for i in part), seed)
    )
    trained = len(free)
    for component in components:
        for name in _HELD_OUT:
            room = wanted[name] - filled[name]
            if 0 < len(component) <= min(room, max(1, wanted[name] * _LARGEST_PART)) and len(component) < trained:
                place.update(dict.fromkeys(component, name))
                filled[name] += len(component)
                trained -= len(component)
                break
    for name in _HELD_OUT:
        if filled[name] < 0.5 * wanted[name]:
            _hold_out_single(name, wanted[name] - filled[name], place, keys, seed)
    return place


def _hold_out_single(name: str, count: int, place: dict[int, str], keys: Sequence[frozenset[str]], seed: int) -> None:
    """Hold out ``count`` training perspectives, rarest sentences first, and drop those that share one with them."""
    training = [index for index, where in place.items() if where == "train"]
    uses = Counter(key for index in training for key in keys[index])
    personas: dict[frozenset[str], list[int]] = defaultdict(list)
    for index in training:
        personas[keys[index]].append(index)
    ranked = sorted(
        personas,
        key=lambda persona: (sum(uses[key] for key in persona) / len(persona), _order(" ".join(sorted(persona)), seed)),
    )
    held: set[str] = set()
    taken = 0
    for persona in ranked[:-1]:  # something must be left to train on
        if taken >= count:
            break
        held |= persona
        taken += len(personas[persona])
        place.update(dict.fromkeys(personas[persona], name))
    for persona, members in personas.items():
        if place[members[0]] == "train" and not held.isdisjoint(persona):
            inside = persona <= held
            place.update(dict.fromkeys(members, name if inside else f"dropped: shares a persona sentence with {name}"))


def sentence_components(indices: Iterable[int], keys: Sequence[frozenset[str]]) -> list[list[int]]:
    """Group perspectives that are linked by shared sentences."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    indices = list(indices)
    for index in indices:
        first, *others = sorted(keys[index]) or [f"\0{index}"]
        for key in others:
            parent[root(key)] = root(first)
        root(first)
    members: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        members[root(min(keys[index]) if keys[index] else f"\0{index}")].append(index)
    return list(members.values())


def _order(text: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}/{text}".encode(), digest_size=8).hexdigest()


def _keep_held_out_side(rows: Sequence[tuple[Dialogue, Perspective]], where: list[str | None]) -> None:
    """Leave a dialogue only to its most held-out perspective, so that its words are in one split."""
    views: dict[int, list[int]] = defaultdict(list)
    for index, (dialogue, _) in enumerate(rows):
        views[id(dialogue)].append(index)
    for members in views.values():
        places = {where[index] for index in members}
        strictest = next((name for name in _HELD_OUT if name in places), None)
        for index in members:
            if strictest and where[index] != strictest and where[index] in ("train", "validation"):
                where[index] = "dropped: the partner is held out"
