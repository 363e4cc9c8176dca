"""The curves of several runs over each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from personatune.report.drawing import COLOURS, Plot, curve, legend
from personatune.report.evidence import read_curves
from personatune.report.figures import MODELS, turns_of
from personatune.report.side_by_side import ComparedRun

_CURVES = (
    ("SFT: held-out loss", "step", "nats a token", "sft", "held_out_loss"),
    ("SFT: training loss", "step", "nats a token", "sft", "train_loss"),
    ("Reward model: loss", "step", "loss", "reward", "loss"),
    ("PPO: score of the reward model", "update", "score", "ppo", "score"),
    ("PPO: independent judge", "update", "share consistent", "ppo", "judge"),
    ("PPO: KL to the reference", "update", "nats a reply", "ppo", "kl"),
    ("DPO: loss", "step", "loss", "dpo", "loss"),
)


def comparison_plots(runs: Sequence[ComparedRun]) -> list[Plot]:
    """Return the figures that at least one of the runs has."""
    plots = [_overlay(runs, *curve_of) for curve_of in _CURVES]
    plots += [_consistency(runs, model) for model in MODELS if model != "base"]
    return [plot for plot in plots if plot.draw is not None]


def _overlay(runs: Sequence[ComparedRun], title: str, across: str, up: str, stage: str, name: str) -> Plot:
    found = [(run.label, read_curves(run.directory / stage / "metrics.csv").get(name)) for run in runs]
    lines = [(place, label, points) for place, (label, points) in enumerate(found) if points]

    def draw(axes: Any) -> None:
        for place, label, points in lines:
            steps, values = zip(*points, strict=True)
            curve(axes, steps, values, shown_name(label), COLOURS[place % len(COLOURS)])
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        legend(axes)

    text = "; ".join(f"{label} from {points[0][1]:.3g} to {points[-1][1]:.3g}" for _, label, points in lines)
    return _plot(title, draw, text, any_line=bool(lines))


def _consistency(runs: Sequence[ComparedRun], model: str) -> Plot:
    lines = [
        (place, run.label, turns)
        for place, run in enumerate(runs)
        if (turns := turns_of(run.report["models"].get(model, {})))
    ]

    def draw(axes: Any) -> None:
        for place, label, turns in lines:
            colour = COLOURS[place % len(COLOURS)]
            values = [figure["value"] * 100 for figure in turns.values()]
            axes.plot(list(turns), values, label=shown_name(label), color=colour, marker="o", markersize=3)
            if all(figure.get("low") is not None for figure in turns.values()):
                lows, highs = ([figure[end] * 100 for figure in turns.values()] for end in ("low", "high"))
                axes.fill_between(list(turns), lows, highs, color=colour, alpha=0.12, linewidth=0)
        axes.set_ylim(0, 100)
        axes.set_xlabel("turn")
        axes.set_ylabel("consistent answers, %")
        axes.xaxis.get_major_locator().set_params(integer=True)
        legend(axes)

    ends = [(label, list(turns.values())) for _, label, turns in lines]
    text = "; ".join(f"{label} from {turns[0]['value']:.0%} to {turns[-1]['value']:.0%}" for label, turns in ends)
    return _plot(f"Consistency per turn {MODELS[model]}", draw, text, any_line=bool(lines))


def _plot(title: str, draw: Callable[[Any], None], text: str, *, any_line: bool) -> Plot:
    return Plot(title, draw, text) if any_line else Plot(title, None, "not measured in any of the runs")


def shown_name(label: str) -> str:
    """Return a run's name as a legend shows it: matplotlib hides a label that begins with an underscore."""
    return f" {label}" if label.startswith("_") else label
