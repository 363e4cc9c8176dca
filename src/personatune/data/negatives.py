"""Hard negatives: replies that are fluent and as long as the good one, and wrong for this persona or this moment.

The pool is built of real turns, so that casing, punctuation and length give no kind away.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from personatune.data.chat_sentences import family
from personatune.data.contradictions import agrees_in_polarity
from personatune.data.grounding import WEAK_STEMS, persona_turns
from personatune.data.stances import contradicts, stated
from personatune.data.triples import Triple, triple_of
from personatune.dialogue import Context, Perspective
from personatune.words import keyword_stems, words

_POOL = 20_000  # replies read at most: enough for thousands of pairs, seconds to build
_REUSE = 2  # times one human reply is rejected at most, so that it isn't learnt by heart
_LIKE_LINE = 0.25  # cosine from which a partner's line counts as the same question


@dataclass(frozen=True, slots=True)
class Reply:
    """A human reply with all that the choice of a negative looks at.

    Attributes:
        drawn: the traits it draws on and doesn't deny; empty for small talk.
        line: what the partner said before.
        told: keyword stems of the reply, ``asked`` those of the line, ``persona`` those of all traits.
        length: words.
        later: what the partner says after it, after the speaker's next turn, and so on.
    """

    origin: str
    context: Context
    text: str
    drawn: tuple[str, ...]
    line: str
    told: frozenset[str]
    asked: frozenset[str]
    persona: frozenset[str]
    length: int
    later: tuple[str, ...] = ()


def drawn_traits(text: str, traits: Iterable[str]) -> tuple[str, ...]:
    """Return the traits that a reply speaks of: by a keyword that isn't common in small talk, if the trait has one."""
    said = frozenset(keyword_stems(text))
    return tuple(trait for trait in traits if not said.isdisjoint(telling_stems(trait)))


def telling_stems(trait: str) -> frozenset[str]:
    """Return a trait's keyword stems without those common in small talk, unless it has no others."""
    found = frozenset(keyword_stems(trait))
    return found - WEAK_STEMS or found


_SELF = re.compile(r"\b(?:i|i[’']m|i[’']ve|i[’']d|im|ive|my|me|mine|we|we[’']re|we[’']ve|our)\b", re.IGNORECASE)
_HEARSAY = re.compile(r"\bheard\b|\bcheck (?:it|that|them|him|her|out)\b|\blook (?:it|them) up\b", re.IGNORECASE)


def tells_of_self(text: str, line: str, traits: Iterable[str]) -> bool:
    """Say whether a sentence with a persona keyword tells something of the speaker.

    A question ("What do you think about dogs?") doesn't, nor does a remark on what the partner said ("I've heard good
    things about those books."); a sentence without "I" does when it answers a question ("At a hospital.").
    """
    telling = frozenset(word for trait in traits for word in telling_stems(trait))
    for sentence in re.findall(r"[^.!?]+[.!?]*", text):
        if not telling.isdisjoint(keyword_stems(sentence)) and "?" not in sentence and not _HEARSAY.search(sentence):
            return bool(_SELF.search(sentence)) or ends_asking(line)
    return False


def read_replies(perspectives: Sequence[Perspective], max_history: int, rng: random.Random) -> list[Reply]:
    """Return the replies of the perspectives in a random order, at most 20,000, each with its cut history."""
    order = list(perspectives)
    rng.shuffle(order)
    replies: list[Reply] = []
    for perspective in order:
        marks = persona_turns(perspective)
        persona = frozenset(word for trait in perspective.persona.traits for word in keyword_stems(trait))
        for index, turn in enumerate(perspective.turns):
            before = perspective.turns[index - 1] if index else None
            text = " ".join(turn.text.split())
            if turn.speaker != "self" or before is None or before.speaker != "partner" or not words(text):
                continue
            drawn: tuple[str, ...] = ()
            if marks[index] and tells_of_self(text, before.text, perspective.persona.traits):
                traits = drawn_traits(text, perspective.persona.traits)
                drawn = tuple(trait for trait in traits if agrees_in_polarity(text, trait))
                if len(drawn) < len(traits):
                    drawn = ()  # denies one of its traits: neither a good reply nor a clear negative
            replies.append(
                Reply(
                    f"{perspective.id}#{index}",
                    Context(perspective.persona, cut_history(perspective.turns[:index], max_history)),
                    text,
                    drawn,
                    before.text,
                    frozenset(keyword_stems(text)),
                    frozenset(keyword_stems(before.text)),
                    persona,
                    len(words(text)),
                    _later_lines(perspective.turns[index + 1 :]),
                )
            )
        if len(replies) >= _POOL:
            break
    rng.shuffle(replies)
    return replies


