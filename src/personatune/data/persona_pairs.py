"""Pairs of persona sentences with a label, made from dialogues: what the critic learns besides general entailment.

In the spirit of Welleck et al. 2019 (arXiv 1811.00671): sentences are tied to triples (`triples.py`). The same triple
is entailed; another relation, or another thing where many are true, is neutral; an opposed relation, a conflicting
value or another number contradicts. Sentences come from personas and from what people said while playing them, so both
registers stand in the pairs.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from personatune.data.contradictions import contradict
from personatune.data.pair_wording import clashing_classes, rendered
from personatune.data.triples import Triple, plain_sentence, triple_of
from personatune.dialogue import Perspective
from personatune.words import keyword_stems, stem, words

Label = Literal["entailment", "neutral", "contradiction"]

KINDS: dict[str, tuple[Label, float]] = {
    "same triple": ("entailment", 0.34),
    "said in chat": ("entailment", 0.30),
    "reworded": ("entailment", 0.24),
    "favourite is liked": ("entailment", 0.06),
    "reworded denial": ("entailment", 0.06),
    "same persona": ("neutral", 0.22),
    "same word, other relation": ("neutral", 0.22),
    "other value": ("neutral", 0.16),
    "small talk": ("neutral", 0.18),
    "strangers": ("neutral", 0.12),
    "denial of something else": ("neutral", 0.10),
    "conflicting value": ("contradiction", 0.28),
    "opposed": ("contradiction", 0.20),
    "turned round": ("contradiction", 0.24),
    "reworded opposite": ("contradiction", 0.18),
    "other number": ("contradiction", 0.05),
    "clash": ("contradiction", 0.05),
}
"""Kind of pair to its label and its share of that label's pairs."""

_MAX_USES = 24  # pairs in which one sentence stands, so that no sentence gives its label away
_ASIDE = 9  # words of chatter around a fact
_ASIDE_AT_PREMISE = 0.7
_FAVOURITES_SHARE = 0.4  # of the conflicting values; there are far more kinds of favourites than of other such facts
_SHORTEST, _LONGEST = 2, 18  # words of a chat sentence


@dataclass(frozen=True, slots=True)
class SentencePair:
    """A premise, a hypothesis and what the one says of the other; ``kind`` is one of `KINDS`."""

    premise: str
    hypothesis: str
    label: Label
    kind: str


@dataclass(frozen=True, slots=True)
class _Said:
    """A sentence with its triple; ``trait`` if it stands in a persona, else it was said in a chat."""

    text: str
    triple: Triple
    trait: bool


def make_persona_pairs(perspectives: Sequence[Perspective], count: int, seed: int = 0) -> list[SentencePair]:
    """Return about ``count`` pairs, a third for each label, mixed by kind (`KINDS`) and shuffled.

    A kind that the dialogues hold too little of gives fewer pairs. Draws by ``seed``; the direction of a pair is
    random.
    """
    rng = random.Random(seed)
    pool = _Pool(perspectives, rng)
    makers: dict[str, Callable[[], tuple[str, str] | None]] = {
        "same triple": pool.same_triple,
        "said in chat": pool.said_in_chat,
        "reworded": pool.reworded,
        "favourite is liked": pool.favourite_is_liked,
        "reworded denial": pool.reworded_denial,
        "same persona": pool.same_persona,
        "same word, other relation": pool.same_word_other_relation,
        "other value": pool.other_value,
        "small talk": pool.small_talk,
        "strangers": pool.strangers,
        "denial of something else": pool.denial_of_something_else,
        "conflicting value": pool.conflicting_value,
        "opposed": pool.opposed,
        "turned round": pool.turned_round,
        "reworded opposite": pool.reworded_opposite,
        "other number": pool.other_number,
        "clash": pool.clash,
    }
    pairs: list[SentencePair] = []
    seen: set[frozenset[str]] = set()
    uses: Counter[str] = Counter()
    for kind, (label, share) in KINDS.items():
        for first, second in _drawn(makers[kind], round(share * count / 3)):
            key = frozenset((plain_sentence(first), plain_sentence(second)))
            if len(key) < 2 or key in seen or max(uses[first], uses[second]) >= _MAX_USES:
                continue
            seen.add(key)
            uses.update((first, second))
            premise, hypothesis = (first, second) if rng.random() < 0.5 else (second, first)
            pairs.append(SentencePair(premise, hypothesis, label, kind))
    rng.shuffle(pairs)
    return pairs


def chatter(perspectives: Sequence[Perspective], seed: int = 0) -> list[str]:
    """Return short sentences that people said beside the point: what stands around a fact in a chat line."""
    rng = random.Random(seed)
    lines = [
        turn.text
        for perspective in rng.sample(perspectives, min(2000, len(perspectives)))
        for turn in perspective.turns
    ]
    return sorted({sentence for line in lines for sentence in _sentences(line) if len(words(sentence)) <= _ASIDE})


def lengthened(pairs: Sequence[SentencePair], asides: Sequence[str], share: float, seed: int = 0) -> list[SentencePair]:
    """Return the pairs with a sentence of chatter put before or behind one side of ``share`` of them.

    People say more than one thing in a line; what they say beside the point changes no label. The chatter shares no
    keyword with the pair.
    """
    rng = random.Random(seed)
    return [_with_aside(pair, asides, rng) if rng.random() < share else pair for pair in pairs]


