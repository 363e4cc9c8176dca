"""The curves in Weights & Biases: an offline run directory by default, sent while training only when asked for."""

from __future__ import annotations

import io
import netrc
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from personatune.training.tracking import TrackedStage, worth_sampling

_TABLES_OFTEN = 8  # every table of W&B's is files of its own


class WandbTracker:
    """W&B without banner, without prompts and without touching the environment.

    A stage is one W&B run in the group of its personatune run. Offline, opening it costs about a second (and another
    one for the first import), which no stage notices. A resumed stage writes a second offline directory with the same
    run id and steps that go on; ``wandb sync`` joins them.

    Raises:
        ValueError: ``settings.online`` without a key.
    """

    def __init__(self, tracked: TrackedStage) -> None:
        import wandb

        directory, settings, resume_step = tracked.directory, tracked.settings, tracked.resume_step
        if settings.online and not _has_key(os.environ.get("WANDB_BASE_URL") or str(wandb.Settings().base_url)):
            raise ValueError("tracking.online needs a key: run wandb login, or set WANDB_API_KEY")
        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # it advertises Weave where a library it knows is imported
        self._wandb = wandb
        self._staging = directory / "wandb" / "staging"
        if not resume_step and not settings.online:  # nothing of a stage that is begun anew may be sent later
            shutil.rmtree(directory / "wandb", ignore_errors=True)
        self._run = wandb.init(
            project=settings.project,
            group=tracked.run,
            job_type=tracked.stage,
            name=f"{tracked.run}/{tracked.stage}",
            id=tracked.known,
            config=dict(tracked.config),
            resume="allow" if settings.online else None,
            reinit="finish_previous",
            mode="online" if settings.online else "offline",
            dir=str(directory),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_stats=True,
                x_disable_meta=True,
            ),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        self._row = max(resume_step, self._run.step - 1) if resume_step else -1
        self._step: int | None = None
        self._sampled = 0

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._write({name: float(value) for name, value in metrics.items()}, step)

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        self._sampled += 1
        if rows and worth_sampling(self._sampled, _TABLES_OFTEN):
            columns = list(dict.fromkeys(column for row in rows for column in row))
            cells = [[row.get(column, "") for column in columns] for row in rows]
            with self._inside_the_run():
                self._write({name: self._wandb.Table(columns=columns, data=cells)}, step)

    def figures(self, drawings: Mapping[str, bytes], step: int) -> None:
        from PIL import Image

        images = {f"figures/{name}": Image.open(io.BytesIO(png)) for name, png in drawings.items()}
        self._write({name: self._wandb.Image(image) for name, image in images.items()}, step)

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        with self._inside_the_run():
            artifact = self._wandb.Artifact(name, type=kind)
            for path in paths:
                artifact.add_file(str(path))
            self._run.log_artifact(artifact)

    def close(self) -> None:
        self._run.finish()

    def _write(self, row: Mapping[str, Any], step: int) -> None:
        """Write one row; W&B's own row number must only grow, also where a resumed stage repeats steps."""
        if step != self._step:
            self._row, self._step = max(step, self._row + 1), step
        self._run.log({**row, "step": step}, step=self._row)

    @contextmanager
    def _inside_the_run(self) -> Iterator[None]:
        """Let W&B keep its copies of artefacts beside the run, not in the home folder: they go with it."""
        before = os.environ.get("WANDB_DATA_DIR")
        os.environ["WANDB_DATA_DIR"] = str(self._staging.resolve())
        try:
            yield
        finally:
            if before is None:
                del os.environ["WANDB_DATA_DIR"]
            else:
                os.environ["WANDB_DATA_DIR"] = before


def _has_key(server: str) -> bool:
    """Say whether W&B would find a key; without one it asks for it, and a run at night would wait until the morning."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    places = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for place in places:
        try:
            if netrc.netrc(Path(place).expanduser()).authenticators(urlsplit(server).hostname or server):
                return True
        except (OSError, netrc.NetrcParseError):  # no such file, or one that W&B can't read either
            continue
    return False
