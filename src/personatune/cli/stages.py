"""The stages of a run, all in a row (``run``) or one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personatune.cli.options import (
    RUNS,
    Data,
    DespiteMemory,
    DespiteReward,
    Model,
    Name,
    Online,
    Preset,
    Redo,
    RunName,
    Runs,
    Settings,
    by_main_process,
    one_writer,
    set_up_libraries,
    told_interrupts,
)
from personatune.errors import UserError

if TYPE_CHECKING:
    from personatune.pipeline.run import Run
    from personatune.settings import Config

app = typer.Typer()


@app.command()
def run(
    preset: Preset = "quick",
    name: Name = "demo",
    data: Data = None,
    model: Model = None,
    settings: Settings = None,
    runs: Runs = RUNS,
    online: Online = False,
    despite_memory: DespiteMemory = False,
    despite_reward: DespiteReward = False,
) -> None:
    """Run every stage: prepare, train, align, judge, compare, report. Resumes where it stopped."""
    from personatune.pipeline.run import STAGES

    with _beginning(preset, name, data, model, settings, runs, online) as opened:
        ran = _conduct(opened, STAGES, despite_memory, despite_reward)
    _summary(runs, name, already_done=not ran)


@app.command()
def prepare(
    preset: Preset = "quick",
    name: Name = "demo",
    data: Data = None,
    model: Model = None,
    settings: Settings = None,
    runs: Runs = RUNS,
    online: Online = False,
) -> None:
    """Begin a run: load, clean and split the dialogues, and find the base model."""
    with _beginning(preset, name, data, model, settings, runs, online) as opened:
        _conduct(opened, ["prepare"])


@app.command()
def baseline(name: RunName = "demo", runs: Runs = RUNS, redo: Redo = False) -> None:
    """Judge the untouched model."""
    run_stage("baseline", name, runs, redo)


@app.command()
def sft(name: RunName = "demo", runs: Runs = RUNS, redo: Redo = False, despite_memory: DespiteMemory = False) -> None:
    """Fine-tune with LoRA or QLoRA on the training dialogues."""
    run_stage("sft", name, runs, redo, despite_memory)


@app.command()
def reward(
    name: RunName = "demo", runs: Runs = RUNS, redo: Redo = False, despite_memory: DespiteMemory = False
) -> None:
    """Train the reward model and report whether it deserves trust."""
    run_stage("reward", name, runs, redo, despite_memory)


@app.command()
def dpo(
    name: RunName = "demo",
    pairs: Annotated[
        Path | None, typer.Option(help="A file of preference pairs as preferences/train.jsonl; by default the run's.")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="Pairs that choose the best checkpoint; by default preferences/test.jsonl.")
    ] = None,
    settings: Settings = None,
    save_as: Annotated[
        str, typer.Option("--as", help="The model's name: its folder in the run, and --model NAME of other commands.")
    ] = "dpo",
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop after so many seconds of training, at dpo.epochs at the latest.")
    ] = None,
    runs: Runs = RUNS,
    redo: Redo = False,
    despite_memory: DespiteMemory = False,
) -> None:
    """Train on preference pairs directly (DPO), from the SFT checkpoint, without reward model or PPO."""
    from personatune.config import load_config
    from personatune.pipeline.run import Run
    from personatune.pipeline.variants import Variant, check_name, check_settings

    def variant() -> tuple[Run, Variant]:
        opened = Run.open(runs, name)
        config = load_config(opened.directory / "config.yaml", settings or [])
        check_settings(opened, config, ("seed", "branch", "dpo", "distributed", "tracking"))
        return opened, Variant("dpo", check_name(save_as), config, pairs, held_out, seconds)

    opened, wanted = by_main_process(variant)
    set_up_libraries(long_work=True)
    from personatune.pipeline.conduct import run_variant
    from personatune.terminal_progress import RichProgress

    with told_interrupts():
        if not run_variant(opened, wanted, RichProgress(), redo=redo, despite_memory=despite_memory):
            typer.echo(f"{wanted.name} of run {name} is done already; --redo starts it over, --as NAME makes another")


@app.command()
def ppo(
    name: RunName = "demo",
    runs: Runs = RUNS,
    redo: Redo = False,
    despite_memory: DespiteMemory = False,
    despite_reward: DespiteReward = False,
) -> None:
    """Optimise the policy against the reward model, if that passes its own report."""
    run_stage("ppo", name, runs, redo, despite_memory, despite_reward)


@app.command()
def compare(
    name: RunName = "demo", runs: Runs = RUNS, redo: Redo = False, despite_memory: DespiteMemory = False
) -> None:
    """Measure LoRA against full fine-tuning on the same data to the same held-out loss."""
    run_stage("compare", name, runs, redo, despite_memory)


@app.command()
def report(
    names: Annotated[
        list[str] | None, typer.Argument(help="With --compare: two runs or more, or their folders.")
    ] = None,
    name: RunName = "demo",
    compare: Annotated[bool, typer.Option("--compare", help="Set runs side by side, against the first one.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="With --compare: the folder to write; by default one beside the first run.")
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Write the report of a run from what its stages left, and print its summary; or compare runs."""
    if compare:
        _compare_runs(names or [], runs, out)
        return
    if names or out:
        extra = " ".join(names or [f"--out {out}"])
        raise UserError(f"report {extra}: expected --run NAME, or --compare with two runs or more")
    run_stage("report", name, runs, redo=True)
    _summary(runs, name, already_done=False)


