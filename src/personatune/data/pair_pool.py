"""All sentences of the personas and chats, indexed, and one draw for each kind of pair.

Every draw returns two sentences, or None where what was drawn makes no sure pair of its kind.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from personatune.data.chat_sentences import chat_sentences, family, keywords, restates, tells_of_self
from personatune.data.contradictions import contradict
from personatune.data.pair_wording import clashing_classes, rendered
from personatune.data.triples import Triple, plain_sentence, triple_of
from personatune.dialogue import Perspective

_FAVOURITES_SHARE = 0.4  # of the conflicting values; there are far more kinds of favourites than of other such facts
_MOST_SMALL_TALK = 20_000


@dataclass(frozen=True, slots=True)
class _Said:
    """A sentence with its triple; ``trait`` if it stands in a persona, else it was said in a chat."""

    text: str
    triple: Triple
    trait: bool


class PairPool:
    """All sentences, indexed by what the kinds of pairs look for."""

    def __init__(self, perspectives: Sequence[Perspective], rng: random.Random) -> None:
        self.rng = rng
        self.personas: list[tuple[str, ...]] = list(dict.fromkeys(item.persona.traits for item in perspectives))
        self.small: list[str] = []
        self.grounded: list[tuple[str, str]] = []
        self.said: list[_Said] = []
        self.by_triple: dict[tuple[str, str, frozenset[str], bool], list[_Said]] = defaultdict(list)
        self.by_relation: dict[tuple[str, str], list[_Said]] = defaultdict(list)
        self.by_word: dict[str, list[_Said]] = defaultdict(list)
        known: set[str] = set()
        for traits in self.personas:
            for trait in traits:
                self._add(trait, known, is_trait=True)
        for perspective in perspectives:
            self._read_chat(perspective, known)
        self.repeated = [key for key, items in self.by_triple.items() if len(items) > 1]
        self.conflicting = [key for key, items in self.by_relation.items() if _can_conflict(items)]
        self.conflicting_favourites = [key for key in self.conflicting if key[1].startswith("favourite ")]
        self.conflicting = [key for key in self.conflicting if not key[1].startswith("favourite ")]
        self.relations = [key for key, items in self.by_relation.items() if len(items) > 1]
        self.shared_words = [word for word, items in self.by_word.items() if len(items) > 1]
        self.both_ways = [key for key in self.by_triple if (*key[:3], not key[3]) in self.by_triple]
        self.traits = [s for s in self.said if s.trait]
        self.favourites = [s for s in self.said if s.triple.relation.startswith("favourite ") and s.triple.affirmed]
        self.likes = [s for s in self.said if s.triple.relation == "like" and s.triple.affirmed]
        self.counted = [s for s in self.said if s.triple.count is not None]
        self.classes = clashing_classes([s.text for s in self.said])

    def _add(self, sentence: str, known: set[str], *, is_trait: bool) -> None:
        key = plain_sentence(sentence)
        triple = triple_of(sentence)
        if key in known or triple is None or "[" in sentence:  # a placeholder where a name should stand
            return
        known.add(key)
        said = _Said(sentence, triple, is_trait)
        self.said.append(said)
        self.by_triple[(triple.who, triple.relation, triple.what, triple.affirmed)].append(said)
        self.by_relation[(triple.who, triple.relation)].append(said)
        for word in triple.what:
            self.by_word[word].append(said)

    def _read_chat(self, perspective: Perspective, known: set[str]) -> None:
        traits = perspective.persona.traits
        for turn in perspective.turns:
            for sentence in chat_sentences(turn.text):
                if turn.speaker != "self":
                    continue
                about = keywords(sentence)
                if "?" in sentence or not about:
                    if len(self.small) < _MOST_SMALL_TALK:
                        self.small.append(sentence)
                    continue
                if tells_of_self(sentence):
                    self._add(sentence, known, is_trait=False)
                for trait in traits:
                    if restates(sentence, about, trait):
                        self.grounded.append((trait, sentence))

    def _plain_fact(self) -> _Said:
        """A sentence to put into other words: mostly a trait; chats say the same at more length."""
        return self.rng.choice(self.traits if self.rng.random() < 0.7 else self.said)

    # --- entailment

    def same_triple(self) -> tuple[str, str] | None:
        first, second = self.rng.sample(self.by_triple[self.rng.choice(self.repeated)], 2)
        if None not in (first.triple.count, second.triple.count) and first.triple.count != second.triple.count:
            return None
        return first.text, second.text

    def said_in_chat(self) -> tuple[str, str] | None:
        return self.rng.choice(self.grounded) if self.grounded else None

    def reworded(self) -> tuple[str, str] | None:
        said = self._plain_fact()
        new = rendered(said.triple, affirmed=said.triple.affirmed, rng=self.rng)
        return (said.text, new) if new else None

    def favourite_is_liked(self) -> tuple[str, str] | None:
        said = self.rng.choice(self.favourites)
        liked = Triple("i", "like", said.triple.what, True, None, said.triple.text)
        new = rendered(liked, affirmed=True, rng=self.rng)
        return (said.text, new) if new else None

    def reworded_denial(self) -> tuple[str, str] | None:
        triple = self._plain_fact().triple
        first = rendered(triple, affirmed=False, rng=self.rng)
        second = rendered(triple, affirmed=False, rng=self.rng)
        return (first, second) if first and second and first != second else None

    # --- neutral

    def same_persona(self) -> tuple[str, str] | None:
        traits = self.rng.choice(self.personas)
        if len(traits) < 2:
            return None
        first, second = self.rng.sample(traits, 2)
        one, two = triple_of(first), triple_of(second)
        if one and two and one.who == two.who and one.same_thing(two):
            return None
        if keywords(first) & keywords(second):
            return None
        return first, second

    def same_word_other_relation(self) -> tuple[str, str] | None:
        first, second = self.rng.sample(self.by_word[self.rng.choice(self.shared_words)], 2)
        one, two = first.triple, second.triple
        if one.who == two.who and (family(one) == family(two) or one.affirmed != two.affirmed):
            return None
        return first.text, second.text

    def other_value(self) -> tuple[str, str] | None:
        first, second = self.rng.sample(self.by_relation[self.rng.choice(self.relations)], 2)
        if first.triple.exclusive or not first.triple.what.isdisjoint(second.triple.what):
            return None
        if first.triple.relation.startswith("kin") or first.triple.relation in {"lives_with", "be"}:
            return None
        return first.text, second.text

    def small_talk(self) -> tuple[str, str] | None:
        first = self.rng.choice(self.said)
        second = self.rng.choice(self.small)
        return None if keywords(first.text) & keywords(second) else (first.text, second)

    def strangers(self) -> tuple[str, str] | None:
        first, second = self.rng.sample(self.said, 2)
        one, two = first.triple, second.triple
        if (one.who, one.relation) == (two.who, two.relation) or keywords(first.text) & keywords(second.text):
            return None
        if self.classes.clash(first.text, second.text):
            return None
        return first.text, second.text

    def denial_of_something_else(self) -> tuple[str, str] | None:
        first, second = self._plain_fact(), self.rng.choice(self.said)
        denial = rendered(first.triple, affirmed=False, rng=self.rng)
        if not denial or keywords(first.text) & keywords(second.text):
            return None
        return None if self.classes.clash(denial, second.text) else (denial, second.text)

    # --- contradiction

    def conflicting_value(self) -> tuple[str, str] | None:
        keys = self.conflicting_favourites if self.rng.random() < _FAVOURITES_SHARE else self.conflicting
        if not keys:
            return None
        first, second = self.rng.sample(self.by_relation[self.rng.choice(keys)], 2)
        one, two = first.triple, second.triple
        if not (one.exclusive and two.exclusive) or not one.what.isdisjoint(two.what):
            return None
        if one.relation in {"lives_in", "from", "workplace", "study", "job"} and not one.groups() & two.groups():
            return None
        return first.text, second.text

    def opposed(self) -> tuple[str, str] | None:
        who, relation, what, affirmed = self.rng.choice(self.both_ways)
        first = self.rng.choice(self.by_triple[(who, relation, what, affirmed)])
        second = self.rng.choice(self.by_triple[(who, relation, what, not affirmed)])
        return first.text, second.text

    def turned_round(self) -> tuple[str, str] | None:
        trait, sentence = self.rng.choice(self.grounded)
        edit = contradict(sentence, [trait], self.rng)
        return (trait, edit.text) if edit else None

    def reworded_opposite(self) -> tuple[str, str] | None:
        said = self._plain_fact()
        new = rendered(said.triple, affirmed=not said.triple.affirmed, rng=self.rng)
        return (said.text, new) if new else None

    def other_number(self) -> tuple[str, str] | None:
        said = self.rng.choice(self.counted)
        edit = contradict(said.text, [said.text], self.rng, kinds=("number",))
        return (said.text, edit.text) if edit else None

    def clash(self) -> tuple[str, str] | None:
        return self.classes.draw(self.rng)


def _can_conflict(items: Sequence[_Said]) -> bool:
    return len(items) > 1 and any(said.triple.exclusive for said in items)
