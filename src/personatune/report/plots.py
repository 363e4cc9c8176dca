"""Draws the curves of a run as SVG that sits inside the page: no files, no scripts, colours of the page's own."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personatune.report.evidence import Curves, read_curves
from personatune.report.figures import MODELS, turns_of

_INK = "#123456"  # stands for the page's text colour until the SVG is written
_COLOURS = {"base": "#8a8f98", "sft": "#3b82c4", "ppo": "#d9622b"}  # readable on white and on black
_SIZE = (4.8, 3.0)  # inches: small, so that its letters stay readable on a phone's width


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn figure, or the reason why there is none.

    Attributes:
        svg: the markup, None where it was not measured.
        text: what it shows, for readers who can't see it; or the reason.
    """

    title: str
    svg: str | None
    text: str


def draw_plots(run_dir: Path, report: Mapping[str, Any]) -> list[Plot]:
    """Draw every plot of the report, in the order of the run."""
    sft, ppo = read_curves(run_dir / "sft/metrics.csv"), read_curves(run_dir / "ppo/metrics.csv")
    turns = {model: found for model in MODELS if (found := turns_of(report["models"].get(model, {})))}
    stages = {stage: cost["wall_seconds"] for stage, cost in report["costs"].items() if stage != "total"}
    return [
        _lines("Supervised fine-tuning", "step", "loss (nats a token)", sft, ["train_loss", "held_out_loss"]),
        _reward_against_kl(ppo),
        _lines("Learned reward and independent judge", "update", "score, share", ppo, ["score", "judge"]),
        _consistency_per_turn(turns),
        _costs_per_stage(stages),
    ]


def _lines(title: str, across: str, up: str, curves: Curves, names: Sequence[str]) -> Plot:
    """Draw some curves of one stage over its steps."""
    shown = [name for name in names if curves.get(name)]
    if not shown:
        return Plot(title, None, f"not measured: metrics.csv holds no {' or '.join(names)}")

    def draw(axes: Any) -> None:
        for name, colour in zip(shown, (_COLOURS["sft"], _COLOURS["ppo"]), strict=False):
            steps, values = zip(*curves[name], strict=True)
            marker = "o" if len(steps) < 30 else ""
            axes.plot(steps, values, label=name.replace("_", " "), color=colour, marker=marker, markersize=3)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.legend(frameon=False, labelcolor=_INK)

    ends = (f"{name.replace('_', ' ')} from {curves[name][0][1]:.3g} to {curves[name][-1][1]:.3g}" for name in shown)
    return Plot(title, _svg(title, draw), "; ".join(ends))


def _reward_against_kl(curves: Curves) -> Plot:
    title = "Reward against KL"
    kl, reward = dict(curves.get("kl", [])), dict(curves.get("score", []))
    steps = sorted(kl.keys() & reward.keys())
    if not steps:
        return Plot(title, None, "not measured: ppo/metrics.csv holds no kl and score of one update")

    def draw(axes: Any) -> None:
        across, up = [kl[step] for step in steps], [reward[step] for step in steps]
        axes.plot(across, up, color=_COLOURS["ppo"], marker="o", markersize=3, linewidth=0.8)
        for index in {0, len(steps) - 1}:
            place = (across[index], up[index])
            axes.annotate(f"update {steps[index]:.0f}", place, xytext=(4, 4), textcoords="offset points", fontsize=8)
        axes.set_xlabel("KL to the reference (nats a reply)")
        axes.set_ylabel("score of the reward model")

    first, last = steps[0], steps[-1]
    text = f"reward from {reward[first]:.3g} to {reward[last]:.3g} while KL went from {kl[first]:.3g} to {kl[last]:.3g}"
    return Plot(title, _svg(title, draw), text)


def _consistency_per_turn(models: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> Plot:
    title = "Consistency per turn"
    if not models:
        return Plot(title, None, "not measured: no evaluation holds multi_turn_consistency")

    def draw(axes: Any) -> None:
        for model, turns in models.items():
            values = [figure["value"] * 100 for figure in turns.values()]
            axes.plot(list(turns), values, label=MODELS[model], color=_COLOURS[model], marker="o", markersize=3)
            if all(figure.get("low") is not None and figure.get("high") is not None for figure in turns.values()):
                lows = [figure["low"] * 100 for figure in turns.values()]
                highs = [figure["high"] * 100 for figure in turns.values()]
                axes.fill_between(list(turns), lows, highs, color=_COLOURS[model], alpha=0.15, linewidth=0)
        axes.set_ylim(0, 100)
        axes.set_xlabel("turn")
        axes.set_ylabel("consistent answers, %")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, labelcolor=_INK)

    text = "; ".join(
        f"{MODELS[model]} from {next(iter(turns.values()))['value']:.0%} to {list(turns.values())[-1]['value']:.0%}"
        for model, turns in models.items()
    )
    return Plot(title, _svg(title, draw), text)


def _costs_per_stage(seconds: Mapping[str, float]) -> Plot:
    title = "Time per stage"
    if not seconds:
        return Plot(title, None, "not measured: the run has no ledger costs.jsonl")

    def draw(axes: Any) -> None:
        names = list(seconds)[::-1]
        bars = axes.barh(names, [seconds[name] for name in names], color=_COLOURS["sft"])
        axes.bar_label(bars, fmt="%.0f s", padding=3, color=_INK, fontsize=8)
        axes.margins(x=0.18)
        axes.set_xlabel("seconds")

    return Plot(title, _svg(title, draw), "; ".join(f"{name} {value:.0f} s" for name, value in seconds.items()))


def _svg(title: str, draw: Callable[[Any], None]) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    inks = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    name = re.sub(r"[^a-z]+", "-", title.lower())
    style = {
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        **dict.fromkeys(inks, _INK),
    }
    with rc_context(style):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _inline(stream.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    """Make a stand-alone SVG fit to sit in a page: no header, no metadata, own ids, the page's colour and width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    return svg.replace(_INK, "currentColor").strip()
