"""``serve``: an OpenAI-compatible server for chat front-ends."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from personatune.cli.options import DEFAULT_PERSONA, RUNS, Runs, set_up_libraries
from personatune.errors import UserError

app = typer.Typer()


@app.command()
def serve(
    persona: Annotated[
        list[str] | None,
        typer.Option(help='Sentences, "I have two dogs. | I am a chef.", or a character card\'s file; several times.'),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="flagship (the shipped model; flagship+plain without recall); base, sft, ppo, dpo or another model of "
            "--run; RUN/sft; a folder or a hub id; +recall behind it. Without it: flagship, or ppo with --run."
        ),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="The run that base, sft, ppo and dpo belong to.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine's own needs a key.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="PERSONATUNE_API_KEY", help="Asked of every request; better set in the environment."),
    ] = None,
    system: Annotated[
        Literal["persona", "ignore"],
        typer.Option(help="A request's system message: takes the persona's place, or is ignored."),
    ] = "persona",
    temperature: Annotated[float, typer.Option(min=0, max=2, help="Where a request names none.")] = 0.7,
    max_tokens: Annotated[int, typer.Option(min=1, max=2048, help="The longest reply that may be asked for.")] = 128,
    waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait while one is answered.")] = 16,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds a request may take, waiting included.")] = 120.0,
    per_minute: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Requests a minute from one address, 0 without end; by default 0 on this machine alone, else 120.",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Of a web page that may call from a browser, as http://localhost:5173.")
    ] = None,
    user: Annotated[str, typer.Option(help="What a card calls whom it talks with.")] = "User",
    runs: Runs = RUNS,
) -> None:
    """Serve personas to chat front-ends by OpenAI's API: /v1/chat/completions, /v1/models."""
    from personatune.chat.session import read_persona
    from personatune.pipeline.flagship import FLAGSHIP
    from personatune.serving.limits import Limits
    from personatune.serving.run import address_of, is_loopback, listen, require_key, require_parts
    from personatune.serving.run import run as run_app

    require_parts()
    people = [read_persona(text, user) for text in persona or [" | ".join(DEFAULT_PERSONA)]]
    listening = listen(host, port)
    with listening:
        require_key(listening, host, api_key)
        set_up_libraries()
        from personatune.model.generation import Sampling
        from personatune.model.picking import PickingChatbot
        from personatune.pipeline.contenders import load_contender
        from personatune.serving.app import create_app
        from personatune.serving.cast import Cast
        from personatune.serving.desk import Desk

        own = is_loopback(listening)
        limits = Limits(seconds=timeout, per_minute=(0 if own else 120) if per_minute is None else per_minute)
        cast = Cast(people, heed_system=system == "persona")
        reference = model or (FLAGSHIP if run is None else "ppo")
        sampling = Sampling(max_new_tokens=min(80, max_tokens), temperature=temperature, no_repeat_ngram=4)
        bot = load_contender(reference, run=run, runs=runs, sampling=sampling).chatbot
        if bot is None or isinstance(bot, PickingChatbot):
            why = "nobody to talk to" if bot is None else "replies picked from candidates can't be served yet"
            raise UserError(f"--model {reference}: {why}; give flagship, sft, ppo, a folder or an id")
        desk = Desk(bot, waiting=waiting, reply_tokens=max_tokens)
        # Only a name of this machine itself: a web page can point a name of its own at 127.0.0.1.
        hosts = ["127.0.0.1", "localhost", "::1", host.lower()] if own else None
        served = create_app(desk, cast, limits, api_key=api_key, hosts=hosts, origins=allow_origin or ())
        typer.echo(f"{reference} at {address_of(listening)}/v1 (Ctrl-C stops it)")
        typer.echo(f"models: {', '.join(cast.ids)}")
        run_app(served, listening, limits)
