"""The pictures in the documentation are those that `tools/screenshots.py` shoots, and small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from screenshots import DESKTOP, MOST_BYTES, PHONE, SHOTS, TERMINAL

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_picture_of_the_demo_can_be_shot_anew_and_is_shown() -> None:
    there = {file.stem.removeprefix("demo-") for file in (DOCS / "images").glob("demo-*.png")}
    assert there == set(SHOTS)
    shown = re.findall(r"images/demo-(\w+)\.png", (DOCS / "demo.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(SHOTS)  # each of them once


@pytest.mark.parametrize("name", SHOTS)
def test_a_picture_is_small_and_as_wide_as_its_window(name: str) -> None:
    file = DOCS / "images" / f"demo-{name}.png"
    assert file.stat().st_size <= MOST_BYTES
    with Image.open(file) as image:
        widths = {"terminal": TERMINAL[0], "phone": 2 * PHONE[0]}
        assert (image.format, image.mode, image.width) == ("PNG", "P", widths.get(name, DESKTOP[0]))
