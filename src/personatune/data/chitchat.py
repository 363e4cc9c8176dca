"""chitchat-dataset: 7,168 human conversations without personas; a speaker's persona is mined from what they say.

A speaker tells the same facts in several conversations, so all statements of one sender form one pool. What a speaker
said in the conversation at hand comes first in its persona: there a human reply expresses it, which is what training
needs to see.
"""

from __future__ import annotations

import importlib.util
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from personatune.data.statements import Caser, self_statements
from personatune.dialogue import Dialogue, Persona, Turn
from personatune.embedded import check_embedded
from personatune.errors import UserError
from personatune.words import keyword_stems

# Traits kept of a sender over all conversations. Each of the sender's personas carries them (less what repeats the
# conversation at hand), so that the split by persona keeps a sender's conversations together; `DataProcessor` later
# keeps the ones a conversation is about.
POOL_TRAITS = 12
LONGEST_MESSAGE = 5_000  # characters that are looked at: patterns take a time that grows faster than a text
HERE_TRAITS = 6  # said in the conversation at hand, whether they are in the pool or not

_PACKAGE = "chitchat_dataset"


def chitchat_file() -> Path:
    """Return the data file of the installed ``chitchat-dataset`` package without importing it.

    Raises:
        UserError: the package is not installed, or its file isn't the published one.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise UserError("chitchat: the package chitchat-dataset is not installed; pip install chitchat-dataset")
    path = Path(found.origin).with_name("dataset.json")
    if not path.is_file():
        raise UserError(f"chitchat: {path} is missing; pip install --force-reinstall chitchat-dataset")
    check_embedded("chitchat-dataset", path.parent)
    return path


def fits_chitchat(record: Mapping[str, Any]) -> bool:
    """Say whether a record has chitchat's form: messages grouped in lists, each with text and sender."""
    messages = record.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[0], list) or not messages[0]:
        return False
    return isinstance(messages[0][0], Mapping) and {"text", "sender"} <= set(messages[0][0])


def read_chitchat(records: Iterable[Mapping[str, Any]], skipped: Counter[str]) -> list[Dialogue]:
    """Return the two-sided conversations with mined personas; the others are counted in ``skipped`` by reason."""
    conversations: list[tuple[str, dict[str, float]]] = []
    messages: list[list[tuple[str, str]]] = []
    for number, record in enumerate((record for record in records if fits_chitchat(record)), start=1):
        try:
            read = list(messages_of(record)), _ratings(record)
        except (TypeError, KeyError, AttributeError, ValueError, OverflowError):
            skipped["columns of an unknown form"] += 1
            continue
        messages.append(read[0])
        conversations.append((str(record.get("id", f"row-{number}")), read[1]))
    caser = Caser(text for conversation in messages for _, text in conversation)
    mined = [_mined(conversation, caser) for conversation in messages]
    pools = _pools(mined)
    dialogues: list[Dialogue] = []
    for (name, ratings), conversation, said in zip(conversations, messages, mined, strict=True):
        turns = joined_turns(conversation)
        speakers = {turn.speaker for turn in turns}
        if len(speakers) != 2:
            skipped["one speaker only" if len(speakers) < 2 else "more than two speakers"] += 1
            continue
        personas = {speaker: Persona(_persona(said.get(speaker, []), pools.get(speaker, []))) for speaker in speakers}
        personas = {speaker: persona for speaker, persona in sorted(personas.items()) if persona.traits}
        if not personas:
            skipped["no persona"] += 1
            continue
        dialogues.append(Dialogue(f"chitchat-{name}", turns, personas, None, ratings))
    return dialogues


def _ratings(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the ratings of a conversation.

    Raises:
        ValueError: one is no finite number.
    """
    ratings = {str(name): float(value) for name, value in (record.get("ratings") or {}).items()}
    if not all(map(math.isfinite, ratings.values())):
        raise ValueError("a rating is no finite number")
    return ratings


def messages_of(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for group in record["messages"]:
        for message in group:
            yield str(message["sender"])[:8], str(message["text"])[:LONGEST_MESSAGE]


def joined_turns(messages: Iterable[tuple[str, str]]) -> tuple[Turn, ...]:
    """Join the consecutive messages of a sender into one turn."""
    turns: list[Turn] = []
    for sender, written in messages:
        text = " ".join(written.split())
        if not text:
            continue
        if turns and turns[-1].speaker == sender:
            before = turns[-1].text
            joint = " " if before[-1] in ".!?,:;)" else ". " if text[:1].isupper() else " "
            turns[-1] = Turn(sender, f"{before}{joint}{text}")
        else:
            turns.append(Turn(sender, text))
    return tuple(turns)


def _mined(messages: Iterable[tuple[str, str]], caser: Caser) -> dict[str, list[str]]:
    said: dict[str, list[str]] = defaultdict(list)
    for sender, text in messages:
        said[sender].extend(self_statements(text, caser))
    return said


def _pools(mined: Iterable[Mapping[str, list[str]]]) -> dict[str, list[str]]:
    """Return each sender's most telling statements over all conversations, best first."""
    everything: dict[str, Counter[str]] = defaultdict(Counter)
    for conversation in mined:
        for sender, statements in conversation.items():
            everything[sender].update(statements)
    speakers_of = Counter(stem for said in everything.values() for stem in {s for t in said for s in keyword_stems(t)})
    pools: dict[str, list[str]] = {}
    for sender, said in everything.items():
        ranked = sorted(said, key=lambda trait: (-_telling(trait, said[trait], speakers_of, len(everything)), trait))
        pools[sender] = _distinct(ranked, POOL_TRAITS)
    return pools


def _telling(trait: str, times: int, speakers_of: Mapping[str, int], speakers: int) -> float:
    """Score a trait: keywords few others use and names count, sheer length doesn't, saying it twice confirms it."""
    keywords = keyword_stems(trait)
    rarity = sorted((min(math.log(speakers / speakers_of[stem]), 4.5) for stem in keywords), reverse=True)[:3]
    names = sum(word[:1].isupper() for word in trait.split()[1:] if word not in ("I", "I'm"))
    return sum(rarity) + min(names, 2) + min(times - 1, 3) - 0.5 * max(0, len(trait.split()) - 10)


def _persona(said_here: Iterable[str], pool: Iterable[str]) -> tuple[str, ...]:
    """What was said in this conversation first, then the rest of the pool."""
    ranked = {trait: place for place, trait in enumerate(pool)}
    here = sorted(dict.fromkeys(said_here), key=lambda trait: ranked.get(trait, len(ranked)))
    return tuple(_distinct([*_distinct(here, HERE_TRAITS), *pool], HERE_TRAITS + POOL_TRAITS))


def _distinct(traits: Iterable[str], limit: int) -> list[str]:
    """Keep the first of traits that share half of their keywords."""
    kept: list[tuple[str, frozenset[str]]] = []
    for trait in traits:
        keywords = frozenset(keyword_stems(trait))
        if keywords and all(2 * len(keywords & other) < min(len(keywords), len(other)) + 1 for _, other in kept):
            kept.append((trait, keywords))
            if len(kept) == limit:
                break
    return [trait for trait, _ in kept]
