"""``recall``: train what finds the persona sentence that a line is about, and measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from personatune.cli.options import set_up_libraries

app = typer.Typer(
    help="Persona recall, which finds the persona sentence that a line is about: train it, measure it.",
    no_args_is_help=True,
)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for recall.safetensors, recall.json and the report.")] = Path(
        "runs/recall"
    ),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the lines.")] = 4,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
) -> None:
    """Train persona recall in minutes, from hand-written lines that are in the package."""
    set_up_libraries(long_work=True)
    from personatune.pipeline.recall import train_recall
    from personatune.terminal_progress import RichProgress
    from personatune.training.recall import RecallSettings

    report = train_recall(RecallSettings(epochs=epochs, seed=seed), out, RichProgress())
    _print(report["validation"], "validation")
    typer.echo(f"recall.safetensors, recall.json and report.json are in {out}; use it as MODEL+recall={out}")


@app.command()
def check(
    folder: Annotated[Path | None, typer.Argument(help="Of `recall train`; without it, what is shipped.")] = None,
) -> None:
    """Measure persona recall on the validation personas of PersonaProbes."""
    set_up_libraries()
    from personatune.judging.recall import Recall, shipped_recall
    from personatune.pipeline.recall import measure

    _print(measure(Recall(folder or shipped_recall()), "validation"), "validation")


def _print(measured: dict[str, Any], split: str) -> None:
    typer.echo(
        f"{measured['n']} questions of the {split} personas: sentence found first {100 * measured['first']:.1f} %, "
        f"among the first two {100 * measured['first two']:.1f} %; shown with {100 * measured['shown']:.1f} %, "
        f"{measured['sentences']:.2f} sentences at a time; small talk taken for a question "
        f"{100 * measured['small talk narrowed']:.1f} %"
    )
