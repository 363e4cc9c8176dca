"""What the notebooks stand on: one run for all of them, brought as far as each needs, and floors beside its models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from personatune.config import load_config
from personatune.errors import UserError
from personatune.evaluation.floors import FLOORS
from personatune.pipeline.run import BUILDS_ON, STAGES, Run
from personatune.progress import Progress
from personatune.report.build import collect_report
from personatune.report.drawing import Plot
from personatune.report.markdown import plain as markdown_text
from personatune.report.markdown import table_parts
from personatune.report.plots import draw_plots
from personatune.report.sections import Table

LINE_SECONDS = 30.0
"""Between two lines of progress: a notebook keeps all of them."""


def open_run(
    preset: str,
    name: str,
    *,
    data: str | None = None,
    qlora: bool = False,
    settings: Sequence[str] = (),
    runs: str | Path = "runs",
) -> Run:
    """Open the run that all notebooks share, or begin it.

    Args:
        data: a source instead of the preset's.
        qlora: hold the base model in four bits.
        settings: ``section.key=value``, as ``--set`` takes them.

    Raises:
        UserError: an unknown setting, or other settings than the run was begun with.
    """
    config = load_config(preset, [*(["lora.quantization=nf4"] if qlora else []), *settings])
    if data is not None:
        config.data.source = data
    return Run.open(Path(runs), name, config)


def bring_to(run: Run, stage: str, progress: Progress | None = None, *, despite_reward: bool = False) -> list[str]:
    """Run what is still missing for a stage, and the stage; return what ran. Interrupted, it goes on there.

    On several GPUs the stages that train together are started by ``accelerate launch``, as a notebook is one process.

    Args:
        despite_reward: as for `run_stages`.

    Raises:
        UserError: as `run_stages`; or a stage failed that was launched on several GPUs.
    """
    import torch

    from personatune.pipeline.conduct import run_stages
    from personatune.pipeline.stages import TOGETHER
    from personatune.terminal_progress import RichProgress

    progress = progress or RichProgress(line_seconds=LINE_SECONDS)
    wanted = [name for name in needed_for(stage) if name not in run.done()]
    for name in wanted:
        if name in TOGETHER and torch.cuda.device_count() > 1:
            torch.cuda.empty_cache()  # what earlier stages left in this process's hands
            _launch(launch_words(run, name, torch.cuda.device_count(), despite_reward=despite_reward))
        else:
            run_stages(run, [name], progress, despite_reward=despite_reward)
    if not wanted:
        progress.say(f"{stage} of run {run.name} is done already")
    return wanted


def needed_for(stage: str) -> list[str]:
    """Return a stage and all that it builds on, in the order of the run.

    Raises:
        ValueError: there is no such stage.
    """
    if stage not in STAGES:
        raise ValueError(f"no stage {stage!r}; expected one of {', '.join(STAGES)}")
    found, new = set(), {stage}
    while new:
        found |= new
        new = {below for name in new for below in BUILDS_ON[name]} - found
    return [name for name in STAGES if name in found]


def launch_words(run: Run, stage: str, processes: int, *, despite_reward: bool = False) -> list[str]:
    """Return the command that runs a stage on several GPUs, one process each."""
    return [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)),
        *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
        *("-m", "personatune", stage, "--run", run.name, "--runs", str(run.directory.parent)),
        *(["--despite-reward"] if despite_reward and stage == "ppo" else []),
    ]


def as_cell(shown: Table | Plot) -> Any:
    """Return a table or a plot as the value of a notebook's cell; text from data and models stays text.

    A plot is a PNG: notebooks show one also where they don't trust who made it.
    """
    from IPython.display import Image, Markdown

    if isinstance(shown, Table):
        return Markdown("\n\n".join(table_parts(shown)))
    words = f"{shown.title}: {shown.text}"
    return Markdown(markdown_text(words)) if shown.draw is None else Image(shown.png, format="png", alt=words)


def report_plot(run: Run, name: str) -> Plot:
    """Return one of the figures of a run's report, by its name, from what the run's stages have left so far.

    Raises:
        ValueError: the report has no such figure.
    """
    plots = {plot.name: plot for plot in draw_plots(run.directory, collect_report(run.directory))}
    if name not in plots:
        raise ValueError(f"no figure {name!r} in the report; it has {', '.join(plots)}")
    return plots[name]


def floor_figures(run: Run) -> dict[str, dict[str, Any]]:
    """Hold the run's probe dialogues with what needs no training, and judge them as the models' are.

    Returns:
        Floor -> metric -> value, low, high, n: the keyword measures of `PersonaEvaluator`.

    Raises:
        UserError: the stage prepare isn't done.
    """
    from personatune.data.processing import PreparedData
    from personatune.evaluation.persona import PersonaEvaluator
    from personatune.judging.probes import hold_dialogues
    from personatune.pipeline.contenders import load_contender
    from personatune.pipeline.run_judging import run_test_set

    run.require("baseline")
    scripts = run_test_set(run).scripts
    train = PreparedData.load(run.folder("prepare")).train
    pool = [reply for view in train for _, reply in view.replies()]
    evaluator = PersonaEvaluator(run.config.evaluation.bootstrap_samples, run.config.seed)
    figures = {}
    for name in FLOORS:
        respond = load_contender(name, pool=pool).respond
        assert respond is not None  # floors answer, and the pool is there
        found = evaluator.evaluate_dialogues(hold_dialogues(scripts, respond))
        figures[name] = {metric: estimate.to_json() for metric, estimate in found.items()}
    return figures


def _launch(words: Sequence[str]) -> None:
    """Run a command and pass its lines on as they come: a notebook shows no output of a child of its own."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        last = ""
        assert child.stdout is not None
        for line in child.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    if child.returncode:
        raise UserError(f"{' '.join(words)}: ended with {child.returncode}; its last line: {last}")
