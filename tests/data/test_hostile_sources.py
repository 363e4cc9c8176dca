"""Rows of dialogue files that break Python's own readers are broken rows, not crashes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from personatune.data.cleaning import LONGEST_TEXT, clean_text
from personatune.data.pair_files import read_pairs
from personatune.data.processing import DataProcessor, PreparedData
from personatune.data.ranking_files import read_ranking_file
from personatune.data.sources import DatasetLoader
from personatune.dialogue import Context, Persona, Turn
from personatune.errors import UserError
from personatune.pipeline.given_replies import GivenReplies
from personatune.settings import DataConfig

ROW = {"persona": ["I cook.", "I sing."], "history": ["Hi!", "Hello.", "Job?"], "response": "I cook."}


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_value_that_python_can_not_read_is_told_with_its_row(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / name).write_text(value, encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.jsonl?, (row|line) 1: not valid JSON"):
        DatasetLoader(str(tmp_path / name)).load()


@pytest.mark.parametrize(
    "cell", ["[" + "9" * 5000 + "]", "[" * 5000 + "]" * 5000, "[" + "-" * 50_000 + "1]", "{[]: 1}"]
)
def test_a_cell_that_looks_like_a_list_and_is_none_is_text_or_an_unusable_row(tmp_path: Path, cell: str) -> None:
    rows = [{**ROW, "history": cell}, *({**ROW, "response": f"I cook {number}."} for number in range(3))]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert len(DatasetLoader(str(tmp_path / "a.jsonl")).load().dialogues) >= 3


def test_a_number_of_five_thousand_digits_before_a_line_is_no_line_number(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("9" * 5000 + " your persona: i cook.\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.txt, row 1: found '9+', expected a numbered line"):
        DatasetLoader(str(tmp_path / "a.txt")).load()
    with pytest.raises(UserError, match=r"a\.txt, line 1: found '9+', expected"):
        read_ranking_file(tmp_path / "a.txt")


def test_half_a_character_goes_through_the_whole_preparation(tmp_path: Path) -> None:
    turns = [{"speaker": who, "text": f"I cook \ud83d {place} \udc00."} for place, who in enumerate("ABABAB")]
    rows = [{"id": str(n), "personas": {"B": [f"I own {n} \ud800 dogs."]}, "turns": turns} for n in range(5)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    loaded = DatasetLoader(str(tmp_path / "a.jsonl")).load()
    DataProcessor(DataConfig(min_traits=1), 0).process(loaded).save(tmp_path / "out")
    read = PreparedData.load(tmp_path / "out")
    assert any("\ufffd" in turn.text for view in read.train for turn in view.turns)


def test_lines_of_pairs_and_replies_end_at_newlines_alone(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("I sing\u2028all day.\tI sing.\tentailment\n", encoding="utf-8")
    assert read_pairs(tmp_path / "a.tsv").pairs[0].premise == "I sing\u2028all day."
    (tmp_path / "a.jsonl").write_text(json.dumps({"reply": "a\u2028b"}, ensure_ascii=False) + "\n", encoding="utf-8")
    context = Context(Persona(("I sing.",)), (Turn("partner", "Hi!"),))
    assert GivenReplies.read(tmp_path / "a.jsonl").respond([context]) == ["a\u2028b"]


@pytest.mark.parametrize(
    "row",
    [
        {**ROW, "persona": "I cook. " * 10_000},
        {"persona": ["I cook."], "turns": [{"speaker": "AB"[n % 2], "text": "Hi."} for n in range(5_002)]},
    ],
)
def test_a_row_longer_than_any_chat_is_counted_and_left_out(tmp_path: Path, row: dict[str, object]) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(ROW) + "\n" + json.dumps(row) + "\n", encoding="utf-8")
    loaded = DatasetLoader(str(tmp_path / "a.jsonl")).load()
    assert (len(loaded.dialogues), loaded.skipped) == (1, {"longer than any chat": 1})


@pytest.mark.parametrize(
    "middle", ["\t" * 2**20, " . " * 2**18, "User 1" * 2**17, "(" * 2**20, "*a" * 2**19, "é" * 2**19]
)
def test_a_line_of_a_megabyte_is_mended_within_its_first_words(middle: str) -> None:
    counts: Counter[str] = Counter()
    mended = clean_text(f"I sing {middle} and cook", counts)
    assert mended == "" or mended.startswith("I sing")  # a sentence with a placeholder falls away
    assert len(mended) <= LONGEST_TEXT
    assert counts["over-long text"] == 1
