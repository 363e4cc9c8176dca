"""``data``: look at dialogues before training on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personatune.cli.options import set_up_libraries

app = typer.Typer(help="Look at dialogues before training on them.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``inspect`` a subcommand: typer makes a lone command the whole program."""


@app.command("inspect")
def inspect_data(
    source: Annotated[str, typer.Argument(help="A source's name (chitchat), a file, a folder, or a hub id.")],
    fraction: Annotated[float, typer.Option(min=0.0001, max=1, help="Share of the dialogues to read.")] = 1.0,
    examples: Annotated[int, typer.Option(min=0, help="Dialogues shown token by token.")] = 1,
    model: Annotated[str, typer.Option(help="Whose tokenizer shows the loss mask.")] = "embedded",
    plots: Annotated[Path, typer.Option(help="Folder for the plots.")] = Path("runs/inspect"),
    seed: int = 0,
) -> None:
    """Print statistics and examples of a source with the loss mask token by token, and draw plots."""
    set_up_libraries()
    from personatune.pipeline.inspect import inspect_source

    inspect_source(source, fraction=fraction, examples=examples, model=model, plots=plots, seed=seed)


@app.command("ranking")
def make_ranking(
    source: Annotated[str, typer.Argument(help="Persona dialogues; their test or validation rows where marked.")],
    out: Annotated[Path, typer.Option(help="The file to write, one dialogue-NLI record a line.")],
    count: Annotated[int, typer.Option(min=1, help="Records, at most.")] = 200,
    seed: Annotated[int, typer.Option(help="Draws dialogues and candidates.")] = 0,
) -> None:
    """Make records for ``rank`` and ``evaluate --on rank=FILE``: people's lines by what they say of a persona."""
    from collections import Counter

    from personatune.data.ranking_records import make_ranking_records, record_json
    from personatune.errors import UserError
    from personatune.pipeline.dialogue_benchmark import read_dialogues
    from personatune.storage import write_jsonl

    name, part, perspectives = read_dialogues(source)
    records = make_ranking_records(perspectives, count, seed)
    if not records:
        raise UserError(
            f"{source}: none of {len(perspectives)} speakers states a trait that others contradict; give more dialogues"
        )
    write_jsonl(out, map(record_json, records))
    kinds = Counter(kind for record in records for kind in record.kinds)
    typer.echo(f"{out}: {len(records)} records of {count} wanted, out of {len(perspectives)} speakers ({name}, {part})")
    typer.echo(
        f"candidates: {kinds['gold']} own replies, {kinds['neg']} contradict the persona, {kinds['similar']} state the "
        f"same, {kinds['rand']} say something else"
    )
