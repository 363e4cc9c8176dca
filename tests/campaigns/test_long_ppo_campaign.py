"""A night of PPO, in short; and that the campaign sees what grows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.folders import CAMPAIGNS


@pytest.mark.slow
def test_a_long_ppo_run_stays_as_large_as_it_is() -> None:
    words = [sys.executable, str(CAMPAIGNS / "long_ppo.py"), "--quick"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["broken"] == []
    assert found["updates"] == 60
    assert 1 <= found["checkpoints_most"] <= 3
    assert {"metrics.csv", "samples.jsonl", "checkpoints"} <= set(found["bytes_end"])


GOOD: dict[str, Any] = {
    "updates": 2300, "memory_mib_first_tenth": 400.0, "memory_mib_end": 404.0, "open_files_first_tenth": 12,
    "open_files_end": 12, "files_first_tenth": 9, "files_most_after": 10, "checkpoints_most": 3,
    "bytes_an_update": {"metrics.csv": 900.0, "samples.jsonl": 120.0, "checkpoints": 700.0},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({"memory_mib_end": 440.0}, "flat memory"),
        ({"open_files_end": 60}, "flat open files"),
        ({"files_most_after": 180}, "as many files"),
        ({"checkpoints_most": 4}, "two checkpoints and one that is replaced"),
        ({"bytes_an_update": {"samples.jsonl": 90_000.0}}, "bounded curves"),
    ],
)
def test_what_grows_is_told(change: dict[str, Any], promise: str) -> None:
    from long_ppo import _broken

    assert _broken(GOOD, 0) == []
    assert _broken({**GOOD, **change}, 0) == [promise]
    assert _broken(GOOD, 2) == ["the run ended well"]


def test_the_update_is_read_off_the_end_of_the_curves(tmp_path: Path) -> None:
    from long_ppo import _last_update

    curves = tmp_path / "metrics.csv"
    assert _last_update(curves) == 0
    curves.write_text("step,name,value\n")
    assert _last_update(curves) == 0
    curves.write_text("step,name,value\n" + "".join(f"{step},kl,0.5\n" for step in range(1, 100)) + "100,k")
    assert _last_update(curves) == 99
