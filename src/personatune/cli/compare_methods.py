"""``compare-methods``: DPO, PPO, RLOO, GRPO, best-of-n and critic re-ranking from one SFT checkpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from personatune.cli.options import (
    RUNS,
    DespiteMemory,
    DespiteReward,
    RunName,
    Runs,
    set_up_libraries,
    told_interrupts,
)

app = typer.Typer()

_METHOD_HELP = "sft, dpo, ppo, rloo, grpo, best-of-8 or critic; may be given several times. By default all of them."


@app.command()
def compare_methods(
    name: RunName = "demo",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each method, the run's seed and those after it.")] = 3,
    budget: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds that each may train; by default what the run's reward model and PPO took."),
    ] = None,
    methods: Annotated[list[str] | None, typer.Option("--method", help=_METHOD_HELP)] = None,
    runs: Runs = RUNS,
    redo: Annotated[bool, typer.Option("--redo", help="Forget what earlier calls kept of these methods.")] = False,
    despite_memory: DespiteMemory = False,
    despite_reward: DespiteReward = False,
) -> None:
    """Train every method from the run's SFT checkpoint for the same seconds, and print quality against seconds."""
    from personatune.pipeline.run import Run

    opened = Run.open(runs, name)
    set_up_libraries(long_work=True)
    from personatune.pipeline.methods import FOLDER, METHODS
    from personatune.pipeline.methods import compare_methods as compare
    from personatune.report.evaluation_page import wide_console
    from personatune.report.method_page import print_methods, write_methods
    from personatune.terminal_progress import RichProgress

    chosen = list(dict.fromkeys(methods or METHODS))
    with told_interrupts():
        comparison = compare(
            opened,
            chosen,
            RichProgress(),
            seeds=seeds,
            seconds=budget,
            despite_memory=despite_memory,
            despite_reward=despite_reward,
            redo=redo,
        )
    folder = opened.folder(FOLDER)
    write_methods(comparison, folder / "comparison.md")
    print_methods(wide_console(), comparison, folder / "comparison.json")