def _with_aside(pair: SentencePair, asides: Sequence[str], rng: random.Random) -> SentencePair:
    about = _keywords(pair.premise) | _keywords(pair.hypothesis)
    aside = next((text for text in rng.choices(asides, k=5) if about.isdisjoint(_keywords(text))), None)
    if aside is None:
        return pair
    at_premise, in_front = rng.random() < _ASIDE_AT_PREMISE, rng.random() < 0.5
    text = pair.premise if at_premise else pair.hypothesis
    if len(words(text)) > _LONGEST:
        return pair
    text = f"{aside} {text}" if in_front else f"{text} {aside}"
    sides = (text, pair.hypothesis) if at_premise else (pair.premise, text)
    return SentencePair(*sides, pair.label, pair.kind)


def _drawn(make: Callable[[], tuple[str, str] | None], wanted: int) -> Iterator[tuple[str, str]]:
    """Yield ``wanted`` pairs; give up after 20 attempts a pair."""
    made = 0
    for _ in range(wanted * 20):
        if made >= wanted:
            return
        pair = make()
        if pair:
            made += 1
            yield pair


class _Pool:
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
            for sentence in _sentences(turn.text):
                if turn.speaker != "self":
                    continue
                about = _keywords(sentence)
                if "?" in sentence or not about:
                    if len(self.small) < 20_000:
                        self.small.append(sentence)
                    continue
                if _tells_of_self(sentence):
                    self._add(sentence, known, is_trait=False)
                for trait in traits:
                    if _restates(sentence, about, trait):
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
        if _keywords(first) & _keywords(second):
            return None
        return first, second

    def same_word_other_relation(self) -> tuple[str, str] | None:
        first, second = self.rng.sample(self.by_word[self.rng.choice(self.shared_words)], 2)
        one, two = first.triple, second.triple
        if one.who == two.who and (_family(one) == _family(two) or one.affirmed != two.affirmed):
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
        return None if _keywords(first.text) & _keywords(second) else (first.text, second)

    def strangers(self) -> tuple[str, str] | None:
        first, second = self.rng.sample(self.said, 2)
        one, two = first.triple, second.triple
        if (one.who, one.relation) == (two.who, two.relation) or _keywords(first.text) & _keywords(second.text):
            return None
        if self.classes.clash(first.text, second.text):
            return None
        return first.text, second.text

    def denial_of_something_else(self) -> tuple[str, str] | None:
        first, second = self._plain_fact(), self.rng.choice(self.said)
        denial = rendered(first.triple, affirmed=False, rng=self.rng)
        if not denial or _keywords(first.text) & _keywords(second.text):
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


# A chat sentence stands on its own when it begins with its speaker and leans on nothing said before.
_BEGINS = re.compile(r"(?:i|my|we)\b")
_LEANS = re.compile(
    r"\b(?:you|your|yours|it|its|that|this|these|those|them|they|their|her|his|him|he|she|there|here|one|same|such|"
    r"something|someone|anything|everything|able to|sure|glad|sorry|guess|think|hear|agree|user)\b"
)


def _tells_of_self(sentence: str) -> bool:
    plain = plain_sentence(sentence)
    return bool(_BEGINS.match(plain)) and not _LEANS.search(plain)


def _can_conflict(items: Sequence[_Said]) -> bool:
    return len(items) > 1 and any(said.triple.exclusive for said in items)


_BETWEEN = re.compile(r"(?<=[.!?])\s+|\s+[.!;]\s*(?=\w)")


def _sentences(text: str) -> Iterator[str]:
    for sentence in _BETWEEN.split(text):
        if _SHORTEST <= len(words(sentence)) <= _LONGEST:
            yield sentence.strip()


def _keywords(sentence: str) -> frozenset[str]:
    return frozenset(keyword_stems(sentence))


_SELF = re.compile(r"\b(?:i|im|i'm|i've|my|we|our)\b", re.IGNORECASE)
_SOFT = frozenset(map(stem, "really much lot year years old new day play work live time big".split()))


def _restates(sentence: str, about: frozenset[str], trait: str) -> bool:
    """Say whether a chat sentence holds all that a trait says, about the speaker, with the trait's sign and number."""
    wanted = _keywords(trait) - _SOFT
    if len(wanted) < 1 or not wanted <= about or not _SELF.search(sentence):
        return False
    mine, theirs = triple_of(sentence), triple_of(trait)
    if mine is None or theirs is None or mine.who != theirs.who or mine.affirmed != theirs.affirmed:
        return False
    if None not in (mine.count, theirs.count) and mine.count != theirs.count:
        return False
    return _family(mine) == _family(theirs)


def _family(triple: Triple) -> str:
    """Relations that people use for one and the same fact."""
    if triple.relation.startswith("favourite") or triple.relation == "like":
        return "like"
    if triple.relation in {"job", "workplace", "be"}:
        return "be"
    if triple.relation in {"eat", "play", "watch", "do", "teach", "drive"}:
        return "do"
    return triple.relation
