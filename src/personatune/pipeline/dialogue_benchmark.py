"""Any source of persona dialogues as a benchmark: its held-out part, cleaned as training data is."""

from __future__ import annotations

from collections.abc import Sequence

from personatune.data.cleaning import clean
from personatune.data.sources import DatasetLoader
from personatune.dialogue import Dialogue, Perspective
from personatune.errors import UserError


def read_dialogues(source: str) -> tuple[str, str, list[Perspective]]:
    """Return the source's name, which part of it is taken, and that part as its speakers live it.

    Test rows are taken where the source marks them, else validation rows. A source without marks is taken whole.

    Raises:
        UserError: nothing can be read, or the source marks its rows and all are for training.
    """
    loaded = DatasetLoader(source).load()
    splits = {dialogue.split for dialogue in loaded.dialogues}
    held_out = next((split for split in ("test", "validation") if split in splits), None)
    if held_out is None and splits != {None}:
        raise UserError(f"{source}: all rows are training rows; expected validation or test rows, or rows without mark")
    chosen = [dialogue for dialogue in loaded.dialogues if held_out in (None, dialogue.split)]
    cleaned = clean(chosen)
    views = _views(cleaned.dialogues)
    label = f"{held_out} split" if held_out else "all dialogues (the source marks no held-out part)"
    return source.rstrip("/").rsplit("/", 1)[-1], label, views


def _views(dialogues: Sequence[Dialogue]) -> list[Perspective]:
    return [view for dialogue in dialogues for view in dialogue.perspectives()]
