"""Shows what a source holds before anything is trained on it: counts, statistics, plots, and the loss mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from personatune.data.grounding import persona_turns
from personatune.data.inspection import plot
from personatune.data.processing import DataProcessor, PreparedData
from personatune.data.sources import DatasetLoader
from personatune.dialogue import Perspective
from personatune.model.prompts import PromptFormat
from personatune.pipeline.models import load_prompts
from personatune.plain_text import one_line, plain_text
from personatune.settings import Config, DataConfig

_HISTOGRAMS = ("traits", "turn_counts", "turn_lengths")


def inspect_source(source: str, *, fraction: float, examples: int, model: str, plots: Path, seed: int) -> None:
    """Print a source's statistics, what cleaning and splitting did, and examples token by token; draw the plots."""
    console = Console()
    loaded = DatasetLoader(source, fraction=fraction, seed=seed).load()
    console.print(Text(one_line(f"{source}: {loaded.description}; licence: {loaded.licence or 'not known'}")))
    settings = DataConfig(source=source, fraction=fraction)
    prepared = DataProcessor(settings, seed).process(loaded)
    console.print(_statistics(prepared))
    console.print(_counts(prepared))
    prompts = load_prompts(Config(data=settings, model={"base": model}))  # type: ignore[arg-type]
    for perspective in prepared.train[:examples]:
        _show(console, perspective, prompts)
    for file in plot(prepared.statistics["train"], plots):
        console.print(Text(f"plot: {file}"))


def _statistics(prepared: PreparedData) -> Table:
    table = Table(title="After cleaning, split by persona")
    table.add_column("")
    parts = ("train", "validation", "test")
    for part in parts:
        table.add_column(part, justify="right")
    for name in prepared.statistics["train"]:
        if name not in _HISTOGRAMS:
            table.add_row(name.replace("_", " "), *(_number(prepared.statistics[part][name]) for part in parts))
    return table


def _counts(prepared: PreparedData) -> Table:
    table = Table(title="Dropped, skipped and mended, by reason")
    table.add_column("reason")
    table.add_column("count", justify="right")
    for reason, count in prepared.counts.items():
        table.add_row(Text(one_line(reason)), str(count))
    return table


def _show(console: Console, perspective: Perspective, prompts: PromptFormat) -> None:
    """Print one dialogue as the model is trained on it: loss tokens green, those of persona turns bold."""
    drawn = persona_turns(perspective)
    encoded = prompts.encode_dialogue(perspective, [2.0 if on else 1.0 for on in drawn])
    text = Text()
    for token, weight in zip(encoded.input_ids, encoded.loss_weights, strict=True):
        style = "bold green" if weight == 2.0 else "green" if weight == 1.0 else "dim"
        piece = plain_text(str(prompts.tokenizer.decode([token]))).replace("\n", "⏎\n")
        text.append(piece, style=style)
        text.append("|", style="dim")
    learnt = sum(1 for weight in encoded.loss_weights if weight)
    told = one_line(f"{perspective.id}: {len(encoded.input_ids)} tokens, loss on {learnt} of them")
    console.print(Text(told, style="bold"))
    console.print(Text("(green: loss falls here; bold: the turn draws on the persona; dim: context)", style="dim"))
    console.print(text)


def _number(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
