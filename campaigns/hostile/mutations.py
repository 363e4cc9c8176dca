"""Damage to valid files, and files that were never valid: as hypothesis strategies, so that a seed gives them again."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from hostile.alphabets import NASTY, texts
from hostile.originals import Original

MEGABYTE = 2**20
_NUMBERS = (
    b"0", b"-1", b"1e999", b"-1e-999", b"9" * 400, b"9" * 5000, b"0x10", b"1_0", b"NaN", b"Infinity", b"2147483648",
    b"18446744073709551616", b"0.1", b"1e400", b".inf", b"2024-99-99", b"12:30:45", b"0b", b"0o8",
)  # fmt: skip
_BITS = (
    b"null", b"true", b"[]", b"{}", b'""', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", b"\r",
    b"\r\n", b"\n", b"\t", b",", b":", b"- ", b"? ", b"&a ", b"*a", b"<<: ", b"!!python/object:os.system ",
    b"!!binary x", b'"', b"'", b"\\", b"\\ud800", b"\\udfff\\ud83d", b"\\u0000", b"---\n", b"...\n", b"%YAML 9.9\n",
    b"#", b"|\n", b">-\n", b"../../../evil", b"/etc/passwd", b"__SILENCE__", b"1 your persona: ", b"2 ",
)  # fmt: skip
_VALUE = re.compile(rb'"(?:[^"\\\n]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null')


def _flip(data: bytearray, rng: random.Random, words: Sequence[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut_out(data: bytearray, rng: random.Random, words: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.choice((1, 2, 8, 40, 200))]


def _double(data: bytearray, rng: random.Random, words: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[at : at + rng.choice((1, 8, 40, 400))] * rng.choice((1, 1, 2, 100))


def _insert(data: bytearray, rng: random.Random, words: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(
        (rng.choice(_NUMBERS), rng.choice(_BITS), rng.choice(words), rng.randbytes(rng.randint(1, 8)))
    )


def _replace(data: bytearray, rng: random.Random, words: Sequence[bytes]) -> None:
    """Put another value in the place of a JSON (or YAML) one."""
    found = list(_VALUE.finditer(data[:200_000]))
    if found:
        match = rng.choice(found)
        quoted = json.dumps(rng.choice(NASTY)).encode()
        value = rng.choice((rng.choice(_NUMBERS), rng.choice(_BITS), quoted, rng.choice(words), b"[" + match[0] + b"]"))
        data[match.start() : match.end()] = value


def _truncate(data: bytearray, rng: random.Random, words: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _swap_lines(data: bytearray, rng: random.Random, words: Sequence[bytes]) -> None:
    lines = bytes(data).split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    data[:] = b"\n".join(lines)


def _nest(data: bytearray, rng: random.Random, words: Sequence[bytes]) -> None:
    """Insert brackets within brackets, closed or not, from a few to 100,000."""
    depth = rng.choice((3, 70, 990, 2000, 20_000, 100_000))
    opening, closing = rng.choice(
        ((b"[", b"]"), (b'{"a":', b"}"), (b"- ", b""), (b"{a: ", b"}"), (b"(", b")"), (b"-", b"1"))
    )
    at = rng.randrange(len(data) + 1)
    data[at:at] = opening * depth + (b"1" + closing * depth if rng.random() < 0.7 else b"")


def _stretch(data: bytearray, rng: random.Random, words: Sequence[bytes]) -> None:
    """Insert a line, or a word, of a megabyte."""
    piece = rng.choice(
        (b"a", b"I have two dogs. ", b"[", b"'", b'\\"', b"\xf0\x9f\x98\x80", b"a|", b"\t", b" ", b"|", b"1 ", *words)
    )
    at = rng.randrange(len(data) + 1)
    data[at:at] = piece * (MEGABYTE // len(piece))


_COMMON: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...] = (
    _flip, _cut_out, _double, _insert, _insert, _replace, _replace, _truncate, _swap_lines,
)  # fmt: skip
_LARGE = (_nest, _stretch)


@dataclass(frozen=True)
class Input:
    """A file to be read, and how it came to be, in words."""

    name: str
    content: bytes
    made: str


@st.composite
def damaged(draw: st.DrawFn, originals: Sequence[Original], words: Sequence[bytes]) -> Input:
    """Draw a valid file with one to five kinds of damage; one in thirty gets something large."""
    original = draw(st.sampled_from(originals))
    rng = random.Random(draw(st.integers(0, 2**32)))
    data = bytearray(original.content)
    kinds = [rng.choice(_COMMON) for _ in range(draw(st.integers(0, 5)))]
    if draw(st.integers(0, 29)) == 0:
        kinds.append(rng.choice(_LARGE))
    for kind in kinds:
        kind(data, rng, words)
    if rng.random() < 0.1:
        other = rng.choice(originals).content
        data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other) + 1) :]
    finished = draw(st.booleans())
    content = original.finish(bytes(data)) if finished else bytes(data)
    told = " ".join(kind.__name__.strip("_") for kind in kinds)
    return Input(original.name, content, f"{original.name}: {told or 'as it is'}{', packed again' if finished else ''}")


def values(words: Sequence[str]) -> st.SearchStrategy[Any]:
    """Draw JSON values whose keys and texts are often the words a reader looks for."""
    known = st.sampled_from(words)
    keys = st.one_of(known, known, known, texts)
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        texts,
        known,
        st.just("I have two dogs."),
        st.just(10**400),
    )
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6), max_leaves=25
    )


@st.composite
def generated(draw: st.DrawFn, names: Sequence[str], words: Sequence[str]) -> Input:
    """Draw a file that was never valid: JSON, lines of JSON, a table, or lines of words, whatever its name."""
    name = draw(st.sampled_from(names))
    kind = draw(st.sampled_from(("tree", "lines", "table", "words")))
    if kind in ("tree", "lines"):
        ascii_only = draw(st.booleans())
        rows = [draw(values(words)) for _ in range(1 if kind == "tree" else draw(st.integers(1, 4)))]
        text = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    elif kind == "table":
        cells = st.lists(st.one_of(st.sampled_from(words), texts), min_size=1, max_size=5)
        stream = io.StringIO(newline="")
        delimiter = draw(st.sampled_from(",\t"))
        csv.writer(stream, delimiter=delimiter, escapechar="\\").writerows(
            draw(st.lists(cells, min_size=1, max_size=5))
        )
        text = stream.getvalue()
    else:
        parts = st.lists(st.one_of(st.sampled_from(words), texts, st.sampled_from("\t|:0123 ")), max_size=8)
        text = "\n".join("".join(line) for line in draw(st.lists(parts, max_size=8)))
    return Input(name, text.encode("utf-8", "surrogatepass"), f"{name}: a {kind} of its own")


def inputs(originals: Sequence[Original], words: Sequence[str]) -> st.SearchStrategy[Input]:
    """Draw a damaged file three times out of four, else a generated one."""
    spelt = [word.encode("utf-8", "surrogatepass") for word in words]
    names = [original.name for original in originals]
    broken = damaged(originals, spelt)
    return st.one_of(broken, broken, broken, generated(names, words))
