"""``engagement``: the weights of the engagement score, fitted on people's ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Engagement: what people reward in a conversation.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``fit`` a subcommand: typer makes a lone command the whole program."""


@app.command()
def fit(
    json_out: Annotated[Path | None, typer.Option("--json", help="Where the weights and all figures go.")] = None,
    seed: Annotated[int, typer.Option(help="Of the splits by participant and the bootstrap.")] = 0,
) -> None:
    """Fit the weights on the ratings of chitchat-dataset and say how far people agree with the score."""
    from personatune.evaluation.engagement_fit import SCALES, fit_on_chitchat
    from personatune.storage import write_json

    report = fit_on_chitchat(seed)
    data = report["data"]
    typer.echo(
        f"{data['conversations']} rated conversations of {data['participants']} people: {data['worked_on']} to fit on, "
        f"{data['kept_aside']} kept aside, {data['between_the_two_left_out']} between the two left out"
    )
    for reason, count in data["skipped"].items():
        typer.echo(f"  skipped: {count} ({reason})")
    typer.echo("weights, and Spearman's rho of each feature alone:")
    for name, weight in report["weights"].items():
        note = "  not rewarded" if name in report["not_rewarded"] else ""
        typer.echo(f"  {name:<16}{weight:.4f}  {_interval(report['spearman']['each_feature_alone'][name])}{note}")
    for where, title in (("cross_validated", "cross-validated by participant"), ("kept_aside", "kept aside")):
        typer.echo(f"Spearman's rho with the ratings, {title} (95 % over conversations; people):")
        typer.echo(f"  {'':<13}{'fitted':<42}{'equal weights':<42}difference")
        rows = report["spearman"][where]
        for scale in SCALES:
            cells = (_interval(rows[score][scale]) for score in ("fitted", "equal", "fitted_minus_equal"))
            typer.echo(f"  {scale:<13}" + "".join(f"{cell:<42}" for cell in cells).rstrip())
    if json_out:
        write_json(json_out, report)
        typer.echo(f"written: {json_out}")


def _interval(figure: dict[str, Any]) -> str:
    text = f"{figure['value']:+.3f} ({figure['low']:+.2f} to {figure['high']:+.2f}"
    if "low_people" in figure:
        text += f"; {figure['low_people']:+.2f} to {figure['high_people']:+.2f}"
    return text + ")"
