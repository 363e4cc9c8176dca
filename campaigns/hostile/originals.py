"""Valid files of every kind that a stranger may bring, to be damaged; some are packed again after their inside was."""

from __future__ import annotations

import base64
import csv
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import yaml

from personatune.cards.png_chunks import SIGNATURE, Chunk, plain_picture, png_bytes, text_chunk

Finish = Callable[[bytes], bytes]


def as_it_is(content: bytes) -> bytes:
    """Return the bytes."""
    return content


@dataclass(frozen=True)
class Original:
    """One valid file.

    Attributes:
        finish: what is done to the damaged content, half of the time, so that what lies behind a checksum, base64 or
            compression is reached.
    """

    name: str
    content: bytes
    finish: Finish = as_it_is


_MINE = ["I have two dogs.", "I work as a chef.", "I live in Chicago."]
_YOURS = ["I like green.", "I am a nurse.", "I play the cello."]
_TALK = [
    ("User 1", "Hi, how are you today?"), ("User 2", "I am fine, I just walked my two dogs."),
    ("User 1", "What do you do for a living?"), ("User 2", "I work as a chef in Chicago."),
    ("User 1", "Nice, I am a nurse."), ("User 2", "Do you play the cello at work?"),
]  # fmt: skip


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _lines(*rows: Any) -> bytes:
    return b"".join(_json(row) + b"\n" for row in rows)


def _rows() -> list[dict[str, Any]]:
    """Return dialogues in the own format, of different people."""
    rows = []
    for number, pet in enumerate(("dogs", "cats", "birds", "fish", "mice")):
        turns = [{"speaker": who, "text": f"{text} {number}"} for who, text in _TALK]
        personas = {
            "User 1": [f"{one[:-1]} {number}." for one in _YOURS],
            "User 2": [f"I own {number + 2} {pet}.", *_MINE[1:]],
        }
        rows.append({"id": f"d{number}", "personas": personas, "turns": turns, "split": "train"})
    return rows


def _table(delimiter: str) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerow(["user 1 personas", "user 2 personas", "Best Generated Conversation"])
    for number in range(4):
        talk = "\n".join(f"{who}: {text} {number}" for who, text in _TALK)
        writer.writerow([f"I own {number} cats.\nI sing.", "\n".join(_MINE), talk])
    return stream.getvalue().encode()


def _cells() -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(["persona", "history", "response"])
    for number in range(3):
        said = [text for _, text in _TALK[:3]]
        writer.writerow([repr(_MINE), json.dumps(said), f"I work as a chef {number}."])
    return stream.getvalue().encode()


def tables() -> list[Original]:
    return [Original("a.csv", _table(",")), Original("b.tsv", _table("\t")), Original("c.csv", _cells())]


def dialogue_lines() -> list[Original]:
    spc = [
        {"user_1_personas": _YOURS, "user_2_personas": [f"I own {n} mice.", *_MINE], "conversation": _TALK}
        for n in range(3)
    ]
    chat = {
        "personality": _MINE,
        "history": ["Hi!", "Hello.", "Pets?"],
        "candidates": ["No.", "Two dogs."],
        "conv_id": 1,
    }
    blended = {
        "personas": _MINE, "previous_utterance": ["a", "b"], "free_messages": ["Hi!", "Job?"],
        "guided_messages": ["Hello.", "Chef."], "additional_context": "", "context": "",
    }  # fmt: skip
    talk = {"messages": [{"role": "system", "content": "I cook. I sing."}, {"role": "user", "content": "Hi!"},
                         {"role": "assistant", "content": "I sing."}]}  # fmt: skip
    return [
        Original("own.jsonl", _lines(*_rows())), Original("spc.jsonl", _lines(*spc)),
        Original("chat.jsonl", _lines(chat, {**chat, "conv_id": 2})), Original("blended.jsonl", _lines(blended, talk)),
    ]  # fmt: skip


