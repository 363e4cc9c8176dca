"""The figures of a run's report: learning curves, reward against KL, consistency per turn, and what it all cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personatune.report.drawing import COLOURS, Plot, curve, legend
from personatune.report.evidence import Curves, read_curves
from personatune.report.figures import MODELS, duration_text, money_text, turns_of

_MODEL_COLOURS = {"base": "#8a8f98", "sft": COLOURS[0], "ppo": COLOURS[1]}
_BUILT_BY: Mapping[str, Sequence[str]] = {"base": (), "sft": ("sft",), "ppo": ("sft", "preferences", "reward", "ppo")}
"""The stages without which a model would not be there."""


def draw_plots(run_dir: Path, report: Mapping[str, Any]) -> list[Plot]:
    """Return every figure of the report, in the order of the run."""
    ppo = read_curves(run_dir / "ppo/metrics.csv")
    turns = {model: found for model in MODELS if (found := turns_of(report["models"].get(model, {})))}
    return [
        _lines("Supervised fine-tuning", "step", "nats a token", run_dir / "sft", ("train_loss", "held_out_loss")),
        _lines("Reward model", "step", "loss, share ranked right", run_dir / "reward", ("loss", "batch_accuracy")),
        _reward_and_judge(ppo),
        _reward_against_kl(ppo),
        *(
            _lines(f"DPO: {name}", "step", "loss, share", run_dir / name, ("loss", "held_out_likelihood_accuracy"))
            for name in report["dpo"]
        ),
        _consistency_per_turn(turns),
        _consistency_for_its_cost(report),
        _time_per_stage(report["costs"]),
    ]


def _lines(title: str, across: str, up: str, folder: Path, names: Sequence[str]) -> Plot:
    """Draw some curves of one stage over its steps."""
    curves = read_curves(folder / "metrics.csv")
    shown = [name for name in names if curves.get(name)]
    if not shown:
        return Plot(title, None, f"not measured: {folder.name}/metrics.csv holds no {' or '.join(names)}")

    def draw(axes: Any) -> None:
        for name, colour in zip(shown, COLOURS, strict=False):
            steps, values = zip(*curves[name], strict=True)
            curve(axes, steps, values, name.replace("_", " "), colour)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        legend(axes)

    return Plot(title, draw, "; ".join(_ends(curves, name) for name in shown))


def _ends(curves: Curves, name: str) -> str:
    return f"{name.replace('_', ' ')} from {curves[name][0][1]:.3g} to {curves[name][-1][1]:.3g}"


def _reward_and_judge(curves: Curves) -> Plot:
    """Draw what PPO climbs and what an independent judge says of it: the two part where the reward is being hacked."""
    title = "PPO: learned reward and independent judge"
    shown = [name for name in ("score", "judge") if curves.get(name)]
    if not shown:
        return Plot(title, None, "not measured: ppo/metrics.csv holds no score or judge")

    def draw(axes: Any) -> None:
        axes.set_xlabel("update")
        if "score" in shown:
            updates, scores = zip(*curves["score"], strict=True)
            curve(axes, updates, scores, "score (left)", COLOURS[0])
            axes.set_ylabel("score of the reward model")
        if "judge" in shown:
            right = axes.twinx()
            right.spines[["top"]].set_visible(False)
            updates, shares = zip(*curves["judge"], strict=True)
            curve(right, updates, [share * 100 for share in shares], "judge (right)", COLOURS[1])
            right.set_ylim(0, 100)
            right.set_ylabel("consistent answers, %")
            legend(axes, right)
        else:
            legend(axes)

    return Plot(title, draw, "; ".join(_ends(curves, name) for name in shown))


def _reward_against_kl(curves: Curves) -> Plot:
    title = "Reward against KL"
    kl, reward = dict(curves.get("kl", [])), dict(curves.get("score", []))
    steps = sorted(kl.keys() & reward.keys())
    if not steps:
        return Plot(title, None, "not measured: ppo/metrics.csv holds no kl and score of one update")

    def draw(axes: Any) -> None:
        across, up = [kl[step] for step in steps], [reward[step] for step in steps]
        axes.plot(across, up, color=COLOURS[1], marker="o", markersize=3, linewidth=0.8)
        for index in sorted({0, len(steps) - 1}):
            place = (across[index], up[index])
            axes.annotate(f"update {steps[index]:.0f}", place, xytext=(4, 4), textcoords="offset points", fontsize=8)
        axes.margins(x=0.15, y=0.12)  # room for the words
        axes.set_xlabel("KL to the reference (nats a reply)")
        axes.set_ylabel("score of the reward model")

    first, last = steps[0], steps[-1]
    text = f"reward from {reward[first]:.3g} to {reward[last]:.3g} while KL went from {kl[first]:.3g} to {kl[last]:.3g}"
    return Plot(title, draw, text)


def _consistency_per_turn(models: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> Plot:
    title = "Consistency per turn"
    if not models:
        return Plot(title, None, "not measured: no evaluation holds multi_turn_consistency")

    def draw(axes: Any) -> None:
        for model, turns in models.items():
            values = [figure["value"] * 100 for figure in turns.values()]
            colour = _MODEL_COLOURS[model]
            axes.plot(list(turns), values, label=MODELS[model], color=colour, marker="o", markersize=3)
            if all(figure.get("low") is not None and figure.get("high") is not None for figure in turns.values()):
                lows = [figure["low"] * 100 for figure in turns.values()]
                highs = [figure["high"] * 100 for figure in turns.values()]
                axes.fill_between(list(turns), lows, highs, color=colour, alpha=0.15, linewidth=0)
        axes.set_ylim(0, 100)
        axes.set_xlabel("turn")
        axes.set_ylabel("consistent answers, %")
        axes.xaxis.get_major_locator().set_params(integer=True)
        legend(axes)

    text = "; ".join(
        f"{MODELS[model]} from {next(iter(turns.values()))['value']:.0%} to {list(turns.values())[-1]['value']:.0%}"
        for model, turns in models.items()
    )
    return Plot(title, draw, f"{text}; bands: 95 % intervals")


def _consistency_for_its_cost(report: Mapping[str, Any]) -> Plot:
    """Draw each model's consistency over what all the stages that made it took, in money or else in minutes."""
    title = "Consistency for its cost"
    costs = report["costs"]
    points: dict[str, tuple[Mapping[str, Any], float, float | None]] = {}
    priced = bool(costs) and all(cost["money"] is not None for cost in costs.values())
    for model, stages in _BUILT_BY.items():
        figure = report["models"].get(model, {}).get("probe_consistency")
        if figure and figure.get("value") is not None and all(stage in costs for stage in stages):
            seconds = sum(costs[stage]["wall_seconds"] for stage in stages)
            money = sum(costs[stage]["money"] for stage in stages) if priced else None
            points[model] = (figure, seconds, money)
    if len(points) < 2:
        return Plot(title, None, "not measured: fewer than two models have a consistency and the costs of their stages")
    currency = next((cost["currency"] for cost in costs.values() if cost.get("currency")), "")

    def draw(axes: Any) -> None:
        for model, (figure, seconds, money) in points.items():
            across, up = seconds / 60 if money is None else money, figure["value"] * 100
            if figure.get("low") is not None and figure.get("high") is not None:
                reach = [[max(0.0, up - figure["low"] * 100)], [max(0.0, figure["high"] * 100 - up)]]
                axes.errorbar([across], [up], yerr=reach, color=_MODEL_COLOURS[model], capsize=3, linewidth=1)
            axes.plot([across], [up], "o", color=_MODEL_COLOURS[model], markersize=6)
            axes.annotate(MODELS[model], (across, up), xytext=(7, 4), textcoords="offset points", fontsize=8)
        axes.set_ylim(0, 100)
        axes.margins(x=0.25)
        axes.set_xlabel(f"cost of the stages that made it ({currency})" if priced else "minutes of its stages")
        axes.set_ylabel("consistent answers, %")

    text = "; ".join(
        f"{MODELS[model]} {figure['value']:.0%} for {duration_text(seconds)}"
        + ("" if money is None else f" ({money_text(money, currency)})")
        for model, (figure, seconds, money) in points.items()
    )
    return Plot(title, draw, f"{text}; preparing data and judging not counted")


def _time_per_stage(costs: Mapping[str, Mapping[str, Any]]) -> Plot:
    title = "Time per stage"
    seconds = {stage: cost["wall_seconds"] for stage, cost in costs.items() if stage != "total"}
    if not seconds:
        return Plot(title, None, "not measured: the run has no ledger costs.jsonl")

    def draw(axes: Any) -> None:
        names = list(seconds)[::-1]
        bars = axes.barh(names, [seconds[name] for name in names], color=COLOURS[0])
        axes.bar_label(bars, [duration_text(seconds[name]) for name in names], padding=3, fontsize=8)
        axes.grid(visible=False)
        axes.margins(x=0.22)
        axes.set_xlabel("seconds")

    return Plot(title, draw, "; ".join(f"{name} {duration_text(value)}" for name, value in seconds.items()))
