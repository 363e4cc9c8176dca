"""The command line: a thin face over the pipeline. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personatune.errors import UserError

if TYPE_CHECKING:
    from personatune.config import Config
    from personatune.pipeline.run import Run

app = typer.Typer(
    help="Train chatbots that stay in character, and prove it with measured numbers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at dialogues before training on them.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Preset = Annotated[str, typer.Option(help="quick, standard or kaggle-2xt4, or a YAML file of settings.")]
Data = Annotated[str | None, typer.Option(help="A source's name (chitchat), a file, a folder, or a hub id.")]
Model = Annotated[str | None, typer.Option(help="The base model: embedded, a folder, or a hub id.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="One setting, as in sft.learning_rate=2e-4.")]
Name = Annotated[str, typer.Option(help="The run's name: its folder under --runs.")]
RunName = Annotated[str, typer.Option("--run", help="The run's name.")]
Runs = Annotated[Path, typer.Option(help="Where runs are kept.")]
Redo = Annotated[bool, typer.Option("--redo", help="Start over, with all stages that build on this one.")]

RUNS = Path("runs")


@app.command()
def run(
    preset: Preset = "quick",
    name: Name = "demo",
    data: Data = None,
    model: Model = None,
    settings: Settings = None,
    runs: Runs = RUNS,
) -> None:
    """Run every stage: prepare, train, align, judge, compare, report. Resumes where it stopped."""
    from personatune.pipeline.run import STAGES

    ran = _conduct(_begin(preset, name, data, model, settings, runs), STAGES)
    _summary(runs, name, already_done=not ran)


@app.command()
def prepare(
    preset: Preset = "quick",
    name: Name = "demo",
    data: Data = None,
    model: Model = None,
    settings: Settings = None,
    runs: Runs = RUNS,
) -> None:
    """Begin a run: load, clean and split the dialogues, and find the base model."""
    _conduct(_begin(preset, name, data, model, settings, runs), ["prepare"])


@app.command()
def baseline(name: RunName = "demo", runs: Runs = RUNS, redo: Redo = False) -> None:
    """Judge the untouched model."""
    _stage("baseline", name, runs, redo)


@app.command()
def sft(name: RunName = "demo", runs: Runs = RUNS, redo: Redo = False) -> None:
    """Fine-tune with LoRA or QLoRA on the training dialogues."""
    _stage("sft", name, runs, redo)


@app.command()
def preferences(name: RunName = "demo", runs: Runs = RUNS, redo: Redo = False) -> None:
    """Make preference pairs and the prompts for PPO."""
    _stage("preferences", name, runs, redo)


@app.command()
def reward(name: RunName = "demo", runs: Runs = RUNS, redo: Redo = False) -> None:
    """Train the reward model and report whether it deserves trust."""
    _stage("reward", name, runs, redo)


@app.command()
def ppo(name: RunName = "demo", runs: Runs = RUNS, redo: Redo = False) -> None:
    """Optimise the policy against the reward model."""
    _stage("ppo", name, runs, redo)


@app.command()
def evaluate(name: RunName = "demo", runs: Runs = RUNS, redo: Redo = False) -> None:
    """Judge the SFT and the PPO model on held-out personas."""
    _stage("evaluate", name, runs, redo)


@app.command()
def compare(name: RunName = "demo", runs: Runs = RUNS, redo: Redo = False) -> None:
    """Measure LoRA against full fine-tuning on the same data to the same held-out loss."""
    _stage("compare", name, runs, redo)


@app.command()
def report(name: RunName = "demo", runs: Runs = RUNS) -> None:
    """Write the report of a run from what its stages left, and print its summary."""
    _stage("report", name, runs, redo=True)
    _summary(runs, name, already_done=False)


@app.command()
def chat(
    name: RunName = "demo",
    model: Annotated[str, typer.Option(help="base, sft or ppo.")] = "ppo",
    persona: Annotated[str | None, typer.Option(help='Sentences: "I have two dogs. | I am a chef."')] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 always gives the likeliest reply.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    runs: Runs = RUNS,
) -> None:
    """Chat with a model of a run in the terminal."""
    from rich.console import Console

    from personatune.chat.session import ChatSession, parse_persona
    from personatune.chat.terminal import chat_in_terminal, terminal_reader
    from personatune.dialogue import Persona
    from personatune.pipeline.run import Run

    if model not in ("base", "sft", "ppo"):
        raise UserError(f"--model {model}: expected base, sft or ppo")
    chosen = parse_persona(persona) if persona else Persona(_DEFAULT_PERSONA)
    opened = Run.open(runs, name)
    _set_up_libraries()
    from personatune.model.generation import Chatbot, Sampling
    from personatune.pipeline.models import load_model, load_prompts

    sampling = Sampling(max_new_tokens=80, temperature=temperature, no_repeat_ngram=4)
    bot = Chatbot(load_model(opened, model), load_prompts(opened.config), sampling, seed=seed)  # type: ignore[arg-type]
    chat_in_terminal(ChatSession(chosen, bot.stream), Console(), terminal_reader())


@app.command()
def doctor(online: Annotated[bool, typer.Option(help="Also ask whether the hub can be reached.")] = False) -> None:
    """Say what this machine has: versions, cores, memory, and the parts that can be reached."""
    from rich.console import Console

    from personatune.doctor import print_diagnosis

    if not print_diagnosis(Console(), online):
        raise typer.Exit(1)


@data_app.command("inspect")
def inspect_data(
    source: Annotated[str, typer.Argument(help="A source's name (chitchat), a file, a folder, or a hub id.")],
    fraction: Annotated[float, typer.Option(min=0.0001, max=1, help="Share of the dialogues to read.")] = 1.0,
    examples: Annotated[int, typer.Option(min=0, help="Dialogues shown token by token.")] = 1,
    model: Annotated[str, typer.Option(help="Whose tokenizer shows the loss mask.")] = "embedded",
    plots: Annotated[Path, typer.Option(help="Folder for the plots.")] = Path("runs/inspect"),
    seed: int = 0,
) -> None:
    """Print statistics and examples of a source with the loss mask token by token, and draw plots."""
    _set_up_libraries()
    from personatune.pipeline.inspect import inspect_source

    inspect_source(source, fraction=fraction, examples=examples, model=model, plots=plots, seed=seed)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"personatune: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


_DEFAULT_PERSONA = (
    "I have two dogs named Max and Bella.",
    "I work as a chef in a small Italian restaurant.",
    "I live in Chicago.",
    "My favorite color is green.",
    "I can't stand broccoli.",
)


def _begin(preset: str, name: str, data: str | None, model: str | None, settings: list[str] | None, runs: Path) -> Run:
    from personatune.pipeline.run import Run

    return Run.open(runs, name, _config(preset, data, model, settings))


def _config(preset: str, data: str | None, model: str | None, settings: list[str] | None) -> Config:
    from personatune.config import load_config

    config = load_config(preset, settings or [])
    if data is not None:
        config.data.source = data
    if model is not None:
        config.model.base = model
    return config


def _stage(stage: str, name: str, runs: Path, redo: bool) -> None:
    from personatune.pipeline.run import Run

    opened = Run.open(runs, name)
    if redo:
        opened.forget(stage)
    if not _conduct(opened, [stage]):
        typer.echo(f"{stage} of run {name} is done already; --redo starts it over")


def _conduct(opened: Run, stages: Any) -> list[str]:
    _set_up_libraries()
    from personatune.pipeline.conduct import run_stages
    from personatune.terminal_progress import RichProgress

    try:
        return run_stages(opened, stages, RichProgress())
    except KeyboardInterrupt:
        typer.echo("\nstopped; what was reached is saved, the same command goes on there", err=True)
        raise typer.Exit(130) from None


def _summary(runs: Path, name: str, *, already_done: bool) -> None:
    from rich.console import Console

    from personatune.report.table import print_summary
    from personatune.storage import read_json

    console = Console()
    folder = runs / name / "report"
    if already_done:
        console.print(f"Run {name} is done already; this is its report. Another --name starts another run.\n")
    print_summary(console, read_json(folder / "report.json"), folder / "report.html")


def _set_up_libraries() -> None:
    """Prepare the libraries before they are loaded; silence their bars and notices: a stage shows one bar, its own."""
    import os
    import warnings

    # Threads that wait in sleep instead of spinning: as fast on a quiet machine, three times faster beside other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft|torch")
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


if __name__ == "__main__":
    main()
