"""``export``: take a model out of a run, or the shipped one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from personatune.cli.options import RUNS, RunName, Runs, set_up_libraries

app = typer.Typer()


@app.command()
def export(
    to: Annotated[Path, typer.Option(help="The folder to write.")],
    run: RunName = "demo",
    model: Annotated[
        str,
        typer.Option(
            "--model", "--stage", help="Which of the run's: sft, ppo, dpo or a variant's name; flagship needs no run."
        ),
    ] = "ppo",
    form: Annotated[
        Literal["adapter", "merged", "gguf", "ollama"],
        typer.Option("--format", help="A PEFT adapter, one plain model, one GGUF file, or that with Modelfiles."),
    ] = "adapter",
    strength: Annotated[
        float,
        typer.Option(min=0.1, max=5, help="Of an adapter: how many times it takes the step from SFT to the model."),
    ] = 1.0,
    rank: Annotated[int | None, typer.Option(min=1, help="Of the adapter, at most: the nearest update of it.")] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="An evaluation.json of `personatune evaluate`: its tables go into the card.")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="16 bits a weight, of an adapter or a merged model.")] = False,
    precision: Annotated[
        Literal["f16", "q8_0"] | None, typer.Option(help="Of a GGUF file: 16 bits (the default) or 8.")
    ] = None,
    persona: Annotated[
        list[str] | None,
        typer.Option(help="For ollama: sentences, or a character card's file; several times, a Modelfile for each."),
    ] = None,
    user: Annotated[str, typer.Option(help="What a card calls whom it talks with.")] = "User",
    push_to_hub: Annotated[
        str | None, typer.Option(help="Upload the folder to this repository of the hub: NAME, or OWNER/NAME.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="A new repository is one that all can see.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Write a model and its card, to be loaded by plain PEFT, transformers, llama.cpp or Ollama."""
    from personatune.chat.session import read_persona
    from personatune.pipeline.flagship import FLAGSHIP
    from personatune.pipeline.run import Run

    opened = None if model == FLAGSHIP else Run.open(runs, run)
    people = [read_persona(text, user) for text in persona or ()]
    set_up_libraries()
    from personatune.pipeline.export import export as write

    note = write(
        opened,
        model,
        to,
        form,
        strength=strength,
        rank=rank,
        half=half,
        evaluation=evaluation,
        precision=precision,
        personas=people,
    )
    typer.echo(f"{to}: {note}")
    if push_to_hub is not None:
        from personatune.export.hub import push_folder

        typer.echo(f"uploading {', '.join(sorted(file.name for file in to.iterdir()))}")
        typer.echo(push_folder(to, push_to_hub, private=not public))