def dialogue_trees() -> list[Original]:
    message = [{"text": "i have two dogs and i love cooking", "sender": "a" * 8, "timestamp": "2020-01-01"}]
    answer = [{"text": "i live in utah. i am a student", "sender": "b" * 8, "timestamp": "2020-01-01"}]
    chitchat = {
        name: {"messages": [message, answer, message], "ratings": {"witty": 3, "int": 2, "upbeat": 5}, "prompt": "x"}
        for name in ("x", "y")
    }
    return [
        Original("list.json", _json(_rows())), Original("parts.json", _json({"train": _rows(), "valid": _rows()[:1]})),
        Original("ids.json", _json({row["id"]: row for row in _rows()})), Original("chitchat.json", _json(chitchat)),
    ]  # fmt: skip


def _parlai(candidates: str = "") -> bytes:
    lines = []
    for number in range(4):
        lines += [
            f"1 your persona: i own {number} dogs.",
            "2 your persona: i am a chef.",
            "3 partner's persona: i sing.",
        ]
        lines += [f"4 hi !\thello {number} .{candidates.format(number)}", f"5 any pets ?\ti own {number} dogs ."]
        if candidates:
            lines[-1] += f"\t\tno .|i own {number} dogs ."
    return "\n".join(lines).encode() + b"\n"


def convai2_texts() -> list[Original]:
    return [Original("convai2.txt", _parlai()), Original("train_both.txt", _parlai().replace(b"hi !", b"__SILENCE__"))]


def parquets() -> list[Original]:
    stream = io.BytesIO()
    personas = [[f"{trait[:-1]} {number}." for trait in _MINE] for number in range(6)]  # no sentence in two splits
    talks = [[f"{text} {number}" for _, text in _TALK] for number in range(6)]
    table = pa.table({"persona": personas, "dialogue": talks})
    pq.write_table(table, stream)
    return [Original("a.parquet", stream.getvalue())]


_BOOK = {"entries": [{"keys": ["forge", "a,b"], "content": "@@depth 4\nShe forges.", "secondary_keys": ["x"],
                      "enabled": True, "insertion_order": 3, "extensions": {}}], "scan_depth": 5}  # fmt: skip
CARD: dict[str, Any] = {
    "spec": "chara_card_v3", "spec_version": "3.0",
    "data": {
        "name": "Mara", "description": "{{char}} sings. She has two dogs. [Likes: tea, rain]", "personality": "kind",
        "first_mes": "Hello {{user}}!", "mes_example": "<START>\n{{user}}: hi\n{{char}}: Hm.", "tags": ["x"],
        "alternate_greetings": ["Hi.", "{{random:a,b}}"], "character_book": _BOOK, "extensions": {"depth_prompt": {}},
        "nickname": "M", "assets": [{"type": "icon", "uri": "embeded://assets/icon/images/a.png", "name": "main"}],
    },
}  # fmt: skip
_V2 = {**CARD, "spec": "chara_card_v2", "spec_version": "2.0"}
_V1 = {key: CARD["data"][key] for key in ("name", "description", "personality", "first_mes", "mes_example")}


def card_jsons() -> list[Original]:
    return [Original("v3.json", _json(CARD)), Original("v2.json", _json(_V2)), Original("v1.json", _json(_V1))]


