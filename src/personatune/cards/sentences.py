"""The text of a card as persona sentences, and everything that was left out on the way with its reason."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from personatune.cards.attribute_wording import attribute_sentences
from personatune.cards.attributes import Attribute, heading_of, line_attribute, split_values, take_attributes
from personatune.cards.english_verbs import base_form, is_known_verb
from personatune.cards.first_person import Character, UnclearError, in_first_person
from personatune.cards.limits import MAX_LORE_CONTENT, MAX_SENTENCE_CHARACTERS, MAX_TOLD_CHARACTERS
from personatune.cards.macros import has_marker
from personatune.cards.phrases import as_being, is_adjective, names_a_person
from personatune.dialogue import MAX_TRAIT_CHARACTERS
from personatune.plain_text import plain_text

_TAG = re.compile(
    r"<!--[^<>]{0,2000}?-->|<(script|style)\b[^<>]{0,300}>[^<]{0,2000}</\1>|</?[A-Za-z][^<>]{0,300}>", re.IGNORECASE
)
_MARKDOWN = re.compile(r"\*+|~~|`+|^[ \t]*(?:#+|>)[ \t]*|__", re.MULTILINE)
_BLANKS = re.compile(r"[^\S\n]{2,}")
_BULLET = re.compile(r"^\s*(?:[-•+–~]|\d{1,2}[.)])\s+")
_KEPT_FORMATS = "\u200c\u200d"  # joiners: Persian and emoji need them

_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Jr|Sr|vs|etc|e\.g|i\.e|approx|no|[A-Z])\.$")
_END = re.compile(r"[.!?…]+[\"'”’)\]]*\s+")
_FIRST_PERSON = re.compile(r"^(?:i|i'm|i've|i'd|i'll|my|mine)\b", re.I)
_SECOND_PERSON = re.compile(r"^(?:you|your|you're|you've|you'll)\b", re.I)
_LEAD = re.compile(
    r"^(?:as|in|at|on|after|before|when|while|since|despite|although|though|because|if|during|from|by|for|with|without|"
    r"under|beneath|behind|once|beyond|due|now|today|sometimes|often|like|unlike|having|being|even|whenever|until|"
    r"[a-z]+ly|[a-z]+ed|[a-z]+ing|born|known|grown)\b",
    re.I,
)
_BEFORE_SUBJECT = re.compile(  # "Every morning she …", "People call her …"
    r"^(?:(?:every|each) (?:day|night|morning|evening|weekend|week|month|year|summer|winter|autumn|spring)"
    r"|(?:people|others|everyone|everybody|most people|many|folk) (?:call|know|consider|see|find|think of))\s+",
    re.I,
)
_QUOTE = re.compile(r"[\"“”«»]")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_PHRASE_VERBS = re.compile(r"\b(?:is|was|were|are|am|has|had|will|would|can|could|does|did)\b", re.I)
_RELATIVE = re.compile(r"\b(?:who|that|which|whose)\b")
_PHRASE_END = re.compile(r",|\s(?:who|that|which|whose|from|of|with|in|at|for|on|by|to|and)\b")
_STARTS_NO_PHRASE = re.compile(
    r"^(?:the|this|that|these|those|there|it|we|what|who|how|why|in|on|at|of|for|to|no)\b", re.I
)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A piece of text that became no persona sentence, and why."""

    reason: str
    text: str


@dataclass
class Told:
    """Persona sentences in order, each once, and what was left out."""

    sentences: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)

    def counts(self) -> Counter[str]:
        """Return how many pieces were left out for each reason."""
        return Counter(piece.reason for piece in self.left_out)

    def add(self, sentence: str) -> None:
        """Take a sentence if it is short enough and new."""
        sentence = _finished(sentence)
        if len(sentence) > MAX_TRAIT_CHARACTERS:
            self.drop(f"longer than {MAX_TRAIT_CHARACTERS} characters", sentence)
        elif sentence.casefold() in self._known:
            self.drop("said already", sentence)
        else:
            self._known.add(sentence.casefold())
            self.sentences.append(sentence)

    def drop(self, reason: str, text: str) -> None:
        self.left_out.append(LeftOut(reason, " ".join(text.split())))


def card_text(text: str) -> str:
    """Return a card's text as plain characters: no control, direction, invisible or private characters, no tags."""
    text = "".join(
        character
        for character in plain_text(text)
        if character in _KEPT_FORMATS or unicodedata.category(character) not in ("Cf", "Co", "Cn", "Cs")
    )
    return _TAG.sub(" ", text)


