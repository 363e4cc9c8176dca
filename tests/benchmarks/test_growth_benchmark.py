"""growth.py: a point is measured the same way on both sides, and everything measured is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels


def test_every_axis_that_was_measured_is_drawn(tmp_path: Path) -> None:
    from growth import draw

    points = [
        {"axis": axis, "value": value, "side": side, "seconds": value / 10, "peak_bytes": value * 2**28}
        for axis in ("prompts", "layers")
        for value in (1, 8)
        for side in ("ours", "conventional")
    ]
    draw(points, tmp_path / "two.png")
    draw(points[:4], tmp_path / "one.png")
    two, one = ((tmp_path / name).read_bytes() for name in ("two.png", "one.png"))
    assert two.startswith(b"\x89PNG")
    width = slice(16, 20)
    assert int.from_bytes(two[width], "big") > 1.8 * int.from_bytes(one[width], "big")


def test_the_centre_is_measured_once_for_all_axes_that_meet_there() -> None:
    from growth import known

    figures = {"seconds": 2.0, "peak_bytes": 5, "tokens": 64}
    points = [{"axis": "prompts", "value": 4, "side": "ours", **figures}]
    centre = {"prompts": 4, "layers": 8, "prompt_tokens": 160}
    assert known(points, centre, "layers", 8, "ours") == figures
    assert known(points, centre, "layers", 4, "ours") is None
    assert known(points, centre, "layers", 8, "conventional") is None
    assert known(points, centre, "model_width", 576, "ours") is None  # a random model of that width
    assert known([{**points[0], "value": 8}], centre, "layers", 8, "ours") is None


@pytest.mark.slow
@pytest.mark.parametrize("side", ["ours", "conventional"])
def test_a_point_runs_whole_updates(
    side: str, tmp_path: Path, tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    from growth import measure
    from sides.real_data import read_perspectives

    tiny.save(tmp_path / "model")
    dialogues.write(tmp_path / "made.jsonl", 60)
    views = read_perspectives(str(tmp_path / "made.jsonl"), max_turns=24).train
    settings = {"prompt_tokens": 150, "replies_per_prompt": 3, "layers": 1, "prompts": 2, "epochs": 1}
    point = measure(str(tmp_path / "model"), views, settings, side, 1)
    assert point["tokens"] == 2 * 3 * 16
    assert point["seconds"] > 0
    assert point["peak_bytes"] > 2**26
