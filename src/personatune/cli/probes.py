"""``probes``: the benchmark of hand-written personas, and questions for personas of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="PersonaProbes: questions that a persona's traits answer.", no_args_is_help=True)


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Persona files; without any the packaged ones.")] = None,
) -> None:
    """Check every rule of the persona files; each finding is one line, exit code 2 if there is any."""
    from personatune.judging.persona_probes.validation import check_files

    personas, findings = check_files(files or None)
    for finding in findings:
        typer.echo(str(finding))
    traits = sum(len(persona.traits) for persona in personas)
    typer.echo(f"{len(personas)} personas with {traits} traits checked: {len(findings) or 'no'} findings")
    if findings:
        raise typer.Exit(2)


@app.command()
def show(
    persona: Annotated[
        str | None, typer.Argument(help="A persona's id; without it the benchmark's statistics.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="train, validation or test; without it all.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the wording of the questions.")] = 0,
) -> None:
    """Show the benchmark's statistics, or the probe dialogue of one persona."""
    from personatune.errors import UserError, did_you_mean
    from personatune.judging.persona_probes.format import load_persona_probes
    from personatune.judging.persona_probes.scripts import make_persona_script
    from personatune.judging.persona_probes.statistics import statistics

    personas = load_persona_probes(split)  # type: ignore[arg-type]  # an unknown split is told there
    if persona is None:
        for name, value in statistics(personas).items():
            typer.echo(f"{name:24}{value}")
        return
    found = [entry for entry in personas if entry.id == persona]
    if not found:
        known = [entry.id for entry in personas]
        raise UserError(f"persona {persona!r}: not among {len(known)} personas{did_you_mean(persona, known)}")
    typer.echo(f"{found[0].name} ({found[0].kind}, {found[0].split})")
    replies = {trait.trait: trait.consistent for trait in found[0].traits}
    for trait in replies:
        typer.echo(f"  - {trait}")
    for line, probe in make_persona_script(found[0], seed=seed).lines:
        typer.echo(f"partner: {line}")
        if probe:
            typer.echo(f"    for example: {replies[probe.trait]}")
            typer.echo(f"    consistent with one of: {', '.join(probe.keywords)}")


@app.command()
def make(
    source: Annotated[str, typer.Argument(help='Dialogues, a text file of sentences, or "I have a dog. | I cook."')],
    out: Annotated[Path | None, typer.Option(help="Where the questions are written, one JSON object a line.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the wording of the questions.")] = 0,
    uncovered: Annotated[int, typer.Option(min=0, help="Sentences without a question that are shown.")] = 5,
) -> None:
    """Derive a question for every persona sentence of a source, and print the share of sentences covered."""
    from personatune.pipeline.probing import derive_probes, read_personas_of
    from personatune.storage import write_jsonl

    made = derive_probes(read_personas_of(source), seed)
    sentences = len(made.probes) + len(made.uncovered)
    if out is not None:
        write_jsonl(out, made.rows())
    elif sentences <= 20:
        for attribute, probe in made.probes:
            typer.echo(f"{attribute}: {probe.trait} -> {probe.question} ({', '.join(probe.keywords)})")
    for sentence in made.uncovered[:uncovered]:
        typer.echo(f"no question: {sentence}")
    common = ", ".join(f"{attribute} {count}" for attribute, count in made.by_attribute().most_common(8))
    typer.echo(f"{len(made.probes)} of {sentences} sentences covered ({made.coverage:.1%}); {common}")
    if out is not None:
        typer.echo(f"written: {out}")