def tell_about(text: str, character: Character, told: Told) -> None:
    """Add what an expanded text says about its character, list by list and sentence by sentence."""
    plain = _plain(text)
    if len(plain) > MAX_TOLD_CHARACTERS:
        told.drop(f"beyond the first {MAX_TOLD_CHARACTERS:,} characters", plain[MAX_TOLD_CHARACTERS:])
    attributes, prose = take_attributes(plain[:MAX_TOLD_CHARACTERS])
    for attribute in attributes:
        _tell_attribute(attribute, character, told)
    heading: str | None = None
    for line in prose.splitlines():
        if not line.strip():
            continue
        announced = heading_of(line)
        if announced is not None:
            heading = announced
            continue
        bullet = _BULLET.match(line) is not None
        body = _BULLET.sub("", line).strip()
        if not bullet and line_attribute(body) is None:
            heading = None
        _tell_line(body, heading, character, told)


def tell_summary(text: str, character: Character, told: Told) -> None:
    """Add what a `personality` says: a list of traits ("stubborn, kind, a good listener") or prose."""
    plain = " ".join(_plain(text)[:MAX_TOLD_CHARACTERS].split()).strip(" .[]")
    parts = [part.strip(" ~") for part in re.split(r"[,;+/]", plain) if part.strip(" ~")]
    lower = [part for part in parts if len(part.split()) <= 4 and not _is_sentence(part, character) and ":" not in part]
    if parts and len(lower) == len(parts) and not has_marker(plain) and "." not in plain and "(" not in plain:
        for sentence in as_being([re.sub(r"^and\s+", "", part[:1].lower() + part[1:]) for part in parts]):
            told.add(sentence)
    else:
        tell_about(text, character, told)


def lore_sentences(text: str, character: Character) -> list[str]:
    """Return the sentences of a lorebook entry: about the character in its own words, others as written."""
    sentences = []
    for line in _plain(text[:MAX_LORE_CONTENT]).splitlines():
        for sentence in split_sentences(_BULLET.sub("", line).strip()):
            ours = len(sentence) <= MAX_SENTENCE_CHARACTERS and _about_character(sentence, character)
            try:
                own = in_first_person(sentence, character) if ours else sentence
            except UnclearError:
                own = sentence
            if not has_marker(own):
                sentences += _fitting(_finished(own))
    return sentences


def split_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of one line."""
    start = 0
    for match in _END.finditer(text):
        before = text[max(start, match.start() - 12) : match.start() + 1]
        if _ABBREVIATION.search(before) or not _begins(text[match.end() : match.end() + 1]):
            continue
        yield text[start : match.end()].strip()
        start = match.end()
    if text[start:].strip():
        yield text[start:].strip()


def _plain(text: str) -> str:
    """Return a card's text without marks of emphasis; runs of blanks are one, which also keeps the patterns fast."""
    return _BLANKS.sub(" ", _MARKDOWN.sub("", card_text(text)))


def _tell_line(line: str, heading: str | None, character: Character, told: Told) -> None:
    attribute = line_attribute(line)
    if attribute is not None and attribute.key in _speakers(character):
        told.drop("a line of dialogue", line)
        return
    if attribute is not None and not _is_prose(attribute, line, character):
        _tell_attribute(attribute, character, told)
        return
    if attribute is not None:
        line = re.split(r"[:=]", line, maxsplit=1)[1].strip()
    elif heading is not None and not _is_sentence(line, character):
        _tell_attribute(Attribute(heading, tuple(part.strip(" .") for part in split_values(line))), character, told)
        return
    for sentence in split_sentences(line):
        _tell_sentence(sentence, character, told)


def _tell_attribute(attribute: Attribute, character: Character, told: Told) -> None:
    for value in attribute.values:
        if len(value) > MAX_TRAIT_CHARACTERS:
            told.drop(f"longer than {MAX_TRAIT_CHARACTERS} characters", f"{attribute.key}: {value}")
    attribute = replace(
        attribute, values=tuple(value for value in attribute.values if len(value) <= MAX_TRAIT_CHARACTERS)
    )
    if not attribute.values:
        return
    shown = f"{attribute.key}: {', '.join(attribute.values)}"
    if has_marker(shown):
        told.drop("a macro or template mark that isn't known", shown)
        return
    sentences = attribute_sentences(attribute)
    if not sentences:
        told.drop("an attribute that isn't of the character", shown)
    for sentence in sentences:
        try:
            told.add(in_first_person(sentence, replace(character, names=())))  # a name in a list is just a name
        except UnclearError as error:
            told.drop(str(error), shown)


def _tell_sentence(sentence: str, character: Character, told: Told) -> None:
    reason = _unusable(sentence)
    if reason:
        told.drop(reason, sentence)
        return
    if _is_first_person(sentence):
        told.add(sentence)
        return
    phrase = _as_sentence(sentence, character)
    if phrase is None:
        told.drop("not about the character", sentence)
        return
    try:
        told.add(in_first_person(phrase, character))
    except UnclearError as error:
        told.drop(str(error), sentence)


