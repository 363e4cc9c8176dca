"""The pictures in the documentation are those that `tools/screenshots.py` shoots, and small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from screenshots import DESKTOP, MOST_BYTES, PHONE, SHOTS

DOCS = Path(__file__).resolve().parents[2] / "docs"
THERE = sorted((DOCS / "images").glob("demo-*.png"))


def test_every_picture_of_the_demo_is_shown_once_and_can_be_shot_anew() -> None:
    there = [file.stem.removeprefix("demo-") for file in THERE]
    assert set(there) <= set(SHOTS)
    shown = re.findall(r"images/demo-(\w+)\.png", (DOCS / "demo.md").read_text(encoding="utf-8"))
    assert sorted(shown) == there


@pytest.mark.parametrize("file", THERE, ids=lambda file: file.stem)
def test_a_picture_is_small_and_as_wide_as_a_window(file: Path) -> None:
    assert file.stat().st_size <= MOST_BYTES
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert image.width in {DESKTOP[0], PHONE[0], 2 * PHONE[0]}
