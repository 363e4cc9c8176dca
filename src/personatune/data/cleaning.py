"""Mends what can be mended in dialogues, drops what can't, and counts every case by its reason."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from personatune.data.placeholders import has_placeholder, without_placeholders
from personatune.data.shelf import Shelf
from personatune.dialogue import Dialogue, Persona, Turn

# A turn longer than this is a lecture or a paste; one of them would fill a training sequence.
LONGEST_TURN = 100  # words
# What the patterns below ever look at: their time grows faster than a text, and a megabyte of blanks took minutes.
LONGEST_TEXT = 5_000  # characters

# Most turns are plain text and need none of the steps below; this one look tells. `_signs` tells of most of them
# without it, an order of magnitude faster.
_SUSPECT = re.compile(
    r"[^\x20-\x7e]|[\[({*<]|\s[.,!?'](?:\s|$)|\s\s|[Uu]ser ?[12_]|[Ss]peaker ?[12]\s*:|https?:|www\.|^\s|\s$"
)
_EDGE = "\x7f"  # between two turns: no printable character, so that hardly a text has one
_SIGNS = (
    "[", "(", "{", "*", "<", "  ", " .", " ,", " !", " ?", " '", "ser", "peaker", "http", "www.", "\x7f ", " \x7f",
)  # fmt: skip
_PREFIX = re.compile(r"^\s*(?:user|speaker|person)[ _]?[12ab]\s*:\s*", re.IGNORECASE)
_STARRED = re.compile(r"\*+([^*\n]{1,120}?)\*+")
_BRACKETED_ACTION = re.compile(
    r"\((?:\w+ly )?(?:laugh|smil|sigh|giggl|chuckl|wink|nod|shrug|grin|paus|cough|cries|crying|whisper|gasp|blush|"
    r"makes? |starts? |starting |returns? |joins? |wins? |leaves |waves|hugs|looks |walks|thinking)[^)]{0,80}\)",
    re.IGNORECASE,
)
_ACTION = re.compile(r"\w+(?:s|ing)\b")
_LINK = re.compile(r"<?\b(?:https?://|www\.)\S+", re.IGNORECASE)
_SPACED_MARK = re.compile(r" ([.,!?;])(?=\s|$|[.,!?])")
_SPACED_DOTS = re.compile(r"(?:\s*\.(?=\s*\.)){2,}\s*\.|(?:\s\.){2,}")
_SPACED_APOSTROPHE = re.compile(r"(?<=\w) ' ?(?=(?:s|t|m|re|ve|ll|d)\b)", re.IGNORECASE)
_LOST_APOSTROPHE = re.compile(r"\bI (m|ve|ll)\b")
_KNOWN_TRAITS = 100_000  # persona sentences whose mended form is kept: most come again and again
_GAP = re.compile(r"\s+([.,!?])")


@dataclass(frozen=True, slots=True)
class CleaningResult:
    """What is left, and how many rows were dropped and turns mended for which reason."""

    dialogues: list[Dialogue]
    counts: Counter[str]


def clean(dialogues: Iterable[Dialogue]) -> CleaningResult:
    """Clean dialogues one by one, drop duplicates and join two views of one dialogue.

    Reasons that begin with "dropped:" count dialogues, with "persona:" persona sentences, all others turns.
    """
    kept: list[Dialogue] = []
    return CleaningResult(kept, clean_onto(dialogues, kept))


def clean_onto(dialogues: Iterable[Dialogue], kept: Shelf[Dialogue]) -> Counter[str]:
    """Do what `clean` does, one dialogue in memory at a time; what is left is put on a shelf."""
    counts: Counter[str] = Counter()
    _add_without_duplicates(_cleaned(dialogues, counts), kept, counts)
    return counts


def _cleaned(dialogues: Iterable[Dialogue], counts: Counter[str]) -> Iterator[Dialogue]:
    traits: dict[str, str] = {}
    for dialogue in dialogues:
        cleaned = _clean_dialogue(dialogue, traits, counts)
        if cleaned is not None:
            yield cleaned
        if len(traits) > _KNOWN_TRAITS:
            traits.clear()


def clean_text(text: str, counts: Counter[str]) -> str:
    """Return one utterance mended, or "" when nothing usable is left; every mend is counted."""
    if len(text) < 5 * LONGEST_TURN and not _SUSPECT.search(text):
        return text
    if len(text) > LONGEST_TEXT:
        text = _counted(text, " ".join(text.split())[:LONGEST_TEXT], "over-long text", counts)
    if not text.isascii():
        text = _fixed_encoding(text, counts)
    if ":" in text:
        text = _counted(text, _PREFIX.sub("", text), "speaker name in the text", counts)
    if "*" in text or "(" in text:
        acted = _BRACKETED_ACTION.sub(" ", _STARRED.sub(_unstarred, text))
        if acted != text:
            counts["stage direction"] += 1
            text = _GAP.sub(r"\1", acted)
    lowered = text.lower()
    if "http" in lowered or "www." in lowered:
        text = _counted(text, _LINK.sub("", text), "link", counts)
    if has_placeholder(text):
        text = without_placeholders(text)
        counts["name placeholder" if text else "turn lost to a name placeholder"] += 1
    text = _counted(text, _joined_marks(text), "detokenised", counts)
    spoken = text.split()
    text = " ".join(spoken)
    if len(spoken) > LONGEST_TURN:
        counts["over-long turn"] += 1
        text = _shortened(spoken)
    return text if any(character.isalnum() for character in text) or _is_emoticon(text) else ""


def _signs(texts: list[str]) -> list[str] | None:
    """Return pieces of text without which `_SUSPECT` finds nothing in any of the texts; None where it has to look.

    A dialogue is looked through as a whole, so that its turns need not be: most have none or one of these.
    """
    whole = f"{_EDGE}{_EDGE.join(texts)}{_EDGE}"
    printed = whole.replace(_EDGE, "")
    if not (printed.isascii() and printed.isprintable()) or len(whole) - len(printed) != len(texts) + 1:
        return None
    return [sign for sign in _SIGNS if sign in whole]


def _clean_dialogue(dialogue: Dialogue, known: dict[str, str], counts: Counter[str]) -> Dialogue | None:
    if not dialogue.turns:
        counts["dropped: no dialogue"] += 1
        return None
    turns: list[Turn] = []
    signs = _signs([turn.text for turn in dialogue.turns])
    edges = signs is not None and ("\x7f " in signs or " \x7f" in signs)
    for turn in dialogue.turns:
        text = turn.text
        if signs is None or edges or len(text) >= 5 * LONGEST_TURN:
            text = clean_text(text, counts)
        else:
            for sign in signs:
                if sign in text:
                    text = clean_text(text, counts)
                    break
        if not text:
            counts["empty turn"] += 1
        elif turns and turns[-1].speaker == turn.speaker:
            counts["two turns in a row"] += 1
            turns[-1] = Turn(turn.speaker, _shortened(f"{turns[-1].text} {text}".split(" ")))
        else:
            turns.append(Turn(turn.speaker, text) if text != turn.text else turn)
    turns = _with_asked_name(turns)
    if len(turns) < 2:
        counts["dropped: no dialogue"] += 1
        return None
    personas = {
        speaker: cleaned
        for speaker, persona in dialogue.personas.items()
        if (cleaned := _clean_persona(persona, known, counts)).traits
    }
    if not personas:
        counts["dropped: no persona"] += 1
        return None
    return Dialogue(dialogue.id, tuple(turns), personas, dialogue.split, dialogue.ratings)


def _clean_persona(persona: Persona, known: dict[str, str], counts: Counter[str]) -> Persona:
    traits: dict[str, str] = {}
    for raw in persona.traits:
        if raw not in known:
            known[raw] = _clean_trait(raw)
        trait = known[raw]
        if trait != raw:
            counts["persona: sentence mended" if trait else "persona: sentence dropped"] += 1
        if trait:
            if trait.lower() in traits:
                counts["persona: sentence repeated"] += 1
            traits.setdefault(trait.lower(), trait)
    return Persona(tuple(traits.values()), persona.name)


def _clean_trait(raw: str) -> str:
    raw = " ".join(raw.split())[:LONGEST_TEXT] if len(raw) > LONGEST_TEXT else raw
    if has_placeholder(raw):
        return ""
    text = clean_text(raw, Counter())
    text = _LOST_APOSTROPHE.sub(r"I'\1", text)
    return text if not text or text[-1] in ".!?" else f"{text}."


def _counted(before: str, after: str, reason: str, counts: Counter[str]) -> str:
    if after != before:
        counts[reason] += 1
    return after


def _fixed_encoding(text: str, counts: Counter[str]) -> str:
    import ftfy

    mended = ftfy.fix_encoding(text)
    if mended != text:
        counts["mojibake"] += 1
    return str(ftfy.fix_text(mended))


def _unstarred(match: re.Match[str]) -> str:
    """Drop "*smiles warmly*", keep the word of "a *really* big dog"."""
    inner = match[1].strip()
    first = inner.split(" ")
    emphasis = len(first) == 1 and not _ACTION.fullmatch(inner)
    return inner if emphasis else " "


def _joined_marks(text: str) -> str:
    if " " not in text:
        return text
    if text.count(".") > 1:
        text = _SPACED_DOTS.sub("...", text)
    if " '" in text:
        text = _SPACED_APOSTROPHE.sub("'", text)
    if " ." in text or " ," in text or " !" in text or " ?" in text or " ;" in text:
        text = _SPACED_MARK.sub(r"\1", text)
    return text


def _shortened(spoken: list[str]) -> str:
    """Cut after the last whole sentence that fits, or at the limit."""
    if len(spoken) <= LONGEST_TURN:
        return " ".join(spoken)
    kept = spoken[:LONGEST_TURN]
    ends = [index for index, word in enumerate(kept) if word[-1:] in ".!?"]
    return " ".join(kept[: ends[-1] + 1] if ends else kept)


def _is_emoticon(text: str) -> bool:
    return bool(text) and text.strip(" .,'\"-_*<>[](){}") != ""


_ORPHAN = re.compile(r"\b(what's|what is) yours\?", re.IGNORECASE)


def _with_asked_name(turns: list[Turn]) -> list[Turn]:
    """ "Hi, I'm [name]. What's yours?" has lost what "yours" speaks of."""
    for index, turn in enumerate(turns[:3]):
        match = _ORPHAN.search(turn.text) if "yours?" in turn.text.lower() else None
        if match and len(turn.text.split()) <= 5:
            turns[index] = Turn(turn.speaker, turn.text.replace(match[0], f"{match[1]} your name?"))
    return turns


def _add_without_duplicates(dialogues: Iterable[Dialogue], kept: Shelf[Dialogue], counts: Counter[str]) -> None:
    """Drop repeated dialogues; give the views that two rows have of one dialogue to a single one with both personas.

    ConvAI2 lists every dialogue twice, once for each speaker's persona. Left apart, the words of a held-out persona
    could stand in the training data as the partner's.
    """
    first: dict[int, int] = {}  # hash of how a dialogue begins -> where the first one stands
    more: dict[int, list[int]] = {}  # and where others do that begin alike
    for dialogue in dialogues:
        key = hash(tuple([turn.text.lower() for turn in dialogue.turns[:8]]))
        for place in (first[key], *more.get(key, ())) if key in first else ():
            old = kept[place]
            joined = _joined(old, dialogue)  # compares the texts: that two hashes are equal proves nothing
            if joined is old:
                counts["dropped: duplicate"] += 1
                break
            if joined is not None:
                counts["dropped: two views joined"] += 1
                kept[place] = joined
                break
        else:
            if first.setdefault(key, len(kept)) != len(kept):
                more.setdefault(key, []).append(len(kept))
            kept.append(dialogue)


def _joined(old: Dialogue, new: Dialogue) -> Dialogue | None:
    """Return ``old`` itself for a repetition, a new dialogue with both personas, or None for different dialogues."""
    shorter = min(len(old.turns), len(new.turns))
    if max(len(old.turns), len(new.turns)) - shorter > 1 or old.split != new.split:
        return None
    if any(a.text.lower() != b.text.lower() for a, b in zip(old.turns, new.turns, strict=False)):
        return None
    renamed = {b.speaker: a.speaker for a, b in zip(old.turns, new.turns, strict=False)}
    personas = dict(old.personas)
    for speaker, persona in new.personas.items():
        if speaker not in renamed:
            return None
        if sorted(personas.setdefault(renamed[speaker], persona).traits) != sorted(persona.traits):
            return None
    if len(personas) == len(old.personas):
        return old
    longest = (
        old.turns
        if len(old.turns) >= len(new.turns)
        else tuple(Turn(renamed[turn.speaker], turn.text) for turn in new.turns)
    )
    return dataclasses.replace(old, turns=longest, personas=personas)
