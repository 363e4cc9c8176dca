"""Cards that are broken or meant to break something: one clear line, quickly, and nothing left on disk."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile.originals import with_checksums
from personatune.cards.character import CardCharacter
from personatune.cards.files import read_card, write_card
from personatune.cards.limits import MAX_JSON_BYTES, MAX_NESTING, MAX_PNG_BYTES
from personatune.cards.lorebook import LoreScanner
from personatune.cards.macros import Macros
from personatune.cards.png_chunks import SIGNATURE, Chunk, plain_picture, png_bytes, text_chunk
from personatune.cards.schema import card_of
from personatune.dialogue import Turn
from personatune.errors import UserError

CARD: dict[str, Any] = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {"name": "Mara", "description": "She sings."},
}


def refused(folder: Path, name: str, content: bytes) -> str:
    """Read bytes as a card, check that they are refused in one line, and return that line."""
    (folder / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_card(folder / name)
    line = str(caught.value)
    assert "\n" not in line
    assert name in line
    assert len(line) < 400
    return line


def as_json(**fields: Any) -> bytes:
    return json.dumps({**CARD, "data": {**CARD["data"], **fields}}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"not json", "not JSON (line 1, column 1"),
        (b'{"name": "x"', "not JSON"),
        (b"[1, 2]", "found a list, expected a card"),
        (b'"x"', "found text"),
        (b"\xff\xfe{\0}\0", "not UTF-8"),
        (b"{}", "no character card"),
        (b'{"name": "x"}', "no character card"),
        (b'{"spec": "chara_card_v9", "data": {}}', "found 'chara_card_v9', expected chara_card_v2 or chara_card_v3"),
        (b'{"spec": "lorebook_v3", "data": {}}', "found 'lorebook_v3'"),
        (b'{"spec": 3}', "spec: found a number"),
        (b'{"spec": "chara_card_v2"}', "data: found null, expected an object"),
        (b'{"spec": "chara_card_v2", "data": []}', "data: found a list"),
        (b'{"spec": "chara_card_v2", "data": {}}', "data.name: missing"),
        (b'{"spec": "chara_card_v2", "data": {"name": ""}}', "data.name: empty"),
        (b'{"spec": "chara_card_v2", "data": {"name": "  "}}', "data.name: found only blanks"),
        (as_json(description=5), "data.description: found a number, expected text"),
        (as_json(alternate_greetings="hi"), "data.alternate_greetings: found text, expected a list"),
        (as_json(alternate_greetings=["a", 1]), "data.alternate_greetings.1: found a number"),
        (as_json(extensions=[]), "data.extensions: found a list, expected an object"),
        (as_json(character_book=[]), "data.character_book: found a list, expected an object"),
        (as_json(character_book={"entries": [{"enabled": "yes"}]}), "enabled: found text, expected true or false"),
        (as_json(character_book={"entries": [{}] * 2001}), "2,001 of them, expected at most 2,000"),
        (as_json(name="x" * 201), "data.name: 201 characters, expected at most 200"),
        (as_json(description="x" * 200_001), "200,001 characters, expected at most 200,000"),
        (b'{"name": "x", "description": NaN}', "found NaN"),
        (b'{"name": "x", "description": 1e999}', "too large"),
        (b'{"name": "x", "description": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"name":' * 200_000, "nested too deeply"),
        (b"[" * 200_000, "nested too deeply"),
        (as_json(x=json.loads("[" * 70 + "]" * 70)), "nested too deeply"),
        (b"\xff\xd8\xff\xe0 a photo", "a JPEG, expected a card as .json, .png, .charx"),
        (b"RIFF1234WEBPVP8 ", "a WebP picture"),
    ],
)  # fmt: skip
def test_json_that_is_no_card_is_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, "card.json", content)


def test_nesting_up_to_the_limit_is_read(tmp_path: Path) -> None:
    inner = json.loads("[" * (MAX_NESTING - 1) + "]" * (MAX_NESTING - 1))
    (tmp_path / "card.json").write_text(json.dumps({"name": "x", "description": "y", "z": inner}), encoding="utf-8")
    assert read_card(tmp_path / "card.json").card.data.name == "x"


def test_a_text_of_fifty_megabytes_is_refused_without_being_read_whole(tmp_path: Path) -> None:
    content = b'{"name": "x", "description": "' + b"a" * 50_000_000 + b'"}'
    (tmp_path / "card.json").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"card\.json: 8\.0 MiB, expected a card of at most 8\.0 MiB"):
        read_card(tmp_path / "card.json")
    assert tracemalloc.get_traced_memory()[1] < 3 * MAX_JSON_BYTES
    tracemalloc.stop()


def test_a_folder_or_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a file"):
        read_card(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_card(tmp_path / "none.png")


def png(*chunks: Chunk) -> bytes:
    first, *rest = plain_picture(2, 2)
    return png_bytes([first, *chunks, *rest])


def card_chunk(content: bytes, keyword: str = "chara") -> Chunk:
    return text_chunk(keyword, base64.b64encode(content))


GOOD_PNG = png(card_chunk(json.dumps(CARD).encode(), "ccv3"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG", "not a PNG"),
        (SIGNATURE, "cut off after 8 bytes"),
        (GOOD_PNG[:-12], "no IEND"),
        (GOOD_PNG[:60], "cut off"),
        (png_bytes(plain_picture(2, 2)[1:]), "begins with IDAT, expected IHDR"),
        (png(), "a picture without a card: no text chunk named ccv3 or chara"),
        (GOOD_PNG.replace(b"ccv3", b"ccv4"), "wrong checksum of tEXt"),
        (SIGNATURE + struct.pack(">I", 2**31) + b"IHDR" + b"0" * 20, "cut off inside IHDR"),
        (SIGNATURE + struct.pack(">I", 0) + b"\0\0\0\0" + b"0" * 20, "no chunk begins here"),
        (png(text_chunk("chara", b"{not base64}")), "no base64"),
        (png(text_chunk("chara", b"")), "not JSON"),
        (png(card_chunk(b"[]")), "found a list, expected a card"),
        (png(card_chunk(b'{"spec": "v2"}')), "found 'v2'"),
        (png(Chunk(b"zTXt", b"chara\0\0" + zlib.compress(b"A" * 100_000_000))), "unpacks to more than"),
        (png(Chunk(b"zTXt", b"chara\0\0" + zlib.compress(b"A" * 9999)[:-9])), "its end is missing"),
        (png(Chunk(b"zTXt", b"chara\0\0garbage")), "can't be unpacked"),
        (png(Chunk(b"zTXt", b"chara\0\7garbage")), "packed in an unknown way"),
        (png(*[Chunk(b"tEXt", b"a\0b")] * 50_000), "more than 50,000 chunks"),
    ],
)
def test_a_broken_png_is_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, "card.png", content)


def test_a_text_chunk_of_fifty_megabytes_is_refused(tmp_path: Path) -> None:
    assert "47.7 MiB, expected at most" in refused(tmp_path, "card.png", png(text_chunk("chara", b"A" * 50_000_000)))


def test_a_picture_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "card.png").open("wb") as stream:
        stream.write(SIGNATURE)
        stream.truncate(MAX_PNG_BYTES + 1000)  # a file of holes takes no room
    with pytest.raises(UserError, match=r"expected a picture of at most 64\.0 MiB"):
        read_card(tmp_path / "card.png")


def archive(files: dict[str, bytes], change: Callable[[zipfile.ZipFile], None] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in files.items():
            written.writestr(name, content)
        if change is not None:
            change(written)
    return buffer.getvalue()


CARD_BYTES = json.dumps(CARD).encode()


def twice(written: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        written.writestr("card.json", b"{}")


def lzma(written: zipfile.ZipFile) -> None:
    written.writestr("a.bin", b"0" * 1000, zipfile.ZIP_LZMA)


def encrypted() -> bytes:
    content = bytearray(archive({"card.json": CARD_BYTES}))
    at = content.find(b"PK\x01\x02")
    content[6] |= 1
    content[at + 8] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "not an archive, or its end is missing"),
        (b"PK" + b"\0" * 1000, "not an archive"),
        (archive({"a.txt": b"x"}), "no card.json"),
        (archive({"sub/card.json": CARD_BYTES}), "no card.json"),
        (archive({"card.json": b"{}"}), "no character card"),
        (archive({"card.json": CARD_BYTES})[:-30], "end is missing"),
        (archive({"card.json": b" " * (MAX_JSON_BYTES + 1)}), "card.json: unpacks to 8.0 MiB, expected at most"),
        (archive({"card.json": CARD_BYTES, "../evil.txt": b"x"}), "'../evil.txt' leads out of the archive"),
        (archive({"card.json": CARD_BYTES, "/etc/passwd": b"x"}), "leads out of the archive"),
        (archive({"card.json": CARD_BYTES, "C:/x": b"x"}), "leads out of the archive"),
        (archive({"card.json": CARD_BYTES, "a\\..\\b": b"x"}), "leads out of the archive"),
        (archive({"card.json": CARD_BYTES, "a\x1b[31m": b"x"}), "can't be a file's name"),
        (archive({"card.json": CARD_BYTES, "a\u202egnp.exe": b"x"}), "can't be a file's name"),
        (archive({"card.json": CARD_BYTES}, twice), "'card.json' stands twice"),
        (archive({"card.json": CARD_BYTES}, lzma), "packed in a way .charx doesn't use"),
        (archive({f"{number}": b"" for number in range(2001)}), "expected at most 2,000"),
        (encrypted(), "is encrypted"),
    ],
)  # fmt: skip
def test_a_bad_archive_is_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, "card.charx", content)
    assert [file.name for file in tmp_path.iterdir()] == ["card.charx"]


def with_size(content: bytes, size: int) -> bytes:
    """Return an archive whose first file is said to unpack to another size."""
    changed = bytearray(content)
    for at in (22, content.find(b"PK\x01\x02") + 24):  # in the local and the central header
        changed[at : at + 4] = struct.pack("<I", size)
    return bytes(changed)


def test_a_zip_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    bomb = with_size(archive({"assets/a": b"\0" * 2**20, "card.json": CARD_BYTES}), 600 * 2**20)
    tracemalloc.start()
    assert "unpacks to 600.0 MiB, expected at most 512.0 MiB" in refused(tmp_path, "card.charx", bomb)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    content = with_size(archive({"card.json": b" " * 50_000_000}), 1000)
    tracemalloc.start()
    assert "a damaged archive" in refused(tmp_path, "card.charx", content)
    assert tracemalloc.get_traced_memory()[1] < 3 * MAX_JSON_BYTES
    tracemalloc.stop()


def test_a_list_of_a_million_files_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = archive({"card.json": CARD_BYTES})
    directory = entry[entry.find(b"PK\x01\x02") : entry.find(b"PK\x05\x06")]
    many = directory * 1_000_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(many), 0, 0)

    def no_library(*_: object) -> None:
        raise AssertionError("the list was handed to the library")

    monkeypatch.setattr("personatune.cards.charx.zipfile.ZipFile", no_library)
    assert "files or more, expected at most 2,000" in refused(tmp_path, "card.charx", many + end)


def test_the_form_for_huge_archives_is_refused(tmp_path: Path) -> None:
    content = archive({"card.json": CARD_BYTES})
    at = content.find(b"PK\x05\x06")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    assert "more than 4 GiB" in refused(tmp_path, "card.charx", content[:at] + locator + content[at:])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "card.charx"
    target.write_bytes(b"mine")
    (tmp_path / "broken.png").write_bytes(GOOD_PNG[:60])
    with pytest.raises(UserError, match="cut off"):
        write_card(target, card_of(CARD, "x"), image=tmp_path / "broken.png")
    assert target.read_bytes() == b"mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["broken.png", "card.charx"]


def test_a_folder_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "card.png").mkdir()
    (tmp_path / "card.png" / "mine").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="a folder stands there"):
        write_card(tmp_path / "card.png", card_of(CARD, "x"))
    assert (tmp_path / "card.png" / "mine").read_text(encoding="utf-8") == "mine"


# --- costs: nothing a card says may take long ----------------------------------------------------------------------


HARD_TEXTS = (
    "She " * 50_000,
    "a" * 200_000,
    "[" * 200_000,
    "{{" * 100_000,
    "{{random:" * 20_000,
    "<" * 200_000,
    "<a " * 60_000,
    "<!--" * 50_000,
    '"' * 200_000,
    "*" * 200_000,
    "Age: " * 40_000,
    "Age(" * 50_000,
    'Age("a" + ' * 20_000,
    "a:" * 100_000,
    ". " * 100_000,
    "A. " * 60_000,
    "Mara, " * 30_000,
    " " * 200_000,
    "\n" * 200_000,
    "- \n" * 60_000,
    "'s " * 60_000,
    "Mara's " * 28_000,
    "\x1b[" * 100_000,
    "and sings, " * 18_000,
    "likes: " + "a, " * 60_000,
    "[Likes: " + "a, " * 60_000,
    "<START>\n{{char}}: hi\n" * 9_000,
    "@@depth 4\n" * 20_000,
)


@pytest.mark.parametrize("text", HARD_TEXTS, ids=[repr(text[:10]) for text in HARD_TEXTS])
def test_no_text_takes_long(text: str) -> None:
    book = {"entries": [{"keys": ["x"], "content": text[:200_000], "constant": True}]}
    data = {"name": "Mara", "description": text, "personality": text, "first_mes": text, "mes_example": text}
    card = card_of({**CARD, "data": {**data, "character_book": book}}, "a card")
    began = time.process_time()
    CardCharacter(card).lore((Turn("partner", "x"),))
    assert time.process_time() - began < 5


def test_a_full_lorebook_is_searched_quickly(tmp_path: Path) -> None:
    entries = [{"keys": [f"{'a' * (1 + number % 7)}"] * 10, "content": "x"} for number in range(2000)]
    book = card_of({**CARD, "data": {"name": "x", "character_book": {"entries": entries}}}, "x").data.character_book
    scanner = LoreScanner(book, Macros("x"))
    began = time.process_time()
    assert scanner.fired((Turn("partner", "a" * 10_000),)) == []
    assert time.process_time() - began < 5
    too_many = as_json(character_book={"entries": [{"keys": ["a"] * 100}] * 201})
    assert "entries: 20,100 keys, expected at most 20,000" in refused(tmp_path, "card.json", too_many)


# --- fuzz: whatever bytes come, it is a card or one line ------------------------------------------------------------


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return the bytes with a few of them changed, cut, doubled or moved."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(changed):
            changed[at] = rng.randrange(256)
        elif kind == 1:
            del changed[at : at + rng.randint(1, 40)]
        elif kind == 2:
            changed[at:at] = changed[at : at + rng.randint(1, 40)]
        else:
            changed[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(changed)


def originals() -> Iterator[tuple[str, bytes]]:
    book = {"entries": [{"keys": ["forge", "a,b"], "content": "@@depth 4\nShe forges.", "secondary_keys": ["x"]}]}
    full = {
        **CARD,
        "data": {**CARD["data"], "character_book": book, "mes_example": "<START>\n{{user}}: hi", "tags": ["x"]},
    }
    content = json.dumps(full).encode()
    yield "card.json", content
    yield "card.png", png(card_chunk(content, "ccv3"), Chunk(b"zTXt", b"chara\0\0" + zlib.compress(b"e30=")))
    yield "z.png", png(Chunk(b"zTXt", b"chara\0\0" + zlib.compress(base64.b64encode(content))))
    yield "i.png", png(Chunk(b"iTXt", b"chara\0\1\0en\0\0" + zlib.compress(base64.b64encode(content))))
    yield "card.charx", archive({"card.json": content, "assets/icon/images/a.png": b"x"})


@pytest.mark.parametrize(("name", "content"), list(originals()), ids=[name for name, _ in originals()])
def test_damaged_bytes_are_a_card_or_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    rng = random.Random(7)
    outcomes = {"read": 0, "refused": 0}
    lines: set[int] = set()
    for _ in range(150):
        changed = damaged(content, rng)
        if name.endswith(".png") and rng.random() < 0.8:
            changed = with_checksums(changed)
        (tmp_path / name).write_bytes(changed)
        try:
            source = read_card(tmp_path / name)
            CardCharacter(source.card).lore((Turn("partner", "forge"),))
            outcomes["read"] += 1
        except UserError as error:
            lines.add(str(error).count("\n"))
            outcomes["refused"] += 1
    assert outcomes["refused"] > 20
    assert lines == {0}


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["x.json", "x.png", "x.charx"]), st.binary(max_size=400))
def test_random_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / name
    for start in (b"", SIGNATURE, b"PK\x03\x04"):
        file.write_bytes(start + content)
        with suppress(UserError):
            read_card(file)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(st.characters(), max_size=300), st.text(st.characters(), min_size=1, max_size=30).filter(str.strip))
def test_any_text_becomes_a_persona_of_plain_short_sentences(text: str, name: str) -> None:
    data = {"name": name, "description": text, "personality": text, "mes_example": text, "first_mes": text}
    character = CardCharacter(card_of({**CARD, "data": data}, "a card"))
    assert 1 <= len(character.persona.traits) <= 20
    for trait in character.persona.traits:
        assert trait.strip() == trait != ""
        assert len(trait) <= 200
        assert "\n" not in trait
        assert trait.isprintable() or "\u200c" in trait or "\u200d" in trait
