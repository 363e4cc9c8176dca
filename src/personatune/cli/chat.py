"""``chat``: talk with the shipped model or one of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from personatune.cli.options import DEFAULT_PERSONA, RUNS, Runs, set_up_libraries
from personatune.errors import UserError

app = typer.Typer()


@app.command()
def chat(
    run: Annotated[str | None, typer.Option("--run", help="The run that base, sft, ppo and dpo belong to.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="flagship (the shipped model; flagship+plain without recall); base, sft, ppo, dpo or another model of "
            "--run; RUN/sft; a folder or a hub id; +recall, +critic or +best-of-8 behind it. Without it: flagship, or "
            "ppo where --run is given."
        ),
    ] = None,
    persona: Annotated[
        str | None, typer.Option(help='Sentences, "I have two dogs. | I am a chef.", or a character card\'s file.')
    ] = None,
    user: Annotated[str, typer.Option(help="What a card calls you.")] = "User",
    temperature: Annotated[float, typer.Option(min=0, help="0 always gives the likeliest reply.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    runs: Runs = RUNS,
) -> None:
    """Chat in the terminal: with the shipped model, or with one of a run."""
    from rich.console import Console

    from personatune.chat.session import ChatSession, read_persona
    from personatune.chat.terminal import chat_in_terminal, terminal_reader
    from personatune.dialogue import Persona
    from personatune.pipeline.contenders import load_contender
    from personatune.pipeline.flagship import FLAGSHIP

    chosen = read_persona(persona, user) if persona else Persona(DEFAULT_PERSONA)
    reference = model or (FLAGSHIP if run is None else "ppo")
    set_up_libraries()
    from personatune.model.generation import Sampling

    sampling = Sampling(max_new_tokens=80, temperature=temperature, no_repeat_ngram=4)
    bot = load_contender(reference, run=run, runs=runs, sampling=sampling, seed=seed).chatbot
    if bot is None:
        raise UserError(f"--model {reference}: nobody to talk to; give flagship, sft, ppo, a folder or an id")
    console = Console()
    session = ChatSession(chosen, bot.stream)
    if session.character is not None and (left_out := len(session.character.told.left_out)):
        console.print(
            f"Pieces of the card that became no persona sentence: {left_out} (personatune cards show tells why).",
            style="dim", markup=False, highlight=False,
        )  # fmt: skip
    chat_in_terminal(session, console, terminal_reader(), user)
