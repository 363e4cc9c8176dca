"""``rank``: which of many replies does a model find best?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from personatune.cli.options import RUNS, Runs, set_up_libraries, told_interrupts

app = typer.Typer()

_MODEL_HELP = (
    "tfidf, copier, generic, human; base; sft or ppo with --run; RUN/sft; an adapter's or a model's folder; a hub id. "
    "May be given several times."
)


@app.command()
def rank(
    files: Annotated[list[Path], typer.Argument(help="Dialogue-NLI records (JSON) or ConvAI2 candidates (ParlAI).")],
    models: Annotated[list[str], typer.Option("--model", help=_MODEL_HELP)],
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Where the figures go; aside it, unfinished ones.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="The run that base, sft and ppo belong to.")] = None,
    base: Annotated[
        str | None, typer.Option(help="The base model: of an adapter folder, or what 'base' means.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap intervals.")] = 0,
    runs: Runs = RUNS,
) -> None:
    """Rank candidates by likelihood: hits1, and how often an entailed, random or contradicting reply comes first."""
    from rich.console import Console

    from personatune.data.ranking_files import read_ranking_file

    read = [read_ranking_file(file) for file in files]
    set_up_libraries(long_work=True)
    from personatune.pipeline.contenders import load_contender
    from personatune.pipeline.ranking import forget_scores, rank_files
    from personatune.storage import write_json
    from personatune.terminal_progress import RichProgress

    aside = json_out.with_name(f"{json_out.name}.unfinished") if json_out else runs / "rank" / "unfinished"
    loaders = [partial(load_contender, model, run=run, runs=runs, base=base) for model in models]
    with told_interrupts():
        results = rank_files(read, loaders, aside, progress=RichProgress(), seed=seed)
    if json_out is not None:
        write_json(json_out, results[0] if len(results) == 1 else results)
    forget_scores(read, [result["model"] for result in results], aside)
    _print_table(Console(), results)


def _print_table(console: Any, results: list[dict[str, Any]]) -> None:
    from rich.table import Table

    names = {"hits1": "Hits@1 ↑", "entail1": "Entail@1 ↑", "rand1": "Rand@1 ↓", "contradict1": "Contradict@1 ↓"}
    for file in dict.fromkeys(result["file"] for result in results):
        rows = [result for result in results if result["file"] == file]
        console.print(f"{file}: {rows[0]['n']} records, percent with 95 % interval", soft_wrap=True, highlight=False)
        table = Table()
        table.add_column("model")
        shown = [name for name in names if name in rows[0]]
        for name in shown:
            table.add_column(names[name], justify="right")
        for row in rows:
            cells = [
                f"{row[name]:.1f} [{row['intervals'][name]['low']:.1f}, {row['intervals'][name]['high']:.1f}]"
                for name in shown
            ]
            table.add_row(row["model"], *cells)
        console.print(table)
        for kind, count in rows[0]["records_without"].items():
            console.print(f"{count} of {rows[0]['n']} records have no candidate of class '{kind}'")
