"""``estimate``: the memory that a run's stages will take, before anything is loaded."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personatune.cli.options import RUNS, Model, Preset, Runs, Settings, set_up_libraries

if TYPE_CHECKING:
    from personatune.pipeline.estimate import Estimate

app = typer.Typer()

_UNITS = {"": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40}
_KINDS = ("weights", "adapters", "gradients", "optimiser", "activations", "logits", "caches", "other")


@app.command()
def estimate(
    preset: Preset = "quick",
    model: Model = None,
    settings: Settings = None,
    run: Annotated[str | None, typer.Option(help="Take settings and data of this run instead of a preset.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory of a process (of each GPU), as in 16GB.")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes (GPUs) that train together.", min=1)] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show every term of every peak with its reason.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Predict the memory of each stage, and what to change where it doesn't fit (then the exit code is 1)."""
    limit = _bytes(memory) if memory else None
    set_up_libraries()
    from personatune.config import load_config
    from personatune.pipeline.estimate import assumed_lengths, predict, preset_place, run_lengths, too_little
    from personatune.pipeline.run import Run

    if run is not None:
        opened = Run.open(runs, run)
        config, lengths = opened.config, run_lengths(opened)
    else:
        config = load_config(preset, settings or [])
        if model is not None:
            config.model.base = model
        lengths = assumed_lengths(config)
    found = predict(config, preset_place(config, limit, processes), lengths)
    advice = None if found.fits else too_little(config, found)
    if as_json:
        print(json.dumps(_as_json(found, advice)))
    else:
        _print(found, advice, explain=explain)
    if advice:
        raise typer.Exit(1)


def _bytes(text: str) -> int:
    """Read 16GB, 14.7 GiB or a number of bytes; units are powers of 1024."""
    from personatune.errors import UserError

    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?(b?)\s*", text.lower())
    if not match or (match[2] and not match[3] and "i" in text.lower()):
        raise UserError(f"--memory {text}: expected a size, as in 16GB or 900MB")
    size = int(float(match[1]) * _UNITS[f"{match[2]}b" if match[2] else ""])
    if size <= 0:
        raise UserError(f"--memory {text}: expected a size above 0")
    return size


def _as_json(found: Estimate, advice: str | None) -> dict[str, Any]:
    return {
        "model": found.architecture.name,
        "parameters": found.architecture.parameters,
        "config": found.config_source,
        "place": found.place.kind,
        "processes": found.place.processes,
        "memory": found.place.memory,
        "lengths": vars(found.lengths),
        "fits": found.fits,
        "advice": advice,
        "stages": {
            stage.stage: {
                "peak": round(stage.bytes),
                "moment": stage.peak.name,
                "moments": {moment.name: round(moment.bytes) for moment in stage.moments},
                **{kind: round(stage.peak.of(kind)) for kind in _KINDS},
            }
            for stage in found.stages
        },
    }


def _print(found: Estimate, advice: str | None, *, explain: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    model, place, lengths = found.architecture, found.place, found.lengths
    where = "CPU" if place.kind == "cpu" else "GPU"
    each = f"each of {place.processes} processes" if place.processes > 1 else "the process"
    room = "memory unknown" if place.memory is None else f"{_gib(place.memory)} GiB to be had"
    console.print(
        f"{model.name}: {model.parameters:,} parameters in {model.layers} layers, from {found.config_source}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"{where}, {each}: {room}. GiB:", highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for stage in found.stages:
        style = "red" if place.memory is not None and stage.bytes > place.memory else None
        table.add_column(stage.stage, justify="right", style=style)
    for kind in _KINDS:
        table.add_row(kind, *(_gib(stage.peak.of(kind)) for stage in found.stages))
    table.add_row("peak", *(_gib(stage.bytes) for stage in found.stages), style="bold")
    console.print(table)
    console.print(
        f"Longest texts, {lengths.source}: dialogue {lengths.dialogue}, prompt {lengths.prompt}, reply "
        f"{lengths.reply} tokens.",
        highlight=False,
    )
    if place.kind == "gpu":
        console.print("GPU figures follow from the formulas; they were not measured on a GPU (docs/costs.md).")
    if explain:
        _explain(console, found)
    console.print(advice if advice else "Fits." if place.memory is not None else "", soft_wrap=True, highlight=False)


def _explain(console: Any, found: Estimate) -> None:
    for stage in found.stages:
        console.print(f"\n{stage.stage}, {stage.peak.name}:", highlight=False)
        for term in sorted(stage.peak.terms, key=lambda term: -term.bytes):
            console.print(f"  {term.bytes / 2**20:10,.1f} MiB  {term.kind:<12} {term.why}", highlight=False)


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f}"
