"""size.py in its short form: thirty thousand dialogues in bounded memory, every row accounted for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import size
from personatune.data.sources import DatasetLoader

SCRIPT = Path(size.__file__)


@pytest.mark.slow
def test_thirty_thousand_dialogues_are_prepared_in_bounded_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--work", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    broken = [name for name in found["broken"] if "core second" not in name]  # speed is the full campaign's to judge
    assert broken == []
    assert found["dialogues"] == 30_000
    assert found["kept"] < 30_000
    assert found["reading_peak_bytes"] < 400e6
    assert found["prepare_peak_bytes"] < size.MEMORY_LIMIT
    assert found["file_bytes"] > 30_000 * 500
    assert not list(tmp_path.iterdir())


def test_copies_differ_but_for_the_duplicates_and_keep_their_speakers() -> None:
    real = DatasetLoader("chitchat", fraction=0.02).load().dialogues
    rows = list(size.many(real, 5 * len(real), seed=1))
    assert len({row["id"] for row in rows}) == len(rows)
    texts = {json.dumps([row["turns"], row["personas"]]) for row in rows}
    assert 0.85 * len(rows) < len(texts) < len(rows)
    assert [row["turns"][0]["text"] for row in rows[: len(real)]] == [one.turns[0].text for one in real]


def test_a_promise_that_is_not_kept_is_named() -> None:
    kept = {
        "dialogues": 10, "kept": 9, "cleaning_counts": {"dropped: duplicate": 1}, "reading_peak_bytes": 1e8,
        "prepare_peak_bytes": 1e8, "dialogues_a_core_second": 4000.0, "prepare_read": "made: 9 dialogues of 10 rows",
        "perspectives": {"train": 5},
    }  # fmt: skip
    assert size.promises(kept) == []
    assert size.promises({**kept, "kept": 8}) == ["every row is kept or dropped for a reason"]
    assert len(size.promises({**kept, "prepare_peak_bytes": 2e9, "dialogues_a_core_second": 10.0})) == 2
    assert size.promises({name: value for name, value in kept.items() if name != "kept"}) == []