def _later_lines(turns: Sequence[Any]) -> tuple[str, ...]:
    """Return the partner's lines of the rest of a dialogue; turns in a row are one line."""
    lines: list[str] = []
    own_before = True
    for turn in turns:
        if turn.speaker == "self":
            own_before = True
        elif own_before:
            lines.append(turn.text)
            own_before = False
        else:
            lines[-1] = f"{lines[-1]} {turn.text}"
    return tuple(lines)


def cut_history(turns: Sequence[Any], max_turns: int) -> tuple[Any, ...]:
    """Return the last ``max_turns`` turns, beginning with the partner's where that costs only one turn."""
    cut = tuple(turns[-max_turns:])
    return cut[1:] if len(cut) > 1 and len(cut) < len(turns) and cut[0].speaker == "self" else cut


class NegativePool:
    """Finds rejected replies among human ones.

    The lengths of each kind are kept in balance: when the rejected replies so far were longer than the chosen ones,
    shorter candidates come first.
    """

    def __init__(self, replies: Sequence[Reply], rng: random.Random, tolerance: float = 0.2) -> None:
        self.replies = replies
        self.tolerance = tolerance
        self.balance: Counter[str] = Counter()
        self._rng = rng
        self._used: Counter[str] = Counter()

    def persona_swap(self, gold: Reply) -> Reply | None:
        """Return a reply to much the same question that draws on another persona and on nothing of this one."""
        likeness = self._likeness(gold)
        near = [index for index in likeness.argsort()[::-1][:400] if likeness[index] >= _LIKE_LINE]
        fitting = [
            candidate
            for candidate in (self._persona_replies[index] for index in near)
            if candidate.persona.isdisjoint(gold.told & gold.persona)
            and self._other(candidate, gold)
            and gold.persona.isdisjoint(candidate.told)
        ]
        return self._take("persona_swap", gold, fitting[:40])

    def off_topic(self, gold: Reply) -> Reply | None:
        """Return a reply of another dialogue that shares no content word with the last line or the persona."""
        taboo = gold.persona | gold.asked | gold.told
        # Every second time one that tells of its own speaker's persona: only such a reply can be the better one of a
        # mirror (`data.mirrors`).
        source = self._persona_replies if self._rng.random() < 0.5 else self.replies
        drawn = self._rng.sample(source, min(400, len(source)))
        fitting = [
            candidate
            for candidate in drawn
            if len(candidate.told) >= 2 and self._other(candidate, gold) and taboo.isdisjoint(candidate.told)
        ]
        return self._take("off_topic", gold, fitting)

    def conflict(self, gold: Reply) -> Reply | None:
        """Return a reply in which another speaker states the opposite of a trait that the gold one draws on."""
        drawn = [triple for trait in gold.drawn if (triple := triple_of(trait))]
        fitting = {
            one.origin: one
            for trait in drawn
            for one, triple in self._stated[(trait.who, family(trait))]
            if contradicts(triple, trait) and self._other(one, gold)
        }
        return self._take("conflict", gold, list(fitting.values()))

    def misplaced(self, gold: Reply) -> Reply | None:
        """Return what the same speaker answers elsewhere: it tells other traits, and nothing that is asked here."""
        same = self._of_dialogue[_perspective_of(gold)]
        fitting = [one for one in same if set(one.drawn).isdisjoint(gold.drawn) and misplaced_at(one, gold)]
        return self._take("misplaced", gold, fitting)

    def note(self, kind: str, chosen: str, rejected: str) -> None:
        """Remember how much longer the rejected reply is, in words."""
        self.balance[kind] += len(words(rejected)) - len(words(chosen))

    def wanted_length(self, kind: str, length: int) -> int:
        """Return the length that would bring a kind back into balance, at most two words from ``length``."""
        return max(1, length - max(-2, min(2, self.balance[kind])))

    def alike(self, length: int, gold: Reply) -> bool:
        """Say whether a reply of ``length`` words may stand against the gold one."""
        return of_like_length(length, gold.length, self.tolerance)

    def _take(self, kind: str, gold: Reply, fitting: Sequence[Reply]) -> Reply | None:
        wanted = self.wanted_length(kind, gold.length)
        fresh = [one for one in fitting if self._used[one.origin] < _REUSE and self.alike(one.length, gold)]
        if not fresh:
            return None
        # Whether a reply asks back must not tell the kinds apart either.
        best = min(fresh, key=lambda one: (abs(one.length - wanted), ends_asking(one.text) != ends_asking(gold.text)))
        self._used[best.origin] += 1
        return best

    @staticmethod
    def _other(candidate: Reply, gold: Reply) -> bool:
        same = set(candidate.context.persona.traits) & set(gold.context.persona.traits)
        dialogue = candidate.origin.rpartition("/")[0] == gold.origin.rpartition("/")[0]
        return not same and not dialogue and candidate.text.lower() != gold.text.lower()

    @cached_property
    def _of_dialogue(self) -> Mapping[str, list[Reply]]:
        found: dict[str, list[Reply]] = defaultdict(list)
        for reply in self.replies:
            found[_perspective_of(reply)].append(reply)
        return found

    @cached_property
    def _persona_replies(self) -> list[Reply]:
        return [reply for reply in self.replies if reply.drawn]

    @cached_property
    def _stated(self) -> Mapping[tuple[str, str], list[tuple[Reply, Triple]]]:
        found: dict[tuple[str, str], list[tuple[Reply, Triple]]] = defaultdict(list)
        for reply in self._persona_replies:
            for triple in stated(reply.text):
                found[(triple.who, family(triple))].append((reply, triple))
        return found

    @cached_property
    def _likeness(self) -> Callable[[Reply], Any]:
        # TF-IDF over words and word pairs: "do you have any pets" finds "do you have a pet" before "do you have a car".
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(token_pattern=r"[a-z0-9']+", ngram_range=(1, 2), sublinear_tf=True)
        lines = vectorizer.fit_transform([reply.line for reply in self._persona_replies])
        return lambda gold: (lines @ vectorizer.transform([gold.line]).T).toarray().ravel()


