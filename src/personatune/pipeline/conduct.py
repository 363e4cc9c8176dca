"""Runs stages one after the other, measures each, and goes on where an earlier call stopped.

Several processes (docs/distributed.md) run the stages that train together; in the other stages all but the main one
wait. The main process alone writes the run's files.
"""

from __future__ import annotations

import ctypes
import gc
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from personatune.anchors import standing
from personatune.costs.meter import MetricsTracker, StageMeter, measure_matmul_peak
from personatune.costs.savings import PriceTable
from personatune.pipeline.claims import Claim, claimed
from personatune.pipeline.estimate import check_memory
from personatune.pipeline.failures import told_failures
from personatune.pipeline.preference_stages import VARIANT_FUNCTIONS
from personatune.pipeline.run import Run
from personatune.pipeline.stages import STAGE_FUNCTIONS, TOGETHER, UNFINISHED, Stage
from personatune.pipeline.variants import Variant, begin_variant
from personatune.progress import Progress, SilentProgress
from personatune.storage import read_json, write_json
from personatune.training.distributed import Processes, join_processes


def run_stages(
    run: Run,
    names: Sequence[str],
    progress: Progress,
    *,
    despite_memory: bool = False,
    despite_reward: bool = False,
) -> list[str]:
    """Run those of the named stages that are not done yet, in order; returns the ones that ran.

    Args:
        despite_memory: start stages that are predicted to need more memory than is free.
        despite_reward: start PPO even on a reward model that fails its own report and should be refused.

    Raises:
        UserError: a stage before is missing, the user's input is wrong, the memory won't do, or another process writes
            into the run.
        KeyboardInterrupt: Ctrl-C; what was reached is saved and the next call goes on there.
    """
    processes = join_processes()
    with _claimed_by_main(run, processes) as claims:
        costs, progress = _begin(run, progress, processes)
        done = processes.from_main(run.done)
        ran = [name for name in names if name not in done]
        checked = despite_memory
        for name in ran:
            if not checked and name != "prepare":  # the data is there, so the lengths of its texts can be counted
                note = processes.from_main(partial(check_memory, run, ran, name))
                if note:
                    progress.say(note)
                checked = True
            _note(claims, name)
            if name in TOGETHER:
                _run(run, name, costs, progress, processes, despite_reward=despite_reward)
            else:
                processes.from_main(partial(_run, run, name, costs, progress, Processes()))
            processes.wait()  # until its files are there
            _release_memory()
    return ran


def run_variant(
    run: Run,
    variant: Variant,
    progress: Progress,
    *,
    redo: bool = False,
    despite_memory: bool = False,
    despite_reward: bool = False,
) -> bool:
    """Train a variant unless it is done; returns whether it was trained now.

    Args:
        redo: start over.
        despite_memory, despite_reward: as for `run_stages`.

    Raises:
        UserError: what it builds on is missing, it was begun otherwise, the memory won't do, or another process writes
            into the run.
        KeyboardInterrupt: Ctrl-C; what was reached is saved and the next call goes on there.
    """
    processes = join_processes()
    with _claimed_by_main(run, processes) as claims:
        costs, progress = _begin(run, progress, processes)
        if processes.from_main(partial(begin_variant, run, variant, redo=redo)):
            return False
        if not despite_memory:
            changed = replace(run, config=variant.config)
            note = processes.from_main(partial(check_memory, changed, [variant.stage], variant.stage))
            if note:
                progress.say(note)
        _note(claims, variant.name)
        _run(run, variant.name, costs, progress, processes, variant, despite_reward)
        processes.wait()
        _release_memory()
    return True


@contextmanager
def _claimed_by_main(run: Run, processes: Processes) -> Iterator[list[Claim]]:
    """Hold the run's folder, the main process for all of them; a list of its claim, empty in the others."""
    claims: list[Claim] = []
    with ExitStack() as stack:
        processes.from_main(lambda: claims.append(stack.enter_context(claimed(run.directory))))
        if processes.main:
            stack.enter_context(standing(run.directory))
        yield claims


def _note(claims: Sequence[Claim], stage: str) -> None:
    for claim in claims:
        claim.note(stage)


def _begin(run: Run, progress: Progress, processes: Processes) -> tuple[MetricsTracker, Progress]:
    processes.choose(run.config.distributed.strategy)
    if not processes.main:
        progress = SilentProgress()
    else:
        for name in run.finished():  # a kill came between the last line of the manifest and this
            _forget_checkpoints(run, name)
    peak = _matmul_peak(run, processes)
    ledger = run.directory / "costs.jsonl" if processes.main else None
    return MetricsTracker(ledger, PriceTable.load(run.config.costs.price_table), peak), progress


def _forget_checkpoints(run: Run, name: str) -> None:
    """Delete what only an unfinished stage needs. Not earlier: until it counts as done, a kill may begin it again."""
    for unfinished in UNFINISHED:
        shutil.rmtree(run.directory / name / unfinished, ignore_errors=True)


def _run(
    run: Run,
    name: str,
    costs: MetricsTracker,
    progress: Progress,
    processes: Processes,
    variant: Variant | None = None,
    despite_reward: bool = False,
) -> None:
    """Run and measure one stage or variant; the main process notes that it is done.

    Raises:
        UserError: the run's folder went away in the middle, or the memory gave out.
    """
    kind = variant.stage if variant else name
    changed = replace(run, config=variant.config) if variant else run
    with told_failures(changed, kind, costs):
        with costs.stage(name) as meter:
            stage = Stage(run, name, meter, costs, progress, processes, despite_reward=despite_reward)
            try:
                if variant is None:
                    figures = STAGE_FUNCTIONS[name](stage)
                else:
                    figures = VARIANT_FUNCTIONS[variant.stage](replace(stage, run=changed, variant=variant))
                    figures["of"] = variant.stage
            except KeyboardInterrupt:  # all of them stop after the same step
                _add_up(meter, processes)
                raise
            _add_up(meter, processes)
            if processes.main:
                files = [file for file in run.folder(name).rglob("*") if file.is_file()]
                kept = [file for file in files if not _unfinished(run, name, file)]
                meter.add(bytes_stored=sum(file.stat().st_size for file in kept))
        if processes.main:
            run.mark_done(name, figures)
            _forget_checkpoints(run, name)


def _unfinished(run: Run, name: str, file: Path) -> bool:
    return file.relative_to(run.directory / name).parts[0] in UNFINISHED


def _add_up(meter: StageMeter, processes: Processes) -> None:
    """Let the main process's meter count what the others did too."""
    for other in processes.gather(meter.so_far())[1:]:
        if processes.main:
            meter.include(other)


def _release_memory() -> None:
    """Give a finished stage's memory back, so that the peak of the next one is its own."""
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc keeps freed pages unless told otherwise; others have no such call
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _matmul_peak(run: Run, processes: Processes) -> float:
    """Return the matmul peak in FLOP/s of what this run computes on, measured once a run and number of processes."""
    place = run.directory / "machine.json"
    key = "matmul_peak" if processes.alone else f"matmul_peak_of_{processes.count}_processes"
    known = processes.from_main(lambda: read_json(place) if place.is_file() else {})
    if key not in known:
        processes.wait()  # all measure at once: together they have the machine's cores and memory
        known[key] = processes.total(measure_matmul_peak())
        processes.from_main(lambda: write_json(place, known))
    return float(known[key])
