"""Killed over and over, a run comes to the bytes of one that nobody disturbed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from killing.differences import differences
from kills import PROMISED_SECONDS, Tally, campaign


@pytest.mark.slow
def test_eight_kills_and_four_stops_change_nothing(tmp_path: Path) -> None:
    tally = Tally()
    campaign(tmp_path, 8, 4, 1, tally)
    assert tally.broken == []
    assert (tally.kills.total(), tally.stops.total()) == (8, 4)
    assert tally.in_writes.total() >= 1
    assert len([stage for stage in (tally.kills | tally.stops) if tally.kills[stage] + tally.stops[stage]]) >= 6
    assert tally.resumes >= 12
    assert max(tally.stop_seconds) <= PROMISED_SECONDS


def test_it_sees_other_bytes_figures_rows_and_files(tmp_path: Path) -> None:
    """A comparison that can't fail would show nothing."""
    for name in ("one", "other"):
        folder = tmp_path / name / "sft"
        folder.mkdir(parents=True)
        (folder / "adapter.safetensors").write_bytes(b"weights")
        (folder / "summary.json").write_text(json.dumps({"loss": 1.5, "seconds": len(name)}), encoding="utf-8")
        (folder / "metrics.csv").write_text("step,name,value\n1,loss,0.5\n2,loss,0.25\n", encoding="utf-8")
    one, other = tmp_path / "one", tmp_path / "other"
    assert differences(one, other) == []
    (other / "sft" / "adapter.safetensors").write_bytes(b"weighty")
    (other / "sft" / "summary.json").write_text(json.dumps({"loss": 1.25}), encoding="utf-8")
    (other / "sft" / "metrics.csv").write_text("step,name,value\n1,loss,0.5\n1,loss,0.5\n", encoding="utf-8")
    (other / "sft" / ".adapter.77.part").write_bytes(b"half")
    assert differences(one, other) == [
        "sft/.adapter.77.part: left over",
        "sft/adapter.safetensors: other bytes",
        "sft/metrics.csv: step 1, loss: there 2 times",
        "sft/metrics.csv: step 2, loss: missing",
        "sft/summary.json: loss: 1.25, expected 1.5",
    ]