def _unusable(sentence: str) -> str | None:
    reasons = (
        (f"longer than {MAX_TRAIT_CHARACTERS} characters", len(sentence) > MAX_SENTENCE_CHARACTERS),
        ("a macro or template mark that isn't known", has_marker(sentence)),
        ("no words", _WORD.search(sentence) is None),
        ("a question", sentence.rstrip("\"'”’)").endswith("?")),
        ("quoted speech", any(len(quoted.split()) > 4 for quoted in _QUOTE.split(sentence)[1::2])),
        ("about who talks with the character", _SECOND_PERSON.match(sentence) is not None),
    )
    return next((reason for reason, found in reasons if found), None)


def _as_sentence(sentence: str, character: Character) -> str | None:
    """Return the sentence with the character as its subject; None if it is about something else."""
    if _about_character(sentence, character):
        return _without_apposition(sentence, character)
    first = sentence.split(maxsplit=1)[0].strip(",").lower()
    if is_known_verb(first) and base_form(first):
        return f"{character.names[0]} {sentence[:1].lower()}{sentence[1:]}"
    return _phrase(sentence)


def _phrase(sentence: str) -> str | None:
    """Make a sentence of "A grumpy smith who never smiles." or "Tall, dark and handsome."; None for anything else."""
    if (
        _STARTS_NO_PHRASE.match(sentence)
        or _PHRASE_VERBS.search(_RELATIVE.split(sentence)[0])
        or sentence.endswith("!")
    ):
        return None
    body = sentence.rstrip(" .")
    if re.match(r"an?\s", sentence, re.I):
        head = _PHRASE_END.split(body, maxsplit=1)[0]
        return f"I am {body[:1].lower()}{body[1:]}." if names_a_person(head) else None
    parts = [part.strip() for part in re.split(r",|\band\b|\bbut\b", body) if part.strip()]
    if parts and all(len(part.split()) <= 3 and is_adjective(part) and part[1:] == part[1:].lower() for part in parts):
        return f"I am {body[:1].lower()}{body[1:]}."
    return None


def _without_apposition(sentence: str, character: Character) -> str:
    """Make "Mara, a retired smith, lives in Leeds." into "Mara lives in Leeds."; what she is, is told elsewhere."""
    names = "|".join(map(re.escape, character.names))
    return re.sub(rf"^({names}),\s[^,]{{1,80}},\s+(?=[a-z])", r"\1 ", sentence)


def _is_first_person(sentence: str) -> bool:
    lead, comma, rest = sentence.partition(",")
    return bool(_FIRST_PERSON.match(sentence) or (comma and _LEAD.match(lead) and _FIRST_PERSON.match(rest.strip())))


def _about_character(sentence: str, character: Character) -> bool:
    if _subject_at_start(sentence, character):
        return True
    lead, comma, rest = sentence.partition(",")
    return bool(comma) and bool(_LEAD.match(lead)) and len(lead) < 80 and _subject_at_start(rest.strip(), character)


def _subject_at_start(sentence: str, character: Character) -> bool:
    sentence = _BEFORE_SUBJECT.sub("", sentence)
    subjects = {"she": "she|her", "he": "he|his|him", "they": "they|their|them", None: "(?!)"}[character.pronoun]
    names = "|".join(map(re.escape, character.names)) or "(?!)"
    return (
        re.match(rf"(?:(?:{names})(?:['’]s)?|(?i:(?:{subjects})(?:['’](?:s|re|ve|d|ll))?))(?![\w-])", sentence)
        is not None
    )


def _is_sentence(text: str, character: Character) -> bool:
    return _is_first_person(text) or _about_character(text, character)


def _speakers(character: Character) -> set[str]:
    return {name.casefold() for name in (*character.names, character.user, "user", "you")}


def _is_prose(attribute: Attribute, line: str, character: Character) -> bool:
    """Say whether what follows a key is whole sentences."""
    value = re.split(r"[:=]", line, maxsplit=1)[1].strip()
    return _is_sentence(value, character) or len(list(split_sentences(value))) > 1


def _begins(rest: str) -> bool:
    return rest[:1].isupper() or rest[:1].isdigit() or rest[:1] in "\"'“‘([*" or not rest[:1].isascii()


def _finished(sentence: str) -> str:
    sentence = " ".join(sentence.split()).strip(' -–—*"“”')
    sentence = re.sub(r"\s+([.,;:!?])", r"\1", sentence).rstrip(",;: ")
    sentence = sentence[:1].upper() + sentence[1:]
    return sentence if sentence[-1:] in ".!?…" else f"{sentence}."


def _fitting(sentence: str) -> list[str]:
    """Split what is longer than a persona sentence may be, at a blank."""
    parts = []
    while len(sentence) > MAX_TRAIT_CHARACTERS:
        at = sentence.rfind(" ", 1, MAX_TRAIT_CHARACTERS)
        at = at if at > 0 else MAX_TRAIT_CHARACTERS
        parts.append(sentence[:at].strip())
        sentence = sentence[at:].strip()
    return [*parts, sentence] if sentence else parts
