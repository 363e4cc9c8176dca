"""From "Mara lives in Leeds with her dog." to "I live in Leeds with my dog.", where that is safe.

Rules, no model. A sentence that could mean somebody else, or whose verb isn't recognised, is refused with a reason:
a persona with a wrong sentence is worse than one that lacks it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from personatune.cards.english_verbs import (
    IRREGULAR,
    MODALS,
    PLURAL_IRREGULAR,
    base_form,
    is_adverb,
    is_known_verb,
    is_past,
)
from personatune.cards.phrases import MEN, SOMEBODY, WOMEN

Pronoun = Literal["she", "he", "they"]

_FORMS: dict[Pronoun, dict[str, str]] = {
    "she": {"she": "subject", "her": "her", "hers": "mine", "herself": "myself"},
    "he": {"he": "subject", "him": "me", "his": "my", "himself": "myself"},
    "they": {
        "they": "subject",
        "them": "me",
        "their": "my",
        "theirs": "mine",
        "themself": "myself",
        "themselves": "myself",
    },
}
_CONTRACTED = {"'s": "is", "'re": "are", "'ve": "have", "'d": "'d", "'ll": "'ll"}

_CLAUSE_STARTS = frozenset(
    """
    , ; : ( – — - and but or because when while if that as since until after before though although so where how why
    what whenever than whether once
    """.split()
)
_OTHER_SUBJECTS = frozenset({"who", "which", "whose", "that", "where"})
_AFTER_OBJECT_HER = frozenset(
    """
    and or but to in on at for with from because when who that as if while until after before by of into is was a an the
    up down away out off back so than about over under through like
    """.split()
)
_BEFORE_PLACES = frozenset("in to from at of near around across outside through the a an speaks speak".split())
_COPULAS = frozenset("am was is be become became remain".split())
_PREDICATE_ENDS = frozenset(", ; : of with to for from by in on at and but or than like".split())
_INTRODUCED = re.compile(r"(?:Meet )?([A-Z][a-zé'-]+)(?: [A-Z][a-zé'-]+)?(?:, an? | (?:is|was|has) )")
_TITLES = frozenset(
    """
    The Dr Dr. Mr Mr. Mrs Mrs. Miss Lady Lord Sir Captain King Queen Prince Princess Your She He They It This That
    There What
    """.split()
)
_PARTICIPLES = frozenset({"been", "got", "had", "become"})

_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*['’]?|\s+|[^\w\s]|_")


@dataclass(frozen=True, slots=True)
class Character:
    """Who a text is about.

    Attributes:
        names: as they stand in the text, the longest first.
        pronoun: what the text calls the character; None where it uses none.
        user: the name that stands for the partner.
    """

    names: tuple[str, ...]
    pronoun: Pronoun | None
    user: str


class UnclearError(Exception):
    """A sentence can't be told in the first person; the message says why."""


def character_of(text: str, name: str, nickname: str, user: str) -> Character:
    """Find out how a text speaks of its character: its names (the first name too) and its most frequent pronoun."""
    full_names = {" ".join(full.split()) for full in (name, nickname)} - {""}
    first_names = {full.split()[0].strip(",") for full in full_names}
    if not any(known in text for known in full_names | first_names):
        introduced = _INTRODUCED.match(text.strip())  # a card named by a title ("The Baker's Daughter")
        first_names |= {introduced[1]} if introduced and introduced[1][0].isupper() else set()
    names = full_names | {first for first in first_names - _TITLES if len(first) > 2 and first[0].isupper()}
    counts = Counter(re.findall(r"[a-z]+", text.lower()))
    frequencies: dict[Pronoun, int] = {
        pronoun: sum(counts[form] for form in forms) for pronoun, forms in _FORMS.items()
    }
    frequencies["they"] = frequencies["they"] if not (frequencies["she"] or frequencies["he"]) else 0
    best = max(frequencies, key=lambda pronoun: frequencies[pronoun])
    ordered = tuple(sorted(names, key=len, reverse=True))
    return Character(ordered, best if frequencies[best] else None, user)


def in_first_person(sentence: str, character: Character) -> str:
    """Return one sentence about the character as the character says it.

    Raises:
        UnclearError: it might be about somebody else, or a verb isn't recognised.
    """
    return _Telling(_tokens(sentence, character), character).told()


_NAME, _NAMES_OWN, _USER, _USERS_OWN = "\0name", "\0names", "\0user", "\0users"


def _tokens(sentence: str, character: Character) -> list[str]:
    """Split into words, marks and blanks; the character's and the user's names become marks of their own."""
    alternatives = "|".join(map(re.escape, character.names)) or r"(?!)"
    pattern = re.compile(rf"(?<![\w-])(?:({alternatives})|({re.escape(character.user)}))(['’]s)?(?![\w-])")
    tokens: list[str] = []
    at = 0
    for match in pattern.finditer(sentence):
        tokens += _TOKEN.findall(sentence[at : match.start()])
        own = match[3] is not None
        tokens.append((_NAMES_OWN if own else _NAME) if match[1] is not None else (_USERS_OWN if own else _USER))
        at = match.end()
    return tokens + _TOKEN.findall(sentence[at:])


@dataclass
class _Telling:
    """One sentence on its way: tokens in, words out, and who was spoken of so far."""

    tokens: Sequence[str]
    character: Character
    out: list[str] = field(default_factory=list)
    somebody: bool = False  # of whom the character's pronoun could speak too
    own_clause: bool = False  # the last verb was the character's
    awaits_verb: bool = False
    predicate: bool = False  # within "am a …": the next person named is the character itself

    def told(self) -> str:
        forms = _FORMS[self.character.pronoun] if self.character.pronoun else {}
        self.predicate = "".join(self.tokens[:3]).lower() in ("as a", "as an")
        for at, token in enumerate(self.tokens):
            word = token.lower().replace("’", "'")
            stem, contraction = self._contraction(word, forms)
            if token.isspace():
                self.out.append(" ")
            elif token in (_NAME, _NAMES_OWN):
                self._named(at, owning=token == _NAMES_OWN)
            elif token in (_USER, _USERS_OWN):
                self._user(at, owning=token == _USERS_OWN)
            elif stem in forms:
                if self.somebody:
                    raise UnclearError(f"not clear who “{stem}” is")
                self._pronoun(at, forms[stem], contraction)
            elif self.awaits_verb:
                self._verb(at, token, word)
            else:
                self._other(at, token, word)
        if self.awaits_verb:
            raise UnclearError("no verb found")
        return "".join(self.out).strip()

    def _contraction(self, word: str, forms: dict[str, str]) -> tuple[str, str]:
        stem, mark, rest = word.partition("'")
        ending = mark + rest
        return (stem, _CONTRACTED[ending]) if stem in forms and ending in _CONTRACTED else (word, "")

    def _before(self, at: int) -> str:
        return next((token.lower() for token in reversed(self.tokens[:at]) if not token.isspace()), "")

    def _after(self, at: int) -> str:
        return next((token.lower() for token in self.tokens[at + 1 :] if not token.isspace()), "")

    def _subject(self) -> None:
        self.out.append("I")
        self.awaits_verb = True

    def _named(self, at: int, *, owning: bool) -> None:
        before, after = self._before(at), self._after(at)
        if owning and (after in {"a", "an", "the", "not", "very"} or after.endswith("ing")):
            self.out.append("I am")
            self.own_clause = self.predicate = True
        elif owning:
            self.out.append("my")
        elif before in _CLAUSE_STARTS or not before or before.endswith("ly"):
            self._subject()
        else:
            self.out.append("me")

    def _user(self, at: int, *, owning: bool) -> None:
        after = self._after(at)
        if not owning and (base_form(after) is not None or after in MODALS or is_past(after) or not self._before(at)):
            raise UnclearError("about who talks with the character")
        self.out.append("your" if owning else "you")

    def _pronoun(self, at: int, form: str, contraction: str) -> None:
        if form == "subject":
            self._subject()
            if contraction:
                self.awaits_verb = False
                self.own_clause = True
                perfect = self._after(at) in _PARTICIPLES
                self.predicate = not perfect
                verb = {"is": " have" if perfect else " am", "are": " am", "have": " have"}
                self.out.append(verb.get(contraction, contraction))
        elif form == "her":
            after = self._after(at)
            self.out.append("me" if after in _AFTER_OBJECT_HER or not after[:1].isalnum() else "my")
        else:
            self.out.append(form)

    def _verb(self, at: int, token: str, word: str) -> None:
        """Put the verb after "I" into the first person."""
        self.out.append(self._conjugated(word, token))
        if not is_adverb(word):
            self.awaits_verb, self.own_clause = False, True
            self.predicate = self.out[-1].split()[0] in _COPULAS
        elif not self._after(at):
            raise UnclearError("no verb found")

    def _conjugated(self, word: str, token: str) -> str:
        if is_adverb(word) or word in MODALS:
            return token
        if self.character.pronoun == "they":
            if word in PLURAL_IRREGULAR:
                return PLURAL_IRREGULAR[word]
            if word.isalpha() and base_form(word) is None and word not in _CLAUSE_STARTS:
                return token  # "they live"
        base = base_form(word)
        if base is not None:
            return base
        if is_past(word):
            return token
        raise UnclearError(f"no verb recognised in “I {token[:30]}”")

    def _other(self, at: int, token: str, word: str) -> None:
        before = self._before(at)
        if self.own_clause and (is_known_verb(word) or self._surely_verb(at, word)) and self._coordinated(at):
            self.out.append(IRREGULAR.get(word) or base_form(word) or token)
            return
        if word in _OTHER_SUBJECTS:
            self.own_clause = False
        if word == "am" and before == "i":
            self.predicate = True
        elif word in _PREDICATE_ENDS:
            self.predicate = False
        if self._is_somebody(token, word, before):
            self.somebody = self.somebody or not self.predicate
            self.predicate = False
        self.out.append(token)

    def _coordinated(self, at: int) -> bool:
        """Say whether a word follows "and", "or", "but", "then" or a comma, adverbs aside."""
        words = [token.lower() for token in self.tokens[:at] if not token.isspace()]
        while words and is_adverb(words[-1]) and words[-1] != "then":
            words.pop()
        return bool(words) and words[-1] in {"and", "or", "but", "yet", "nor", "then", ","}

    def _surely_verb(self, at: int, word: str) -> bool:
        """Say whether a word in -s is a verb by what stands around it: "and gladly …s", "and …s the"."""
        before, after = self._before(at), self._after(at)
        return base_form(word) is not None and (is_adverb(before) or after in {"a", "an", "the", "his", "her", "their"})

    def _is_somebody(self, token: str, word: str, before: str) -> bool:
        pronoun = self.character.pronoun
        singular = word.removesuffix("'s").removesuffix("'")
        plural = singular.removesuffix("s") if singular.endswith("s") else ""
        kinds = SOMEBODY | (frozenset() if pronoun == "he" else WOMEN) | (frozenset() if pronoun == "she" else MEN)
        if singular in kinds:
            return True
        if pronoun == "they" and (plural in WOMEN | MEN | SOMEBODY or word in {"people", "children"}):
            return True
        # A capital letter inside a sentence: a name, unless a preposition says that it is a place.
        inside = before != "" and not before.endswith((".", "!", "?", ":"))
        return inside and token[:1].isupper() and token not in {"I"} and before not in _BEFORE_PLACES
