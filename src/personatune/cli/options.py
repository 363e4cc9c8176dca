"""Options that several commands share, and what every command does before it loads heavy libraries."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from personatune.launch import launched_processes, process_number

T = TypeVar("T")

Preset = Annotated[str, typer.Option(help="quick, standard or kaggle-2xt4, or a YAML file of settings.")]
Data = Annotated[str | None, typer.Option(help="A source's name (chitchat), a file, a folder, or a hub id.")]
Model = Annotated[str | None, typer.Option(help="The base model: embedded, a folder, or a hub id.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="One setting, as in sft.learning_rate=2e-4.")]
Online = Annotated[
    bool, typer.Option("--online", help="Send the figures to Weights & Biases while training (after wandb login).")
]
Name = Annotated[str, typer.Option(help="The run's name: its folder under --runs.")]
RunName = Annotated[str, typer.Option("--run", help="The run's name.")]
Runs = Annotated[Path, typer.Option(help="Where runs are kept.")]
Redo = Annotated[bool, typer.Option("--redo", help="Start over, with all stages that build on this one.")]
DespiteMemory = Annotated[
    bool, typer.Option("--despite-memory", help="Go on although more memory will be needed than is free.")
]
DespiteReward = Annotated[
    bool, typer.Option("--despite-reward", help="Start PPO although the reward model fails its own report.")
]

RUNS = Path("runs")

DEFAULT_PERSONA = (
    "I have two dogs named Max and Bella.",
    "I work as a chef in a small Italian restaurant.",
    "I live in Chicago.",
    "My favorite color is green.",
    "I can't stand broccoli.",
)
"""Who talks where no persona is given."""


QUIET = 25.0
"""Percent of all cores that others may use while this process still counts as alone."""


def set_up_libraries(*, long_work: bool = False) -> None:
    """Prepare the libraries before they are loaded; silence their bars and notices: a stage shows one bar, its own.

    Args:
        long_work: it computes until it ends and waits for nobody: its threads may spin while they wait for each other.
    """
    import os
    import warnings

    from personatune.allocator import keep_freed_memory

    keep_freed_memory()
    os.environ.setdefault("OMP_WAIT_POLICY", wait_policy(long_work))
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft|torch")
    warnings.filterwarnings("ignore", message="IProgress not found")  # in a notebook; no bar of tqdm is shown anyway
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def wait_policy(long_work: bool) -> Literal["ACTIVE", "PASSIVE"]:
    """Say how threads wait for each other: spinning (ACTIVE) or asleep.

    A training step on two quiet cores took 5.4 s spinning and 7.5 s asleep; beside one busy process 12.4 and 8.3 s
    (docs/experiments.md). So threads spin where the machine is quiet as the work begins, and where nothing else waits
    on this one: a chat that waits for its user must not hold the cores.
    """
    if not long_work or launched_processes() > 1:
        return "PASSIVE"
    import psutil

    return "ACTIVE" if psutil.cpu_percent(interval=0.2) < QUIET else "PASSIVE"


@contextmanager
def told_interrupts() -> Iterator[None]:
    """End with exit code 130 and a line when Ctrl-C is pressed or SIGTERM comes inside the block."""
    here = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if here else None
    try:
        yield
    except KeyboardInterrupt:
        if not process_number():
            typer.echo("\nstopped; what was reached is saved, the same command goes on there", err=True)
        raise typer.Exit(130) from None
    finally:
        if here:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Let no other process write into a folder meanwhile, whatever the number of processes that work together.

    Raises:
        UserError: another one does.
    """
    from personatune.pipeline.claims import claimed

    with ExitStack() as stack:

        def claim() -> None:
            stack.enter_context(claimed(folder))

        by_main_process(claim)
        yield


def by_main_process(act: Callable[[], T]) -> T:
    """Do something once, whatever the number of processes: the others wait and get what the main one made."""
    if launched_processes() == 1:
        return act()
    set_up_libraries()
    from personatune.training.distributed import join_processes

    return join_processes().from_main(act)
