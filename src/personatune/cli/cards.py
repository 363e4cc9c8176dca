"""``cards``: look at character cards, convert them, make new ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from personatune.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from personatune.cards.character import CardCharacter
    from personatune.cards.files import CardFile
    from personatune.cards.schema import CharacterCard, Version

app = typer.Typer(help="Character cards (V1, V2, V3; .json, .png, .charx): look at them, convert them, make them.")

_SHOWN = 3  # examples of what was left out, for each reason
_SHORT = 100  # characters of a text that is only hinted at


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A card: .json, .png or .charx.")],
    user: Annotated[str, typer.Option(help="What the card calls you.")] = "User",
    everything: Annotated[bool, typer.Option("--all", help="Every piece that was left out, whole.")] = False,
    line: Annotated[
        bool, typer.Option("--line", help="Only the persona sentences, as --persona takes them: to be edited.")
    ] = False,
) -> None:
    """Show what a card holds, the persona sentences made of it, and what was left out."""
    from rich.console import Console

    from personatune.cards.character import CardCharacter
    from personatune.cards.files import read_card

    source = read_card(file)
    character = CardCharacter(source.card, user)
    if line:
        typer.echo(" | ".join(sentence.replace("|", "/") for sentence in character.persona.traits))
        return
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    _show_card(source, character, console)
    _show_persona(character, everything, console)
    _show_rest(character, console)


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="The card to read; with --persona and nothing after it, to write.")],
    out: Annotated[Path | None, typer.Argument(help="The card to write: .json, .png or .charx.")] = None,
    to: Annotated[
        Literal["v1", "v2", "v3"] | None,
        typer.Option(help="Its version; without it the one it has, V3 for .charx and new cards."),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="A PNG to put it in; without it the card's own.")] = None,
    persona: Annotated[
        str | None, typer.Option(help='Sentences, "I have a dog. | I cook.": a new card, or a new description.')
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the new card's character.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Convert a card between versions and containers, or make one from persona sentences."""
    from personatune.cards import files

    if out is None and persona is None:
        raise UserError("cards convert: nothing to write; give FILE and OUT, or --persona and OUT")
    target = out or file
    if target.exists() and not force:
        raise UserError(f"{target}: is there already; choose another name, or give --force to write over it")
    if out is None:
        card = _new_card(persona or "", name, to or "v3")
        version, told = card.version, files.write_card(target, card, image=image)
    else:
        source = files.read_card(file)
        if persona is not None or name is not None:
            source = _described_anew(source, persona, name)
        version, told = files.convert(source, target, to, image)
    for remark in told:
        typer.echo(remark, err=True)
    typer.echo(f"{target}: {version.upper()}")


def _new_card(persona: str, name: str | None, version: Version) -> CharacterCard:
    from personatune.cards.versions import new_card
    from personatune.chat.session import parse_persona

    traits = parse_persona(persona).traits
    introduced = (trait.removeprefix("My name is ").strip(" .!") for trait in traits if trait.startswith("My name is "))
    chosen = name or next(introduced, None)
    if chosen is None:
        raise UserError('--persona: nobody is named; give --name, or a sentence as in "My name is Mara."')
    return new_card(chosen, traits, version)


def _described_anew(source: CardFile, persona: str | None, name: str | None) -> CardFile:
    """Return the card with other persona sentences for its description and personality, or another name."""
    import dataclasses

    from personatune.cards.versions import with_fields
    from personatune.chat.session import parse_persona

    changed: dict[str, str] = {} if name is None else {"name": name}
    if persona is not None:
        changed |= {"description": "\n".join(parse_persona(persona).traits), "personality": ""}
    return dataclasses.replace(source, card=with_fields(source.card, changed))


def _show_card(source: CardFile, character: CardCharacter, console: Console) -> None:
    from personatune.cards.sentences import card_text
    from personatune.cards.versions import unknown_fields

    data = source.card.data
    console.print(f"{source.path}: {source.card.version.upper()} card in {source.container}")
    kept = [*unknown_fields(source.card), *(f"extensions.{name}" for name in data.extensions)]
    for label, text in (
        ("name", character.name),
        ("by", data.creator),
        ("version", data.character_version),
        ("tags", ", ".join(data.tags)),
        ("creator's notes", data.creator_notes),
        ("kept, not used", ", ".join(kept)),
        ("other files", ", ".join(source.assets)),
    ):
        if shown := _one_line(card_text(text)):
            console.print(f"  {label}: {_shortened(shown)}")
    for note in source.card.notes:
        console.print(f"  note: {_one_line(card_text(note))}")


def _show_persona(character: CardCharacter, everything: bool, console: Console) -> None:
    console.print(f"\npersona, {len(character.persona.traits)} sentences")
    for trait in character.persona.traits:
        console.print(f"  · {trait}")
    counts = character.told.counts()
    console.print(f"\nleft out, {counts.total()} pieces")
    for reason, count in counts.most_common():
        console.print(f"  {count} × {reason}")
        pieces = [piece.text for piece in character.told.left_out if piece.reason == reason]
        for text in pieces if everything else pieces[:_SHOWN]:
            console.print(f"      {text if everything else _shortened(text)}", style="dim")


def _show_rest(character: CardCharacter, console: Console) -> None:
    from personatune.cards.macros import Macros
    from personatune.cards.sentences import card_text
    from personatune.model.prompts import persona_instruction

    data = character.card.data
    for number, greeting in enumerate(character.greetings, start=1):
        console.print(f"\ngreeting {number}: {_shortened(_one_line(greeting))}")
    turns = sum(map(len, character.example_dialogues))
    console.print(f"\nexample dialogues: {len(character.example_dialogues)} of {turns} turns together")
    entries = data.character_book.entries if data.character_book is not None else []
    console.print(f"lorebook: {len(entries)} entries")
    for entry in entries:
        off = "" if entry.enabled else " (off)"
        off += " (regular expressions aren't run: never fires)" if entry.use_regex else ""
        keys = "always" if entry.constant else ", ".join(entry.keys)
        shown = _shortened(_one_line(card_text(f"{keys}: {entry.content}")))
        console.print(f"  {shown}{off}")
    if data.system_prompt.strip():
        original = persona_instruction(character.persona)
        text = Macros(character.name, character.user, original).expand(data.system_prompt)
        console.print(f"system prompt, not used here: {_shortened(_one_line(card_text(text)))}")
    if data.post_history_instructions.strip():
        console.print("instructions after the dialogue: not used here")
    if data.scenario.strip():
        scenario = _one_line(card_text(character.macros.expand(data.scenario)))
        console.print(f"scenario, not part of the persona: {_shortened(scenario)}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _shortened(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"
