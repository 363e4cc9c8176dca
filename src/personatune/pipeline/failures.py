"""What can go wrong in the middle of a stage without anybody's mistake, told in one line."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from personatune.anchors import gone, has_gone
from personatune.costs.memory import out_of_memory
from personatune.costs.meter import MetricsTracker
from personatune.errors import UserError
from personatune.pipeline.estimate import after_running_out
from personatune.pipeline.run import Run


@contextmanager
def told_failures(run: Run, stage: str, costs: MetricsTracker) -> Iterator[None]:
    """Turn running out of memory, and a run's folder that went away, into a line for the user.

    Raises:
        UserError: one of them happened inside the block.
    """
    try:
        yield
    except Exception as error:
        if has_gone(run.directory):
            raise UserError(gone(run.directory)) from error
        if out_of_memory(error):
            peak = costs.track_memory()
            traceback.clear_frames(error.__traceback__)  # the tensors of the step: counting what fits needs room too
            gc.collect()
            raise UserError(after_running_out(run, stage, peak)) from error
        raise
