"""Paired benchmarks: two processes take turns, measure themselves, and a dead one is told with its last words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sides.paired import Side

WORKER = """
import sys, time
from sides.turns import Turns, peak_bytes, say
log = open(sys.argv[1], "a")
say(ready=True)
print("a library's own line")
turns = Turns(3)
turns.begin()
for number in range(3):
    log.write(sys.argv[2]); log.flush()
    time.sleep(float(sys.argv[3]))
    turns.done(number=number)
say(peak_bytes=peak_bytes(), versions={})
"""


def side(tmp_path: Path, name: str, code: str, *words: str) -> Side:
    from sides.paired import Side

    script = tmp_path / f"{name}.py"
    script.write_text(code, encoding="utf-8")
    return Side(name, [sys.executable, str(script), *words], tmp_path / f"{name}.log")


def test_the_sides_take_turns_and_the_first_turn_only_warms_up(tmp_path: Path) -> None:
    from sides.paired import alternate, median_seconds, summary

    order = tmp_path / "order"
    sides = {
        "peer": side(tmp_path, "peer", WORKER, str(order), "p", "0.2"),
        "ours": side(tmp_path, "ours", WORKER, str(order), "o", "0.05"),
    }
    found = alternate(sides, 2, say=lambda _line: None)
    assert order.read_text(encoding="utf-8") == "popopo"
    assert [turn["number"] for turn in found["ours"]["turns"]] == [0, 1, 2]
    assert 0.2 <= median_seconds(found["peer"]) < 1.0
    figures = summary(found["peer"], found["ours"])
    assert figures["time_ratio"] > 1.5
    assert len(figures["seconds"]["peer"]) == 2
    assert figures["peak_bytes"]["ours"] > 1_000_000


def test_a_side_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    from sides.paired import alternate

    dying = side(tmp_path, "dying", "raise ValueError('no such model')")
    with pytest.raises(RuntimeError, match=r"dying ended too early.*\n(.*\n)*.*no such model"):
        alternate({"dying": dying}, 1, say=lambda _line: None)


def test_a_side_left_without_its_turn_ends(tmp_path: Path) -> None:
    waiting = side(tmp_path, "waiting", WORKER, str(tmp_path / "order"), "w", "0")
    assert waiting.hear() == {"ready": True}
    waiting.stop()
    assert (tmp_path / "order").read_text(encoding="utf-8") == ""


def test_the_busiest_optimiser_is_counted() -> None:
    import torch

    from sides.steps import StepCount

    count = StepCount()
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    for weight, steps in zip(weights, (3, 2), strict=True):
        optimizer = torch.optim.SGD([weight], lr=0.1)
        for _ in range(steps):
            weight.grad = torch.ones(1)
            optimizer.step()
    assert count.take() == 3
    assert count.take() == 0