def with_checksums(content: bytes) -> bytes:
    """Give every chunk of a damaged PNG its right checksum, so that what lies behind the checksums is reached."""
    out, at = bytearray(content), len(SIGNATURE)
    while at + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, at)
        if at + 12 + length > len(out):
            break
        out[at + 8 + length : at + 12 + length] = struct.pack(">I", zlib.crc32(out[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(out)


def _picture(*chunks: Chunk) -> bytes:
    first, *rest = plain_picture(2, 2)
    return png_bytes([first, *chunks, *rest])


def _packed(kind: bytes, before: bytes) -> Finish:
    return lambda content: _picture(Chunk(kind, before + zlib.compress(base64.b64encode(content))))


def card_pngs() -> list[Original]:
    card = _json(CARD)
    text = _picture(text_chunk("ccv3", base64.b64encode(card)), text_chunk("chara-ext-asset_:0", b"eA=="))
    return [
        Original("text.png", text, with_checksums),
        Original("packed.png", _packed(b"zTXt", b"chara\0\0")(card), with_checksums),
        Original("inner.png", card, lambda content: _picture(text_chunk("ccv3", base64.b64encode(content)))),
        Original("zip.png", card, _packed(b"zTXt", b"chara\0\0")),
        Original("i.png", card, _packed(b"iTXt", b"chara\0\1\0en\0\0")),
    ]


def _archive(content: bytes, extra: str = "assets/icon/images/a.png") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("card.json", content)
        written.writestr(extra, _picture())
    return buffer.getvalue()


def card_archives() -> list[Original]:
    card = _json(CARD)
    slip = _archive(card, "../../evil.txt")
    return [
        Original("a.charx", _archive(card)), Original("inner.charx", card, _archive), Original("slip.charx", slip),
    ]  # fmt: skip


def probe_files() -> list[Original]:
    folder = resources.files("personatune.judging.persona_probes")
    found = []
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".yaml"):
            some = yaml.safe_load(file.read_text(encoding="utf-8"))[:2]
            found.append(Original(file.name, yaml.safe_dump(some, sort_keys=False, allow_unicode=True).encode()))
    return found[:3]


def _pair(number: int, kind: str) -> dict[str, Any]:
    context = {
        "persona": {"traits": _MINE, "name": None},
        "history": [["partner", "Hi!"], ["self", "Hm."], ["partner", "Job?"]],
    }
    return {"context": context, "chosen": f"Chef {number}.", "rejected": "None.", "kind": kind, "origin": "votes | 1"}


def preference_files() -> list[Original]:
    pairs = [_pair(number, "contradiction") for number in range(3)]
    return [
        Original("pairs.jsonl", _lines(*pairs)),
        Original("votes.jsonl", _lines(_pair(1, "vote"), _pair(2, "vote"))),
    ]


def ranking_files() -> list[Original]:
    groups = {"label": ["yes ."], "neg": ["no .", "never ."], "similar": ["my dog ."], "rand": ["rain ."]}
    record = {
        "persona": _MINE,
        "prefix": ["hi !", "hello .", "pets ?"],
        "triple": ["i", "have", "dog"],
        "candidates": groups,
    }
    return [
        Original("nli.json", _json([record, record])), Original("nli.jsonl", _lines(record, record)),
        Original("candidates.txt", _parlai("\t\tno .|hello {} .")),
    ]  # fmt: skip


def reply_files() -> list[Original]:
    rows = [{"persona": _MINE, "history": ["Hi!", f"{number}?"], "reply": "Hm."} for number in range(3)]
    pairs = [{"history": [["User 1", "Hi!"]], "reply": "Hm."}]
    return [
        Original("replies.jsonl", _lines(*rows)), Original("bare.jsonl", _lines({"reply": "a"}, {"reply": "b"})),
        Original("pairs.jsonl", _lines(*pairs)),
    ]  # fmt: skip


def written_files() -> list[Original]:
    turns = [
        {"partner": "Pets?", "bot": "Two dogs.", "trait": 0, "wrong": "One cat."},
        {"partner": "Ok.", "bot": "Yes.", "trait": None},
    ]
    return [Original("written.jsonl", _lines(*({"persona": _MINE, "turns": turns} for _ in range(3))))]


def settings_files() -> list[Original]:
    folder = resources.files("personatune.configs")
    return [Original(f"my-{name}.yaml", folder.joinpath(f"{name}.yaml").read_bytes()) for name in ("quick", "standard")]


def pair_tables() -> list[Original]:
    rows = [
        ("I have a dog.", "I own a pet.", "entailment"),
        ("I cook.", "I never cook.", "2"),
        ("a b", "c d", "-"),
        ("x", "y", "neutral"),
    ]
    return [
        Original(
            "pairs.tsv", ("premise\thypothesis\tlabel\n" + "".join("\t".join(row) + "\n" for row in rows)).encode()
        )
    ]


def price_tables() -> list[Original]:
    return [Original("prices.json", resources.files("personatune.costs").joinpath("prices.json").read_bytes())]


def manifests() -> list[Original]:
    rows = [
        {"stage": stage, "finished": "2026-01-01T00:00:00+00:00", "of": stage}
        for stage in ("prepare", "sft", "methods/dpo/1")
    ]
    return [Original("manifest.jsonl", _lines(*rows))]