def misplaced_at(reply: Reply, place: Reply) -> bool:
    """Say whether a reply that tells of its persona is no answer to the question that ``place`` answers.

    False where nothing was asked (another trait may be told there as well) and where it was just said.
    """
    said = {turn.text for turn in place.context.history if turn.speaker == "self"}
    asked = ends_asking(place.line) and reply.told.isdisjoint(place.asked | place.told)
    return asked and bool(reply.drawn) and reply.text not in said


def _perspective_of(reply: Reply) -> str:
    return reply.origin.rpartition("#")[0]


def of_like_length(length: int, gold: int, tolerance: float = 0.2) -> bool:
    """Say whether a length in words differs from the good reply's by no more than three words or that share of it."""
    return abs(length - gold) <= max(3, tolerance * gold)


def ends_asking(text: str) -> bool:
    """Say whether a reply asks back at its end."""
    return text.rstrip().endswith("?")


def in_style_of(text: str, model: str, line: str = "") -> str:
    """Return ``text`` with the casing, spacing and final mark of ``model``, so that form gives nothing away.

    ``line`` (the partner's) tells the spacing of the data where ``model`` has no mark to tell it.
    """
    text = " ".join(text.split())
    if model == model.lower():
        text = text.lower()
    elif model[:1].isupper():
        text = text[:1].upper() + text[1:]
    if re.search(r"\s[.?!,]", f"{model} {line}"):  # tokenised text, as in ConvAI2: "hi ! how are you ?"
        text = re.sub(r"\s*([.?!,]+)", r" \1", text)
    if not re.search(r"[.?!]\W*$", model):
        text = re.sub(r"\s*[.!]+$", "", text)
    elif not re.search(r"[.?!)…\"']\W*$", text):
        text += " ." if re.search(r"\s[.?!]\W*$", model) else "."
    return text
