"""The curves in trackio, the local-first tracker of Hugging Face: one store for all runs, ``trackio show`` draws it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from personatune.plain_text import markdown_text
from personatune.training.tracking import TrackedStage

_REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_WEBHOOK_URL")


class TrackioTracker:
    """One trackio run a stage, in the group of its personatune run, in trackio's own local store (``TRACKIO_DIR``).

    The name ends in the stage's own word, so that two personatune runs of one name stay two.

    Raises:
        ValueError: the store can't be written.
    """

    def __init__(self, tracked: TrackedStage) -> None:
        import trackio

        self._trackio = trackio
        _check_store(Path(trackio.TRACKIO_DIR))
        with _local_unless(tracked.settings.online), redirect_stdout(io.StringIO()):
            self._run = trackio.init(
                project=tracked.settings.project,
                name=f"{tracked.run}/{tracked.stage}-{tracked.known[:6]}",
                group=tracked.run,
                config=dict(tracked.config),
                resume="allow" if tracked.resume_step else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log({name: float(value) for name, value in metrics.items()}, step=step)

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        if rows:  # trackio draws cells as Markdown
            cells = [{column: markdown_text(text) for column, text in row.items()} for row in rows]
            self._run.log({name: self._trackio.Table(data=cells)}, step=step)

    def figures(self, drawings: Mapping[str, bytes], step: int) -> None:
        from PIL import Image

        images = {name: self._trackio.Image(Image.open(io.BytesIO(png))) for name, png in drawings.items()}
        self._run.log({f"figures/{name}": image for name, image in images.items()}, step=step)

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        artifact = self._trackio.Artifact(name=name, type=kind)
        for path in paths:
            artifact.add_file(path)
        self._run.log_artifact(artifact)

    def close(self) -> None:
        from trackio import context_vars

        with redirect_stdout(io.StringIO()):
            self._run.finish()
        if context_vars.current_run.get() is self._run:  # or trackio would finish it, and say so, when Python ends
            context_vars.current_run.set(None)


def _check_store(store: Path) -> None:
    """Check what trackio itself only warns about: figures that can't be stored would be lost."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        (store / ".personatune").write_bytes(b"")
        (store / ".personatune").unlink()
    except OSError as error:
        raise ValueError(f"its store {store} can't be written: {error.strerror}; TRACKIO_DIR names another") from error


@contextmanager
def _local_unless(online: bool) -> Iterator[None]:
    """Hide a Space or server that a shell once exported, unless the settings ask to send figures."""
    hidden = {} if online else {name: os.environ.pop(name) for name in _REMOTE if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
