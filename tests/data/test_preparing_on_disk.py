"""Prepared with a few dialogues in memory at a time, the data are those that are prepared in lists."""

from __future__ import annotations

import json
import random
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from personatune.data.processing import DataProcessor, PreparedData
from personatune.data.shelf import FileShelf, Shelves
from personatune.data.sources import DatasetLoader
from personatune.data.written_dialogues import held_out
from personatune.dialogue import Dialogue, Persona, Perspective, Turn, WrittenDialogue
from personatune.errors import UserError
from personatune.settings import DataConfig


def rows(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Dialogues with everything in them that preparing drops, mends or joins."""
    rng = random.Random(seed)
    words = ("dogs", "Iowa", "chef", "hiking", "piano", "chess", "tea", "boats", "roses", "trains")
    for number in range(count):
        own = [f"I like {rng.choice(words)} number {rng.randrange(60)}." for _ in range(rng.choice((2, 4, 7)))]
        turns = []
        for place in range(rng.choice((1, 6, 30))):
            text = rng.choice((f"Any news of {number}?", " spaced , out .", "*smiles* Oh.", "", "Yes. " * 120, own[0]))
            turns.append({"speaker": "AB"[(place + (rng.random() < 0.1)) % 2], "text": text})
        row = {"id": f"d{number}", "personas": {"A": own, "B": [own[0], "I run far."]}, "turns": turns}
        yield row
        if rng.random() < 0.2:
            yield row | {"id": f"again-{number}"}  # a duplicate
        if rng.random() < 0.2:
            yield row | {"personas": {"B": ["I am another one."]}, "split": rng.choice(("train", "test"))}
    yield {"id": "nobody", "turns": [{"speaker": "A", "text": "Hi."}]}
    yield {"id": "empty", "personas": {"A": ["I am."]}, "turns": []}
    yield {"id": "lone", "personas": {"B": ["I swim.", "I \ud800 broke.", "I sing."]},
           "turns": [{"speaker": "A", "text": "Well \ud800?"}, {"speaker": "B", "text": "So."}]}  # fmt: skip


def source(folder: Path, count: int = 150) -> str:
    file = folder / "made.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(count)), encoding="utf-8")
    return str(file)


def written() -> list[WrittenDialogue]:
    def view(number: int) -> Perspective:
        traits = (f"I own kite {number}.", f"I fly kite {number}.", "I like tea number 3." if number % 5 == 0 else "I.")
        return Perspective(f"w{number}", Persona(traits), (Turn("partner", "Kites?"), Turn("self", "I own one.")))

    made = [WrittenDialogue(view(number), {}) for number in range(30)]
    assert len({held_out(one) for one in made}) == 2
    return made


@pytest.mark.parametrize(
    "settings",
    [
        {"min_traits": 2},
        {"min_traits": 2, "max_dialogues": 20, "max_turns": 4},
        {"min_traits": 1, "validation_share": 0.3, "test_share": 0.0, "written": 25},
        {"min_traits": 3, "max_traits": 3, "validation_share": 0.0, "written": None, "max_dialogues": 60},
    ],
)
def test_files_and_lists_hold_the_same(tmp_path: Path, settings: dict[str, Any]) -> None:
    place = source(tmp_path)
    processor = DataProcessor(DataConfig(**settings), seed=3)
    own = written() if "written" in settings else ()
    processor.process(DatasetLoader(place).load(), own).save(tmp_path / "lists")
    sizes = processor.process_into(tmp_path / "files", DatasetLoader(place).stream(), own)
    names = sorted(path.name for path in (tmp_path / "lists").iterdir())
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == names
    for name in names:
        assert (tmp_path / "files" / name).read_bytes() == (tmp_path / "lists" / name).read_bytes(), name
    data = PreparedData.load(tmp_path / "files")
    assert sizes == {name: len(getattr(data, name)) for name in ("train", "validation", "test")}
    assert sizes["train"] > 10
    assert data.counts["dropped: duplicate"] > 0


def test_a_shelf_in_a_file_is_a_list_that_leaves_nothing_behind(tmp_path: Path) -> None:
    rng = random.Random(1)
    one = [Dialogue(f"d{n}", (Turn("A", f"Grüße {n} \ud800"),), {"A": Persona(("I.",), "Zoë")}, "test", {"witty": 0.5})
           for n in range(50)]  # fmt: skip
    with Shelves(tmp_path / "new") as shelves:
        shelf = shelves.dialogues()
        plain: list[Dialogue] = []
        for dialogue in one:
            shelf.append(dialogue)
            plain.append(dialogue)
            place = rng.randrange(len(plain))
            plain[place] = shelf[place]
            assert plain[place] == shelf[place]
            shelf[place] = plain[place] = rng.choice(one)
        assert list(shelf) == plain
        assert len(shelf) == 50
        assert not list((tmp_path / "new").iterdir()), "the file has no name that a kill could leave"
    with pytest.raises(ValueError, match="closed"):
        shelf[0]


def test_without_a_folder_shelves_are_lists() -> None:
    with Shelves() as shelves:
        assert [*shelves.perspectives()] == []
        assert isinstance(shelves.perspectives(), list)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_no_room_for_what_waits_is_told_in_one_line(tmp_path: Path) -> None:
    shelf: FileShelf[str] = FileShelf(tmp_path, str, str)

    def fill() -> None:
        for _ in range(40):
            shelf.append("x" * 100_000)

    with files_of_at_most(2**21), pytest.raises(UserError, match=r"no room for the dialogues.*free some space"):
        fill()
