"""``judge``: train the critic, or ask any entailment judge about labelled pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personatune.cli.options import set_up_libraries, told_interrupts

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(help="The entailment judge of persona sentences: train it, ask it, check it.", no_args_is_help=True)


@app.command()
def train(
    nli: Annotated[
        Path, typer.Option(help="Pairs of general entailment to learn from: SNLI as premise⇥hypothesis⇥label.")
    ],
    dialogues: Annotated[list[str], typer.Option(help="A source of persona dialogues; give several by repeating.")],
    nli_test: Annotated[Path | None, typer.Option(help="Pairs of general entailment to report on.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the critic and its report.")] = Path("runs/critic"),
    generated: Annotated[
        int, typer.Option(min=0, help="Persona pairs to make from the dialogues; each is seen once.")
    ] = 6_000,
    probes: Annotated[
        int | None, typer.Option(min=0, help="Pairs of PersonaProbes' train split to take, seen once; default: all.")
    ] = None,
    start: Annotated[str, typer.Option(help="Folder of a critic to go on from with these pairs.")] = "",
    start_share: Annotated[
        float,
        typer.Option(min=0, max=1, help="Of the start's weights, in the mean with the trained ones."),
    ] = 0.0,
    learning_rate: Annotated[float, typer.Option(help="Of the trained layers, at its highest.")] = 3e-4,
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the pairs that people and we wrote.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Of the pairs, the weights of the new head and the order.")] = 0,
) -> None:
    """Train the critic on entailment and persona pairs. Resumes where it stopped."""
    from rich.console import Console

    set_up_libraries(long_work=True)
    from personatune.pipeline.critic import gather, train_critic
    from personatune.terminal_progress import RichProgress
    from personatune.training.critic import CriticSettings

    data = gather(nli, nli_test, dialogues, generated, seed, probes)
    with told_interrupts():
        report = train_critic(
            data,
            CriticSettings(learning_rate=learning_rate, epochs=epochs, seed=seed, start=start, start_share=start_share),
            out,
            RichProgress(),
        )
    console = Console()
    for name, result in report["tests"].items():
        _print(console, name, result)
    console.print(f"{report['pairs_per_second']:.0f} pairs a second; critic, report.json and errors.tsv are in {out}")


@app.command()
def pairs(
    file: Annotated[Path, typer.Argument(help="Lines premise⇥hypothesis⇥label.")],
    judge: Annotated[
        str, typer.Option(help="critic, a folder of `judge train`, or an NLI model's folder or hub id.")
    ] = "critic",
    json: Annotated[Path | None, typer.Option(help="Where to write accuracy, confusion and n.")] = None,
    errors: Annotated[Path | None, typer.Option(help="Where to write the pairs it gets wrong.")] = None,
) -> None:
    """Score labelled pairs: accuracy with interval, confusion, calibration."""
    from rich.console import Console

    from personatune.data.pair_files import read_pairs
    from personatune.storage import write_json, write_jsonl

    read = read_pairs(file)
    set_up_libraries(long_work=True)
    from personatune.evaluation.judge_accuracy import judge_accuracy
    from personatune.judging.critic import load_judge

    asked = load_judge(judge)
    outcome = judge_accuracy(asked, read.pairs)
    result = {**outcome.to_json(), "judge": asked.name, "file": file.name, "skipped": dict(read.skipped)}
    console = Console()
    _print(console, f"{file.name}, judged by {asked.name}", result)
    for reason, count in read.skipped.items():
        console.print(f"{count} lines left out: {reason}")
    if json is not None:
        write_json(json, result)
    if errors is not None:
        write_jsonl(
            errors,
            (
                {"premise": pair.premise, "hypothesis": pair.hypothesis, "label": pair.label, "judged": label, "p": p}
                for pair, label, p in outcome.errors()
            ),
        )


def _print(console: Console, title: str, result: dict[str, Any]) -> None:
    from rich.table import Table

    low, high = result["accuracy_low"], result["accuracy_high"]
    console.print(
        f"\n{title}: accuracy {100 * result['accuracy']:.1f} % ({100 * low:.1f} to {100 * high:.1f}), "
        f"n = {result['n']}, "
        f"calibration error {result['calibration']['expected_calibration_error']:.3f}",
        highlight=False,
        markup=False,
    )
    table = Table("is \\ judged", *result["labels"])
    for label, row in zip(result["labels"], result["confusion"], strict=True):
        table.add_row(label, *map(str, row))
    console.print(table)
