"""The fuzz of the readers: what it calls a finding, and a short run of it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from tests.folders import CAMPAIGNS

from hostile.mutations import Input, _nest, _stretch, inputs
from hostile.originals import Original
from hostile.readers import Reader, readers
from hostile.worker import Tally, _feed, _whole, told_badly
from personatune.errors import UserError


def reader_of(read: Callable[[Path], object]) -> Reader:
    return Reader("made", lambda: [Original("a.json", b"{}")], read, ("a",))


def fed(folder: Path, read: Callable[[Path], object]) -> Tally:
    tally = Tally("made")
    (folder / "work").mkdir(parents=True)
    _feed(reader_of(read), folder / "work", Input("a.json", b"{}", "by hand"), tally)
    return tally


def test_a_result_and_a_line_that_names_the_file_are_allowed(tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise UserError(f"{path}: not for me")

    tally = fed(tmp_path / "refused", refuse)
    assert (tally.refused, len(tally.findings)) == (1, 0)
    tally = fed(tmp_path / "accepted", lambda path: None)
    assert (tally.accepted, len(tally.findings)) == (1, 0)


@pytest.mark.parametrize(
    ("raised", "found"),
    [
        (UserError("somewhere: not for me"), "message: doesn't name the file"),
        (ValueError("no such thing"), "crash: ValueError in no line of ours"),
        (RecursionError("too deep"), "crash: RecursionError"),
        (MemoryError(), "memory: more than 1024 MiB"),
    ],
)
def test_anything_else_is_a_finding_whose_input_is_kept(tmp_path: Path, raised: Exception, found: str) -> None:
    def read(path: Path) -> None:
        raise raised

    tally = fed(tmp_path, read)
    [kind] = tally.findings
    assert kind.startswith(found)
    [[kept]] = tally.kept.values()
    assert Path(kept).read_bytes() == b"{}"


def test_a_line_that_is_broken_or_steers_a_terminal_would_be_a_finding() -> None:
    assert "not one plain line" in told_badly("a.json: \x1b[31mred", "a.json")
    assert "not one plain line" in told_badly("a.json: two\nlines", "a.json")
    assert "characters" in told_badly("a.json" + "x" * 3000, "a.json")


def test_every_valid_file_is_read(tmp_path: Path) -> None:
    for place, reader in enumerate(readers(tmp_path)):
        folder = tmp_path / str(place)
        folder.mkdir()
        for original in reader.originals():
            _whole(reader, folder, original.name, original.content, original.finish(original.content))


def test_damage_may_be_a_line_of_a_megabyte_or_a_hundred_thousand_brackets() -> None:
    for seed in range(20):
        data = bytearray(b"[1, 2]")
        _stretch(data, random.Random(seed), [b"a"])
        assert len(data) > 900_000
    depths = []
    for seed in range(40):
        data = bytearray()
        _nest(data, random.Random(seed), [])
        depths.append(max(data.count(mark) for mark in (b"[", b"{", b"(", b"- ", b"-")))
    assert max(depths) == 100_000


@settings(deadline=None, max_examples=40)
@given(inputs([Original("a.json", b'{"a": [1, 2]}')], ("a", "b")))
def test_every_input_has_a_name_and_says_how_it_was_made(drawn: Input) -> None:
    assert drawn.name == "a.json"
    assert drawn.made.startswith("a.json: ")


@pytest.mark.slow
def test_half_an_hour_of_fuzz_finds_nothing(tmp_path: Path) -> None:
    number = str(int(time.time()) % 100_000)  # other inputs every time; told, so that they can be had again
    command = [sys.executable, str(CAMPAIGNS / "fuzz.py"), "--minutes", "30", "--seed", number, "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=4200)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["findings"] == {}, f"seed {number}: {done.stderr}"
    assert done.returncode == 0
    assert len(told["readers"]) == len(readers(tmp_path))
    assert all(one["inputs"] > 0 and one["refused"] > 0 for one in told["readers"])
    assert sum(one["accepted"] for one in told["readers"]) > 0
