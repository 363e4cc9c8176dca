"""Cards through every container and version: whatever a card holds comes back as it was."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personatune.cards.card_json import json_text, parse_object
from personatune.cards.files import convert, read_card, write_card
from personatune.cards.png_card import card_in_png, png_with_card
from personatune.cards.png_chunks import Chunk, plain_picture, read_chunks
from personatune.cards.schema import V1_FIELDS, CharacterCard, card_of
from personatune.cards.versions import BACKFILL_NOTICE, KEPT_V3, as_version, new_card, unknown_fields
from personatune.errors import UserError

LETTERS = st.text(max_size=20)
NAMES = LETTERS.filter(str.strip)
NUMBERS = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | LETTERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3),
    max_leaves=8,
)
UNKNOWN = st.dictionaries(LETTERS.map("x_{}".format), VALUES, max_size=3)
ENTRIES = st.builds(
    lambda known, unknown: unknown | known,
    st.fixed_dictionaries(
        {
            "keys": st.lists(LETTERS, max_size=3),
            "content": LETTERS,
            "enabled": st.booleans(),
            "insertion_order": NUMBERS,
        },
        optional={"extensions": UNKNOWN, "selective": st.booleans(), "id": VALUES, "case_sensitive": st.none()},
    ),
    UNKNOWN,
)
BOOKS = st.builds(
    lambda known, unknown: unknown | known,
    st.fixed_dictionaries({"entries": st.lists(ENTRIES, max_size=3)}, optional={"scan_depth": st.integers(0, 9)}),
    UNKNOWN,
)
V1_TEXTS = st.fixed_dictionaries({"name": NAMES, **dict.fromkeys(V1_FIELDS[1:], LETTERS)})
V2_TEXTS = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        **dict.fromkeys((*V1_FIELDS[1:], "creator_notes", "system_prompt", "creator"), LETTERS),
        "alternate_greetings": st.lists(LETTERS, max_size=2),
        "tags": st.lists(LETTERS, max_size=2),
        "extensions": UNKNOWN,
        "character_book": BOOKS,
    },
)
V3_ONLY = st.fixed_dictionaries(
    {},
    optional={
        "nickname": LETTERS,
        "assets": st.lists(VALUES, max_size=2),
        "source": st.lists(LETTERS, max_size=2),
        "group_only_greetings": st.lists(LETTERS, max_size=2),
        "creation_date": st.integers(0, 10**10),
    },
)
V1_CARDS = st.builds(lambda known, unknown: unknown | known, V1_TEXTS, UNKNOWN)
V2_CARDS = st.builds(
    lambda known, inside, outside: (
        outside | {"spec": "chara_card_v2", "spec_version": "2.0", "data": inside | known}
    ),
    V2_TEXTS, UNKNOWN, UNKNOWN,
)  # fmt: skip
V3_CARDS = st.builds(
    lambda card, only: card | {"spec": "chara_card_v3", "spec_version": "3.0", "data": card["data"] | only},
    V2_CARDS, V3_ONLY,
)  # fmt: skip
CARDS = V1_CARDS | V2_CARDS | V3_CARDS
FAST = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def same(left: object, right: object) -> bool:
    """Compare as JSON text, so that 1, 1.0 and true differ."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def holds(whole: Any, part: Any) -> bool:
    """Say whether every value of ``part`` is in ``whole`` at its place; null may have become a default."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            value is None or (key in whole and holds(whole[key], value)) for key, value in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(holds, whole, part))
    return same(whole, part)


@FAST
@given(CARDS)
def test_a_card_comes_back_from_json_with_every_value_as_it_was(document: dict[str, Any]) -> None:
    card = card_of(parse_object(json.dumps(document).encode(), "a card").document, "a card")
    assert same(parse_object(json_text(card.document).encode(), "a card").document, document)


@FAST
@given(CARDS)
def test_a_card_comes_back_from_a_png_with_every_value_as_it_was(document: dict[str, Any]) -> None:
    png = png_with_card(plain_picture(2, 2), card_of(document, "a card"))
    assert same(card_in_png(read_chunks(png, "a picture"), "a picture").document, document)


@FAST
@given(V3_CARDS)
def test_a_v3_card_comes_back_from_an_archive_with_every_value_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]
) -> None:
    file = tmp_path_factory.getbasetemp() / "card.charx"
    write_card(file, card_of(document, "a card"))
    assert same(read_card(file).card.document, document)


@FAST
@given(CARDS)
def test_a_newer_version_holds_every_value_of_the_older_one(document: dict[str, Any]) -> None:
    card = card_of(document, "a card")
    newest = as_version(as_version(card, "v2").card, "v3").card if card.version == "v1" else as_version(card, "v3").card
    content = newest.document["data"]
    if card.version == "v1":
        assert holds(content, {field: document[field] for field in V1_FIELDS})
        assert holds(newest.document, {key: value for key, value in document.items() if key not in V1_FIELDS})
    else:
        assert holds(content, document["data"])


@FAST
@given(V3_CARDS)
def test_a_v3_card_survives_the_way_to_v2_and_back(document: dict[str, Any]) -> None:
    older = as_version(card_of(document, "a card"), "v2")
    assert older.lost == ()
    assert older.card.document["spec"] == "chara_card_v2"
    assert holds(as_version(older.card, "v3").card.document, document)


@FAST
@given(V2_CARDS)
def test_a_v2_card_survives_the_way_to_v3_and_back(document: dict[str, Any]) -> None:
    newer = as_version(card_of(document, "a card"), "v3").card
    back = as_version(newer, "v2").card.document
    assert holds(back, document)
    assert KEPT_V3 not in back["data"]["extensions"]  # nothing was only V3's


@FAST
@given(V2_CARDS)
def test_what_v1_has_no_place_for_is_named(document: dict[str, Any]) -> None:
    older = as_version(card_of(document, "a card"), "v1")
    assert set(V1_FIELDS) <= set(older.card.document)
    assert older.card.version == "v1"
    held = {key for key, value in document["data"].items() if value not in ("", [], {}, None) and key not in V1_FIELDS}
    assert set(older.lost) == held


def test_half_a_surrogate_pair_survives() -> None:
    card = card_of(parse_object(b'{"name": "x", "description": "\\ud83d"}', "a card").document, "a card")
    assert parse_object(json_text(card.document).encode(), "a card").document["description"] == "\ud83d"


def test_other_scripts_are_written_as_they_are() -> None:
    assert "Мара 魔女 🙂" in json_text({"name": "Мара 魔女 🙂"})


def v3_card(**fields: Any) -> CharacterCard:
    data = {"name": "Mara", "description": "She forges.", **fields}
    return card_of({"spec": "chara_card_v3", "spec_version": "3.0", "data": data}, "a card")


def test_a_picture_keeps_its_pixels_and_other_texts_and_gets_one_card(tmp_path: Path) -> None:
    first, *rest = plain_picture(3, 3)
    picture = [first, Chunk(b"tEXt", b"Software\0brush"), *rest]
    twice = read_chunks(png_with_card(read_chunks(png_with_card(picture, v3_card()), "x"), v3_card(tags=["b"])), "x")
    assert [chunk.keyword for chunk in twice] == [None, "Software", None, "chara", "ccv3", None]
    assert [chunk for chunk in twice if chunk.keyword is None] == [first, *rest]
    assert card_in_png(twice, "x").data.tags == ["b"]


def test_the_v2_copy_beside_a_v3_card_says_what_it_is() -> None:
    chunks = read_chunks(png_with_card(plain_picture(2, 2), v3_card(creator_notes="Be kind.")), "x")
    only_v2 = [chunk for chunk in chunks if chunk.keyword != "ccv3"]
    copy = card_in_png(only_v2, "x")
    assert copy.version == "v2"
    assert copy.data.creator_notes == f"{BACKFILL_NOTICE}\n\nBe kind."


def test_pillow_reads_the_pictures_that_are_written(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    write_card(tmp_path / "card.png", v3_card())
    with image.open(tmp_path / "card.png") as picture:
        picture.load()
        assert picture.size == (400, 600)
        assert {"chara", "ccv3"} <= set(picture.info)


def test_the_files_of_an_archive_go_along_into_another(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.charx", "w") as archive:
        archive.writestr("card.json", json.dumps(v3_card().document))
        archive.writestr("assets/icon/images/main.png", b"picture")
        archive.writestr("module.risum", b"\0\1")
    _, told = convert(read_card(tmp_path / "a.charx"), tmp_path / "b.charx", None, None)
    assert told == []
    with zipfile.ZipFile(tmp_path / "b.charx") as archive:
        assert sorted(archive.namelist()) == ["assets/icon/images/main.png", "card.json", "module.risum"]
        assert archive.read("module.risum") == b"\0\1"
    _, told = convert(read_card(tmp_path / "a.charx"), tmp_path / "b.json", None, None)
    assert told == ["left out: 2 files that came with the card (pictures, sounds)"]


def test_a_png_becomes_an_archive_with_the_picture_as_its_icon_and_comes_back(tmp_path: Path) -> None:
    write_card(tmp_path / "a.png", v3_card())
    convert(read_card(tmp_path / "a.png"), tmp_path / "b.charx", None, None)
    packed = read_card(tmp_path / "b.charx")
    assert packed.assets == ("assets/icon/images/main.png",)
    assert packed.card.document["data"]["assets"][0]["uri"] == "embeded://assets/icon/images/main.png"
    convert(packed, tmp_path / "c.png", None, None)
    pixels = [
        [chunk for chunk in read_card(tmp_path / name).chunks if chunk.kind == b"IDAT"] for name in ("a.png", "c.png")
    ]
    assert pixels[0] == pixels[1]


def test_a_card_in_ztxt_or_itxt_is_read_and_said_to_be_odd() -> None:
    import base64
    import zlib

    packed = base64.b64encode(json.dumps(v3_card().document).encode())
    first, *rest = plain_picture(2, 2)
    for content, kind in (
        (b"ccv3\0\0" + zlib.compress(packed), b"zTXt"),
        (b"ccv3\0\0\0en\0\0" + packed, b"iTXt"),
        (b"ccv3\0\1\0\0\0" + zlib.compress(packed), b"iTXt"),
    ):
        card = card_in_png([first, Chunk(kind, content), *rest], "x")
        assert card.data.name == "Mara"
        assert kind.decode() in card.notes[0]


def test_a_new_card_reads_back_as_the_sentences_it_was_made_of() -> None:
    from personatune.cards.character import CardCharacter

    sentences = ("I have two dogs.", "My favorite color is green.", "I can't stand broccoli.")
    for version in ("v1", "v2", "v3"):
        card = new_card("Bo", sentences, version)
        assert card.version == version
        assert CardCharacter(card).persona.traits == ("My name is Bo.", *sentences)


def test_unknown_fields_are_named() -> None:
    document = {"spec": "chara_card_v2", "spec_version": "2.0", "avatar": "", "data": {"name": "x", "depth": 4}}
    assert unknown_fields(card_of(document, "x")) == ["avatar", "data.depth"]


def test_an_archive_holds_v3_cards_only(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="V3 card, this one is V2; give --to v3"):
        write_card(tmp_path / "a.charx", as_version(v3_card(), "v2").card)
    assert list(tmp_path.iterdir()) == []


def test_a_utf8_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(v3_card().document).encode())
    assert read_card(tmp_path / "a.json").card.data.name == "Mara"


def test_what_a_file_is_is_told_by_its_content_not_its_name(tmp_path: Path) -> None:
    write_card(tmp_path / "a.png", v3_card())
    (tmp_path / "a.png").rename(tmp_path / "a.json")
    assert read_card(tmp_path / "a.json").container == "PNG"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("card.json", json.dumps(v3_card().document))
    (tmp_path / "b.charx").write_bytes(b"\xff\xd8\xff a picture in front" + buffer.getvalue())
    assert read_card(tmp_path / "b.charx").container == "CHARX"
