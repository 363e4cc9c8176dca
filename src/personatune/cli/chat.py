"""``chat``: talk with a model of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from personatune.cli.options import RUNS, RunName, Runs, set_up_libraries

app = typer.Typer()

_DEFAULT_PERSONA = (
    "I have two dogs named Max and Bella.",
    "I work as a chef in a small Italian restaurant.",
    "I live in Chicago.",
    "My favorite color is green.",
    "I can't stand broccoli.",
)


@app.command()
def chat(
    name: RunName = "demo",
    model: Annotated[
        str, typer.Option(help="base, sft, ppo, dpo, or another the run has; +critic or +best-of-8 behind it.")
    ] = "ppo",
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

    chosen = parse_persona(persona) if persona else Persona(_DEFAULT_PERSONA)
    opened = Run.open(runs, name)
    set_up_libraries()
    from personatune.model.generation import Chatbot, Sampling
    from personatune.pipeline.models import load_model, load_prompts
    from personatune.pipeline.reply_strategies import split_strategy, strategic

    sampling = Sampling(max_new_tokens=80, temperature=temperature, no_repeat_ngram=4)
    plain, strategy = split_strategy(model)
    bot = Chatbot(load_model(opened, plain), load_prompts(opened.config), sampling, seed=seed)
    if strategy is not None:
        bot = strategic(bot, strategy, opened, seed=seed)
    chat_in_terminal(ChatSession(chosen, bot.stream), Console(), terminal_reader())
