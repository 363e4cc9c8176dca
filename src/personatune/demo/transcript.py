"""A chat as files: JSON with everything, plain text for people, and a dialogue that ``data inspect`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from personatune.demo.chat import Chat
from personatune.demo.gauge import gauge, in_words
from personatune.errors import UserError
from personatune.plain_text import plain_text
from personatune.storage import write_json, write_jsonl, write_text


def export_chat(chat: Chat, folder: Path) -> list[Path]:
    """Write ``chat.json``, ``chat.txt`` and ``chat.dialogues.jsonl``; their names are ours, whatever a card is called.

    Raises:
        UserError: nothing was said yet, or the folder can't be written.
    """
    if not chat.session.exchanges:
        raise UserError("nothing to export: no reply yet")
    files = [folder / name for name in ("chat.json", "chat.txt", "chat.dialogues.jsonl")]
    record = as_json(chat)
    write_json(files[0], record)
    write_text(files[1], as_text(record))
    write_jsonl(files[2], [as_dialogue(chat)])
    return files


def as_json(chat: Chat) -> dict[str, Any]:
    """Return the chat with who said what, how replies were drawn, and what they have to do with the persona."""
    session = chat.session
    readings = chat.readings()
    found = gauge(readings)
    rows = zip(session.exchanges, chat.voices, readings, chat.ratings(), strict=True)
    return {
        "persona": list(session.persona.traits),
        "name": session.character.name if session.character is not None else session.persona.name,
        "greeting": session.greeting,
        "judge": chat.judge,
        "figures": {
            "replies": found.replies,
            "consistent": found.share,
            "drift": found.drift,
            "in_words": in_words(found),
        },
        "turns": [
            {
                "said": exchange.said,
                "reply": exchange.reply,
                "model": str(voice),
                "seed": voice.seed,
                "decoding": chat.shelf.decoding(voice.model),
                "liked": liked,
                "lore": [one for one in exchange.context.persona.traits if one not in session.persona.traits],
                "marks": [{"sentence": mark.trait, "verdict": mark.verdict, "by": mark.by} for mark in reading.marks],
                "contradicts_replies": list(reading.clashes),
            }
            for exchange, voice, reading, liked in rows
        ],
    }


def as_text(record: dict[str, Any]) -> str:
    """Return what `as_json` gives as a page to read."""
    lines = ["persona", *(f"  - {_indented(trait)}" for trait in record["persona"]), ""]
    if record["greeting"]:
        lines += [f"bot> {_indented(record['greeting'])}"]
    for turn in record["turns"]:
        lines += [f"you> {_indented(turn['said'])}", f"bot> {_indented(turn['reply'])}"]
        lines += [f"     {mark['verdict']} ({mark['by']}): {mark['sentence']}" for mark in turn["marks"]]
        lines += [f"     contradicts its own reply {number}" for number in turn["contradicts_replies"]]
    models = ", ".join(dict.fromkeys(turn["model"] for turn in record["turns"]))
    return "\n".join([*lines, "", record["figures"]["in_words"], f"model: {models}; judge: {record['judge']}", ""])


def _indented(text: str) -> str:
    """Return a text whose further lines can't be taken for lines of the page ("bot> …")."""
    return "\n     ".join(plain_text(text).split("\n"))


def as_dialogue(chat: Chat) -> dict[str, Any]:
    """Return the chat in the project's own dialogue format (docs/data.md)."""
    session = chat.session
    return {
        "id": "web-demo",
        "personas": {"self": list(session.persona.traits)},
        "turns": [{"speaker": turn.speaker, "text": turn.text} for turn in session.history],
    }
