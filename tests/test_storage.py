"""Files are written whole or not at all, and a broken one is told with its row."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from personatune.errors import UserError
from personatune.storage import (
    append_jsonl,
    read_json,
    read_jsonl,
    remove_leftovers,
    replacing,
    write_json,
    write_jsonl,
    write_text,
)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    value = {"text": "naïve …", "numbers": [1, 2.5, None, True]}
    write_json(tmp_path / "deep" / "value.json", value)
    assert read_json(tmp_path / "deep" / "value.json") == value
    assert write_jsonl(tmp_path / "rows.jsonl", [value, {}]) == 2
    assert read_jsonl(tmp_path / "rows.jsonl") == [value, {}]
    assert "naïve …" in (tmp_path / "rows.jsonl").read_text(encoding="utf-8")


def test_an_error_on_the_way_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    write_jsonl(target, [{"old": 1}])
    rows = ({"new": 1 // number} for number in (1, 0))
    with pytest.raises(ZeroDivisionError):
        write_jsonl(target, rows)
    assert read_jsonl(target) == [{"old": 1}]
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_on_the_way_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    write_text(target / "old.txt", "old")

    def fail_half_way() -> None:
        with replacing(target) as temporary:
            temporary.mkdir()
            (temporary / "new.txt").write_text("new", encoding="utf-8")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert [file.name for file in target.iterdir()] == ["old.txt"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_with_all_that_was_in_it(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old.txt").write_text("old", encoding="utf-8")
    with replacing(target) as temporary:
        temporary.mkdir()
        (temporary / "new.txt").write_text("new", encoding="utf-8")
    assert [file.name for file in target.iterdir()] == ["new.txt"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_number_that_json_doesnt_know_is_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "value.json", {"loss": value})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_jsonl(tmp_path / "rows.jsonl", [{"loss": value}])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_users_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "value.json"
    write_json(target, "old")

    def fill_the_disk() -> None:
        with replacing(target) as temporary:
            temporary.write_text("ne", encoding="utf-8")
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"value\.json: can't be written \(No space left on device\); free some space"):
        fill_the_disk()
    assert read_json(target) == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_is_a_file_is_a_users_error(tmp_path: Path) -> None:
    write_text(tmp_path / "runs", "a file")
    with pytest.raises(UserError, match="can't be written"):
        write_text(tmp_path / "runs" / "demo" / "config.yaml", "seed: 0")


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_json, read_jsonl):
        with pytest.raises(UserError, match=r"none\.json: no such file"):
            read(tmp_path / "none.json")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b'{"a": 1} extra'])
def test_a_broken_json_file_is_a_users_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "value.json").write_bytes(content)
    with pytest.raises(UserError, match=r"value\.json: not valid JSON .*delete it to have it made again") as caught:
        read_json(tmp_path / "value.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', r"rows\.jsonl, row 2: not valid JSON"),
        (b'{"a": 1}\n\n{"a": 2}\n', r"rows\.jsonl, row 2: not valid JSON"),
        (b'{"a": 1}\n[1]\n', r"rows\.jsonl, row 2: found list, expected an object"),
        (b'{"a": 1}\n{"a": "\xff"}\n', r"rows\.jsonl, row \d: not valid JSON"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_jsonl(tmp_path / "rows.jsonl")
    assert "\n" not in str(caught.value)


def test_rows_are_added_one_by_one_and_a_full_disk_is_told(tmp_path: Path) -> None:
    file = tmp_path / "new" / "rows.jsonl"
    append_jsonl(file, {"a": "é"})
    append_jsonl(file, {"a": 2})
    assert read_jsonl(file) == [{"a": "é"}, {"a": 2}]
    with pytest.raises(UserError, match="can't be written"):
        append_jsonl(tmp_path, {"a": 3})
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(UserError, match="No space left"):
        append_jsonl(Path("/dev/full"), {"a": 3})


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is flushed and renamed, in order, by the name of the file or folder."""
    seen: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def flushed(number: int) -> None:
        seen.append(("flush", Path(f"/proc/self/fd/{number}").readlink().name))
        fsync(number)

    def renamed(self: Path, target: Path) -> Path:
        seen.append(("rename", Path(target).name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    return seen


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_afterwards(
    tmp_path: Path, events: list[tuple[str, str]]
) -> None:
    write_json(tmp_path / "value.json", 1)
    aside = f".value.json.{os.getpid()}.part"
    assert events == [("flush", aside), ("rename", "value.json"), ("flush", tmp_path.name)]


def test_a_folder_is_flushed_with_all_that_is_in_it(tmp_path: Path, events: list[tuple[str, str]]) -> None:
    with replacing(tmp_path / "folder") as temporary:
        (temporary / "inner").mkdir(parents=True)
        for place in (temporary / "one.txt", temporary / "inner" / "two.txt"):
            place.write_text("x", encoding="utf-8")
    aside = f".folder.{os.getpid()}.part"
    flushed = [name for kind, name in events[: events.index(("rename", "folder"))] if kind == "flush"]
    assert sorted(flushed) == sorted(["one.txt", "two.txt", "inner", aside])
    assert flushed[-1] == aside
    assert events[-1] == ("flush", tmp_path.name)


def _dead_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_what_a_dead_process_was_writing_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    dead, living = _dead_process(), os.getppid()
    half = tmp_path / "sft" / "checkpoints" / f".checkpoint-000003.{dead}.part"
    half.mkdir(parents=True)
    write_text(half / "state.json", "{")
    write_text(tmp_path / f".config.yaml.{dead}.part", "seed")
    write_text(tmp_path / f".model.gguf.{living}.part", "GGUF")
    write_text(tmp_path / ".somebodys.part", "own")
    assert len(remove_leftovers(tmp_path)) == 2
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        f".model.gguf.{living}.part",
        ".somebodys.part",
    ]


def test_a_folder_whose_successor_never_came_goes_back_to_its_place(tmp_path: Path) -> None:
    old = tmp_path / f".adapter.old.{_dead_process()}.part"
    old.mkdir()
    write_text(old / "weights", "whole")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert (tmp_path / "adapter" / "weights").read_text(encoding="utf-8") == "whole"


def test_what_a_dead_process_of_the_same_number_left_is_in_nobodys_way(tmp_path: Path) -> None:
    """In a container every start may get the same number."""
    left = tmp_path / f".folder.{os.getpid()}.part"
    left.mkdir()
    write_text(left / "half", "half")
    with replacing(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new", encoding="utf-8")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new"]
