"""The curves as TensorBoard event files, samples and reports as text."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personatune.plain_text import markdown_text


class TensorBoardTracker:
    """Event files under ``tensorboard/`` of the stage. TensorBoard has no artefacts: it gets Markdown files."""

    def __init__(self, directory: Path, resume_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = directory / "tensorboard"
        if not resume_step:
            shutil.rmtree(folder, ignore_errors=True)
        # purge_step hides what an interrupted run wrote after the step that is resumed.
        purge = resume_step + 1 if resume_step else None
        self._writer: Any = SummaryWriter(str(folder), purge_step=purge)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        if rows:
            self._writer.add_text(name, _markdown_table(rows), step)

    def figures(self, drawings: Mapping[str, bytes], step: int) -> None:
        import numpy as np
        from PIL import Image

        for name, png in drawings.items():
            pixels_H_W_3 = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
            self._writer.add_image(f"figures/{name}", pixels_H_W_3, step, dataformats="HWC")

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        for path in paths:
            if path.suffix == ".md":
                self._writer.add_text(f"{name}/{path.name}", path.read_text(encoding="utf-8"))

    def close(self) -> None:
        self._writer.close()


def _markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns), *([row.get(column, "") for column in columns] for row in rows)]
    escaped = [[cell if number == 1 else markdown_text(cell) for cell in line] for number, line in enumerate(lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)
