"""Text of strangers: whole characters, messages of one line, JSON of one kind of error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personatune.errors import UserError
from personatune.plain_json import parse_json
from personatune.plain_text import LONGEST_LINE, one_line, plain_text, whole_characters
from personatune.words import stem

any_text = st.text(st.characters(), max_size=60)


@settings(deadline=None)
@given(any_text)
def test_whole_characters_can_be_written_and_change_nothing_else(text: str) -> None:
    whole = whole_characters(text)
    whole.encode("utf-8")
    assert whole_characters(whole) == whole
    if not any("\ud800" <= one <= "\udfff" for one in text):
        assert whole == text


def test_two_halves_are_one_character_and_a_lone_one_is_marked() -> None:
    assert whole_characters("a\ud83d\ude00b") == "a😀b"
    assert whole_characters("a\ude00\ud83db") == "a\ufffd\ufffdb"


@settings(deadline=None)
@given(any_text)
def test_a_users_error_is_one_line_that_steers_nothing(text: str) -> None:
    line = str(UserError(f"a.json: found {text}, expected more"))
    assert line.startswith("a.json: found")
    assert line.endswith("expected more")
    assert all(one.isprintable() or one == "\u200d" for one in line)


def test_a_line_of_a_megabyte_keeps_its_beginning_and_its_end() -> None:
    line = one_line("a.json: found " + "x" * 2**20 + ", expected less")
    assert line.startswith("a.json: found x")
    assert line.endswith(", expected less")
    assert len(line) <= LONGEST_LINE + 20


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "9" * 5000, "{", "", "nul", "[" * 300 + "]" * 300, '{"a": ' * 50_000 + "1" + "}" * 50_000]
)
def test_whatever_is_wrong_with_json_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        parse_json(text)


@settings(deadline=None)
@given(
    st.recursive(any_text | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(any_text, inner))
)
def test_json_is_read_as_it_was_but_for_halves_of_characters(value: object) -> None:
    read = parse_json(json.dumps(value))
    assert json.dumps(read, ensure_ascii=False).encode("utf-8")
    if "\\ud" not in json.dumps(value).lower():
        assert read == value


@settings(deadline=None)
@given(any_text)
def test_plain_text_is_still_plain_when_it_is_made_plain_again(text: str) -> None:
    assert plain_text(plain_text(text)) == plain_text(text)


def test_a_word_that_is_no_word_is_its_own_stem() -> None:
    assert stem("keywords") == "keyword"
    for word in ("keywords" * 125_000, "y" * 1_000_000):  # the stemmer would take minutes
        assert stem(word) == word
