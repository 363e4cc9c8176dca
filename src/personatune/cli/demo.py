"""``demo``: chat, compare and vote in a browser."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from personatune.cli.options import RUNS, Runs, set_up_libraries
from personatune.errors import UserError

app = typer.Typer()


@app.command()
def demo(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="flagship (the shipped model; +plain without recall), base; sft, ppo or dpo of --run; RUN/sft; "
            "a folder or a hub id; +recall, +critic or +best-of-8 behind it. May be given several times. Without it: "
            "flagship and base, or all of --run.",
        ),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="The run that sft, ppo and dpo belong to.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    share: Annotated[bool, typer.Option("--share", help="Ask gradio for a public address.")] = False,
    password: Annotated[
        str | None,
        typer.Option(
            envvar="PERSONATUNE_DEMO_PASSWORD",
            help="Asked of visitors; made up and printed where others than this machine reach the page.",
        ),
    ] = None,
    votes: Annotated[
        Path | None, typer.Option(help="The file that votes are added to; by default votes.jsonl under --runs.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="The base of an adapter folder, or what 'base' means.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 always gives the likeliest reply.")] = 0.7,
    runs: Runs = RUNS,
) -> None:
    """Chat in a browser, see what each reply does to its persona, and vote between models, blind."""
    from personatune.demo.server import VISITOR, choose_password, require_free_port, serve, warm_up

    if find_spec("gradio") is None:
        raise UserError("the demo needs gradio: pip install 'personatune[demo]'")
    require_free_port(host, port)
    key = choose_password(host, share, password)
    set_up_libraries()
    from personatune.demo.ballots import Ballots
    from personatune.demo.page import Page
    from personatune.demo.reading import Reader
    from personatune.demo.shelf import OneAtATime, Shelf, load_bots
    from personatune.evaluation.judged import JudgedEvaluator
    from personatune.model.generation import Sampling
    from personatune.pipeline.judging import find_judges
    from personatune.pipeline.reply_strategies import CONTRADICTION_FROM, CriticPick

    sampling = Sampling(max_new_tokens=80, temperature=temperature, no_repeat_ngram=4)
    bots = load_bots(models or _of_run(run, runs), run=run, runs=runs, base=base, sampling=sampling, say=typer.echo)
    found = find_judges(encoder=None)
    judge = OneAtATime(found.judge) if found.judge is not None else None
    threshold = found.threshold
    pick = CriticPick(judge, CONTRADICTION_FROM if threshold is None else threshold) if judge is not None else None
    if judge is None:
        typer.echo(f"{found.why_no_judge}: replies are marked by keywords alone, and not re-ranked")
    shelf = Shelf(bots, pick)
    reader = Reader(JudgedEvaluator(judge, threshold=threshold) if judge is not None else None)
    warm_up(shelf, reader)
    ballots = Ballots(votes or runs / "votes.jsonl")
    blocks = serve(Page(shelf, ballots, reader), host, port, share=share, password=key)
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"votes are added to {ballots.file}; {', '.join(shelf.names)} at http://{shown}:{port} (Ctrl-C ends it)")
    if key is not None:
        typer.echo(f"visitors sign in as {VISITOR} with {'the password you gave' if password else key}")
    blocks.block_thread()


def _of_run(run: str | None, runs: Path) -> list[str]:
    """Return whom to talk to where nobody was named."""
    from personatune.pipeline.flagship import FLAGSHIP
    from personatune.pipeline.models import trained_models
    from personatune.pipeline.run import Run

    if run is None:
        return [FLAGSHIP, "base"]
    names = trained_models(Run.open(runs, run))
    stages = [name for name in ("ppo", "sft") if name in names]
    return [*stages, *(name for name in names if name not in (*stages, "base")), "base"]
