"""One record of any known dataset -> one `Dialogue`, recognised by its columns and not by the file's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from personatune.data.cells import (
    PARTNER_SPEAKERS,
    PERSONA_SPEAKERS,
    SILENCE,
    Speech,
    UnusableRowError,
    decoded,
    sentences,
    speeches,
)
from personatune.dialogue import Dialogue, Persona, Turn

Record = Mapping[str, Any]

MOST_TURNS, MOST_TRAITS = 5_000, 500
"""Of a row: what is longer is no chat. A line of a megabyte may hold a hundred thousand of either."""

_PERSONA_FIELDS = ("persona", "personas", "personality", "user_persona", "persona_info", "traits", "profile")
_DIALOGUE_FIELDS = (
    "conversation", "dialogue", "dialog", "history", "messages", "utterances", "turns", "conversations",
)  # fmt: skip
_REPLY_FIELDS = ("response", "reply", "answer")


class Schema(NamedTuple):
    """A known dataset format.

    Attributes:
        name: as reported to the user.
        fits: says from the column names whether a record has this format.
        read: turns a record and its id into a dialogue, or raises `UnusableRowError`.
        licence: of the dataset that introduced the format, where its files are usually that dataset.
    """

    name: str
    fits: Callable[[Record], bool]
    read: Callable[[Record, str], Dialogue]
    licence: str | None = None


def schema_of(record: Record) -> Schema | None:
    """Return the first schema that fits a record (columns in `reading.field_name` spelling)."""
    return next((schema for schema in SCHEMAS if schema.fits(record)), None)


def _dialogue(name: str, spoken: Sequence[Speech], personas: Mapping[str, Sequence[str]]) -> Dialogue:
    if not spoken:
        raise UnusableRowError("no dialogue")
    if len({speaker for speaker, _ in spoken}) > 2:
        raise UnusableRowError("more than two speakers")
    if len(spoken) > MOST_TURNS or any(len(traits) > MOST_TRAITS for traits in personas.values()):
        raise UnusableRowError("longer than any chat")
    kept = {speaker: Persona(tuple(traits)) for speaker, traits in personas.items() if traits}
    if not kept:
        raise UnusableRowError("no persona")
    return Dialogue(name, tuple(Turn(speaker, text) for speaker, text in spoken), kept)


def _first(record: Record, fields: Sequence[str]) -> str | None:
    return next((field for field in fields if record.get(field) not in (None, "", [])), None)


def _alternating(texts: Sequence[str], names: Sequence[str] = ("partner", "self")) -> list[Speech]:
    return [(names[index % 2], text) for index, text in enumerate(texts) if text.strip() and text.strip() != SILENCE]


def _two_persona_field(record: Record, user: int) -> str | None:
    return next((name for name in (f"user_{user}_persona", f"user_{user}_personas") if name in record), None)


def _fits_two_users(record: Record) -> bool:
    return _two_persona_field(record, 1) is not None and _two_persona_field(record, 2) is not None


def _read_two_users(record: Record, name: str) -> Dialogue:
    """Synthetic-Persona-Chat: the hub's columns, the official CSV's and the JSONL's."""
    field = _first(record, ("best_generated_conversation", *_DIALOGUE_FIELDS))
    spoken = speeches(record[field]) if field else []
    names = list(dict.fromkeys(speaker for speaker, _ in spoken))
    if names == [""]:
        spoken = _alternating([text for _, text in spoken], ("User 1", "User 2"))
        names = ["User 1", "User 2"]
    first, second = "User 1", "User 2"
    if not set(names) <= {first, second}:  # other names: in order of appearance
        first, second = (*names, second)[:2]
    personas = {
        speaker: sentences(record[_two_persona_field(record, user) or ""])
        for user, speaker in ((1, first), (2, second))
    }
    return _dialogue(name, spoken, personas)


def _fits_persona_chat(record: Record) -> bool:
    if "personality" not in record:
        return False
    if "history" in record and "candidates" in record:
        return True
    utterances = record.get("utterances")
    return isinstance(utterances, list) and bool(utterances) and isinstance(utterances[-1], Mapping)


def _read_persona_chat(record: Record, name: str) -> Dialogue:
    """Persona-Chat: the last row of a conversation holds its whole history; the gold reply is the last candidate."""
    last = record["utterances"][-1] if "utterances" in record else record
    history, candidates = decoded(last.get("history")), decoded(last.get("candidates"))
    if not isinstance(history, Sequence) or isinstance(history, str) or not history:
        raise UnusableRowError("no dialogue")
    texts = [str(text) for text in history]
    if isinstance(candidates, Sequence) and not isinstance(candidates, str) and candidates:
        texts.append(str(candidates[-1]))
    # The history ends with the partner's line, so the persona's own lines are counted from the end.
    names = ("partner", "self") if len(history) % 2 else ("self", "partner")
    return _dialogue(name, _alternating(texts, names), {"self": sentences(record["personality"])})


