"""Runs stages one after the other, measures each, and goes on where an earlier call stopped."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Sequence
from contextlib import suppress

from personatune.costs.meter import MetricsTracker, measure_matmul_peak
from personatune.costs.savings import PriceTable
from personatune.pipeline.run import Run
from personatune.pipeline.stages import STAGE_FUNCTIONS, Stage
from personatune.progress import Progress
from personatune.storage import read_json, write_json


def run_stages(run: Run, names: Sequence[str], progress: Progress) -> list[str]:
    """Run those of the named stages that are not done yet, in order; returns the ones that ran.

    Raises:
        UserError: a stage before is missing, or the user's input is wrong.
        KeyboardInterrupt: Ctrl-C; what was reached is saved and the next call goes on there.
    """
    costs = MetricsTracker(
        run.directory / "costs.jsonl", PriceTable.load(run.config.costs.price_table), _matmul_peak(run)
    )
    done = run.done()
    ran = []
    for name in names:
        if name in done:
            continue
        with costs.stage(name) as meter:
            figures = STAGE_FUNCTIONS[name](Stage(run, name, meter, costs, progress))
            meter.add(bytes_stored=sum(f.stat().st_size for f in run.folder(name).rglob("*") if f.is_file()))
        run.mark_done(name, figures)
        ran.append(name)
        _release_memory()
    return ran


def _release_memory() -> None:
    """Give a finished stage's memory back, so that the peak of the next one is its own."""
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc keeps freed pages unless told otherwise; others have no such call
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _matmul_peak(run: Run) -> float:
    """Return the machine's matmul peak in FLOP/s, measured once a run."""
    place = run.directory / "machine.json"
    if not place.is_file():
        write_json(place, {"matmul_peak": measure_matmul_peak()})
    return float(read_json(place)["matmul_peak"])