def _compare_runs(names: list[str], runs: Path, out: Path | None) -> None:
    from personatune.pipeline.run import Run
    from personatune.report.evaluation_page import wide_console
    from personatune.report.side_by_side_page import compare_runs, print_comparison

    folders = [Path(name) if "/" in name else Run.open(runs, name).directory for name in names]
    comparison, paths = compare_runs(folders, out)
    print_comparison(wide_console(), comparison, paths)


@contextmanager
def _beginning(
    preset: str,
    name: str,
    data: str | None,
    model: str | None,
    settings: list[str] | None,
    runs: Path,
    online: bool,
) -> Iterator[Run]:
    """Begin a run or go on with it; no other process writes into it inside the block."""
    from personatune.pipeline.run import Run, run_directory

    wanted = [*(settings or []), *(["tracking.online=true"] if online else [])]
    config = by_main_process(lambda: _config(preset, data, model, wanted))
    directory = by_main_process(lambda: run_directory(runs, name))
    with one_writer(directory):
        yield by_main_process(lambda: Run.open(runs, name, config))


def _config(preset: str, data: str | None, model: str | None, settings: list[str] | None) -> Config:
    from personatune.config import load_config

    config = load_config(preset, settings or [])
    if data is not None:
        config.data.source = data
    if model is not None:
        config.model.base = model
    return config


def run_stage(
    stage: str, name: str, runs: Path, redo: bool, despite_memory: bool = False, despite_reward: bool = False
) -> None:
    from personatune.pipeline.run import Run

    def reopen() -> Run:
        opened = Run.open(runs, name)
        if redo:
            opened.forget(stage)
        return opened

    directory = by_main_process(lambda: Run.open(runs, name).directory)  # there must be one
    with one_writer(directory):
        ran = _conduct(by_main_process(reopen), [stage], despite_memory, despite_reward)
    if not ran:
        typer.echo(f"{stage} of run {name} is done already; --redo starts it over")


def _conduct(opened: Run, stages: Any, despite_memory: bool = False, despite_reward: bool = False) -> list[str]:
    set_up_libraries(long_work=True)
    from personatune.pipeline.conduct import run_stages
    from personatune.terminal_progress import RichProgress

    with told_interrupts():
        return run_stages(opened, stages, RichProgress(), despite_memory=despite_memory, despite_reward=despite_reward)


def _summary(runs: Path, name: str, *, already_done: bool) -> None:
    from rich.console import Console

    from personatune.report.table import print_summary
    from personatune.storage import read_json

    console = Console()
    folder = runs / name / "report"
    if already_done:
        console.print(f"Run {name} is done already; this is its report. Another --name starts another run.\n")
    print_summary(console, read_json(folder / "report.json"), folder / "report.html")