def _read_parlai(record: Record, name: str) -> Dialogue:
    """ConvAI2 in ParlAI's text format: persona lines, then "partner<TAB>reply<TAB><TAB>candidates"."""
    traits: dict[str, list[str]] = {"self": [], "partner": []}
    spoken: list[Speech] = []
    for line in record["parlai"]:
        lowered = line[:24].lower()
        if lowered.startswith("your persona:"):
            traits["self"].append(line[13:].strip())
        elif lowered.startswith("partner's persona:"):
            traits["partner"].append(line[18:].strip())
        else:
            partner, _, rest = line.partition("\t")
            spoken += [("partner", partner), ("self", rest.split("\t", 1)[0])]
    spoken = [(speaker, text.strip()) for speaker, text in spoken if text.strip() and text.strip() != SILENCE]
    return _dialogue(name, spoken, traits)


def _fits_blended(record: Record) -> bool:
    raw = "dialog" in record and "free_turker_utterance" in record
    return "personas" in record and (raw or ("free_messages" in record and "guided_messages" in record))


def _read_blended(record: Record, name: str) -> Dialogue:
    """Blended Skill Talk: the hub's columns (the persona is the guided speaker's) and ParlAI's JSON (both)."""
    personas = decoded(record["personas"]) or []
    if "free_messages" in record:
        opening = decoded(record.get("previous_utterance")) or []
        free, guided = decoded(record["free_messages"]) or [], decoded(record["guided_messages"]) or []
        spoken = list(zip(("free", "guided"), map(str, opening), strict=False))
        for index in range(max(len(free), len(guided))):
            spoken += [
                (who, str(said[index])) for who, said in (("free", free), ("guided", guided)) if index < len(said)
            ]
    else:
        spoken = [("free", str(record["free_turker_utterance"])), ("guided", str(record["guided_turker_utterance"]))]
        spoken += [("guided" if int(turn[0]) else "free", str(turn[1])) for turn in record["dialog"]]
    spoken = [(speaker, text) for speaker, text in spoken if text.strip()]
    if personas and not isinstance(personas[0], str):
        return _dialogue(name, spoken, dict(zip(("free", "guided"), map(sentences, personas), strict=False)))
    return _dialogue(name, spoken, {"guided": sentences(personas)})


def _fits_loose(record: Record) -> bool:
    dialogue = any(field in record for field in _DIALOGUE_FIELDS)
    return dialogue and (any(field in record for field in _PERSONA_FIELDS) or "messages" in record)


def _read_loose(record: Record, name: str) -> Dialogue:
    """The own format and everything named like it; see docs/data.md for whose persona a lone one is."""
    dialogue_field, persona_field = _first(record, _DIALOGUE_FIELDS), _first(record, _PERSONA_FIELDS)
    spoken = speeches(record[dialogue_field]) if dialogue_field else []
    speakers = {speaker for speaker, _ in spoken}
    system: list[str] = []
    if any(speaker.lower() == "system" for speaker in speakers):
        system = [text for speaker, text in spoken if speaker.lower() == "system"]
        spoken = [(speaker, text) for speaker, text in spoken if speaker.lower() != "system"]
        speakers = {speaker for speaker, _ in spoken}
    reply_field = _first(record, _REPLY_FIELDS)
    if not any(speakers):
        texts = [text for _, text in spoken]
        if reply_field:
            names = ("partner", "self") if len(texts) % 2 else ("self", "partner")
            spoken = _alternating([*texts, str(record[reply_field])], names)
        else:
            spoken = _alternating(texts, ("A", "B"))
    elif reply_field and spoken:
        partner = spoken[-1][0]
        owner = next((speaker for speaker, _ in spoken if speaker != partner), "self")
        spoken = [*spoken, (owner, str(record[reply_field]))]
    value = decoded(record[persona_field]) if persona_field else "\n".join(system)
    names_in_order = list(dict.fromkeys(speaker for speaker, _ in spoken))
    if isinstance(value, Mapping) and any(speaker in value for speaker in names_in_order):
        personas = {speaker: sentences(value[speaker]) for speaker in names_in_order if speaker in value}
    elif isinstance(value, list) and value and all(isinstance(part, (list, Mapping)) for part in value):
        personas = dict(zip(names_in_order, map(sentences, value), strict=False))
    else:
        traits = sentences(value)
        described = _owner(names_in_order, persona_field, replied=reply_field is not None, spoken=spoken)
        personas = {described: traits} if described is not None else {}
    return _dialogue(name, spoken, personas)


def _owner(names: Sequence[str], persona_field: str | None, *, replied: bool, spoken: Sequence[Speech]) -> str | None:
    """Say who a lone persona belongs to."""
    if not spoken:
        return None
    if replied:
        return spoken[-1][0]
    wanted = PARTNER_SPEAKERS if persona_field == "user_persona" else PERSONA_SPEAKERS
    named: str | None = next((speaker for speaker in names if speaker.lower() in wanted), None)
    if named is None and any(speaker.lower() in PARTNER_SPEAKERS for speaker in names):
        named = next((speaker for speaker in names if speaker.lower() not in PARTNER_SPEAKERS), None)
    return named if named is not None else names[min(1, len(names) - 1)]


SCHEMAS = (
    Schema("ConvAI2 text", lambda record: "parlai" in record, _read_parlai, "CC BY 4.0"),
    Schema("Synthetic-Persona-Chat", _fits_two_users, _read_two_users, "CC BY 4.0"),
    Schema("Persona-Chat", _fits_persona_chat, _read_persona_chat, "CC BY 4.0"),
    Schema("Blended Skill Talk", _fits_blended, _read_blended),
    Schema("persona dialogues", _fits_loose, _read_loose),
)
