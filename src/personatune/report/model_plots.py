"""Draws models side by side and turn by turn, LoRA against full fine-tuning, a reward model's checks, and PPO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personatune.report.drawing import COLOURS, Plot, legend
from personatune.report.evidence import Curves
from personatune.report.figures import METRICS, MODELS, duration_text, turns_of, value_text

Metrics = Mapping[str, Mapping[str, Any]]
"""A metric's name -> value, low, high, n."""

_COLOURS = {"base": "#8a8f98", "sft": COLOURS[0], "ppo": COLOURS[1]}  # as in the run's report
_OTHERS = COLOURS[2:6]  # who is none of a run's three models
_MET, _MISSED = "#2a9d6f", "#c0392b"
_SIDES = {"lora": "LoRA", "full": "full fine-tuning"}
_PPO_PANELS = (
    ("score", "reward"),
    ("kl", "KL, nats a reply"),
    ("judge", "independent judge, share"),
    ("reply_tokens", "tokens of a reply"),
    ("copy_share", "replies that copy, share"),
    ("entropy", "entropy, nats a token"),
)


def models_plot(models: Mapping[str, Metrics], names: Sequence[str]) -> Plot:
    """Draw some figures of models and floors side by side, with their 95 % intervals.

    Args:
        models: who -> metrics, in the order of the rows.
        names: the metrics, one panel each.
    """
    title = "Side by side, with 95 % intervals"
    known = {metric.name: metric for metric in METRICS}
    shown = [name for name in names if any(name in metrics for metrics in models.values())]
    if not shown:
        return Plot(title, None, f"not measured: no model has {' or '.join(names)}")

    def draw(axes: Any) -> None:
        columns = 2 if len(shown) > 1 else 1
        axes.figure.set_size_inches(6.4, -(-len(shown) // columns) * (0.75 + 0.26 * len(models)))
        for place, panel in enumerate(_panels(axes, len(shown), columns)):
            metric = known.get(shown[place])
            scale = 100 if metric is not None and metric.unit == "share" else 1
            for row, (who, metrics) in enumerate(models.items()):
                figure = metrics.get(shown[place])
                if figure is None:
                    continue
                value = scale * figure["value"]
                low, high = (scale * bound for bound in _bounds(figure))
                panel.errorbar(
                    value, row, xerr=[[max(0.0, value - low)], [max(0.0, high - value)]], fmt="o", markersize=4,
                    capsize=2, color=colour_of(who, models),
                )  # fmt: skip
            names_here = [MODELS.get(who, who) for who in models] if place % columns == 0 else []
            panel.set_yticks(range(len(models)), names_here or [""] * len(models))
            panel.set_ylim(len(models) - 0.5, -0.5)
            arrow = {"up": " →", "down": " ←"}.get(metric.better if metric else "", "")
            unit = ", %" if scale == 100 else ""
            panel.set_title(f"{metric.label if metric else shown[place].replace('_', ' ')}{unit}{arrow}", fontsize=8)

    labels = {name: known[name].label if name in known else name.replace("_", " ") for name in shown}
    text = "; ".join(
        f"{labels[name]}: {', '.join(_value(who, metrics[name], known.get(name)) for who, metrics in having)}"
        for name in shown
        if (having := [(who, metrics) for who, metrics in models.items() if name in metrics])
    )
    return Plot(title, draw, text)


def drift_plot(models: Mapping[str, Metrics]) -> Plot:
    """Draw the share of consistent answers turn by turn: whoever drifts falls towards the end."""
    title = "Consistent answers, turn by turn"
    found = {who: turns for who, metrics in models.items() if (turns := turns_of(metrics))}
    if not found:
        return Plot(title, None, "not measured: no model has multi_turn_consistency")

    def draw(axes: Any) -> None:
        axes.figure.set_size_inches(6.4, 3.2)
        for who, turns in found.items():
            colour = colour_of(who, models)
            values = [100 * figure["value"] for figure in turns.values()]
            label = MODELS.get(who, who)
            if who not in MODELS:  # floors and others are a backdrop: no band, a thin line
                axes.plot(list(turns), values, label=label, color=colour, linestyle=":", linewidth=1.2)
                continue
            axes.plot(list(turns), values, label=label, color=colour, marker="o", markersize=3)
            lows, highs = ([100 * _bounds(figure)[end] for figure in turns.values()] for end in (0, 1))
            axes.fill_between(list(turns), lows, highs, color=colour, alpha=0.12, linewidth=0)
        axes.set_ylim(-2, 102)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("turn of the dialogue")
        axes.set_ylabel("consistent answers, %")
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))

    ends = (f"{MODELS.get(who, who)} {_share(min(t), t)}, {_share(max(t), t)}" for who, t in found.items())
    return Plot(title, draw, "; ".join(ends))


def loss_against_time_plot(comparison: Mapping[str, Any]) -> Plot:
    """Draw the held-out losses of LoRA and of full fine-tuning over their training time, and the target of both.

    Args:
        comparison: what ``compare/comparison.json`` holds.
    """
    title = "Held-out loss over training time"
    curves = comparison["curves"]
    target = comparison["target_loss"]

    def draw(axes: Any) -> None:
        for side, colour in (("lora", _COLOURS["sft"]), ("full", _COLOURS["ppo"])):
            seconds, losses = ([point[key] for point in curves[side]] for key in ("seconds", "loss"))
            axes.plot(seconds, losses, label=_SIDES[side], color=colour, marker="o", markersize=3)
        axes.axhline(target, color=_COLOURS["base"], linestyle="--", linewidth=0.8, label="target")
        axes.set_xlabel("seconds of training, evaluations not counted")
        axes.set_ylabel("held-out loss, nats a token")
        legend(axes)

    sides = (
        f"{_SIDES[side]} {'reached' if comparison[side]['reached'] else 'did not reach'} it after "
        f"{duration_text(comparison[side]['wall_seconds'])}"
        for side in _SIDES
    )
    return Plot(title, draw, f"target {target:.3f}: {'; '.join(sides)}")


def savings_plot(comparison: Mapping[str, Any], goals: Mapping[str, float]) -> Plot:
    """Draw what LoRA saved of time, cost and memory against full fine-tuning, beside the goals.

    Args:
        comparison: what ``compare/comparison.json`` holds.
        goals: target shares by the names of the savings (``time_saved``, ``cost_saved``).
    """
    title = "Saved against full fine-tuning"
    saved = {name: value for name, value in comparison["savings"].items() if value is not None}
    unknown = [name.removesuffix("_saved") for name, value in comparison["savings"].items() if value is None]
    why = f"{', '.join(unknown)}: not measured: {comparison.get('why')}" if unknown else ""
    if not saved:
        return Plot(title, None, why)

    def draw(axes: Any) -> None:
        axes.figure.set_size_inches(4.8, 2.2)
        axes.grid(visible=False)
        names = list(saved)[::-1]
        colours = [_COLOURS["sft"] if n not in goals else _MET if saved[n] >= goals[n] else _MISSED for n in names]
        labels = [f"{name.removesuffix('_saved')} {saved[name]:.0%}" for name in names]
        axes.barh(labels, [100 * saved[name] for name in names], color=colours)
        for row, name in enumerate(names):
            if name in goals:
                axes.plot(
                    [100 * goals[name]] * 2, [row - 0.45, row + 0.45], color=_ink(axes), linestyle="--", linewidth=1
                )
        axes.axvline(0, color=_ink(axes), linewidth=0.6)
        axes.margins(x=0.15)
        axes.set_xlabel("saved by LoRA, % (dashed: goal; green: met; red: missed)")

    told = [
        f"{name.removesuffix('_saved')} {value:.0%}"
        + (f" (goal {goals[name]:.0%}: {'met' if value >= goals[name] else 'missed'})" if name in goals else "")
        for name, value in saved.items()
    ]
    return Plot(title, draw, "; ".join([*told, *([why] if why else [])]))


def reward_checks_plot(reward: Mapping[str, Any]) -> Plot:
    """Draw every check of a reward model against its target.

    Args:
        reward: what ``reward/report.json`` holds.
    """
    title = "Does the reward model deserve trust?"
    checks = reward.get("checks") or []
    if not checks:
        return Plot(title, None, "not measured: reward/report.json holds no checks")

    def draw(axes: Any) -> None:
        axes.figure.set_size_inches(6.4, 0.9 + 0.26 * len(checks))
        axes.grid(visible=False)
        rows = range(len(checks))
        axes.barh(rows, [check["value"] for check in checks], color=[_MET if c["met"] else _MISSED for c in checks])
        for row, check in enumerate(checks):
            axes.plot([check["target"]] * 2, [row - 0.45, row + 0.45], color=_ink(axes), linestyle="--", linewidth=1)
        axes.set_yticks(rows, [_check_label(check) for check in checks], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.02)
        axes.set_xlabel("figure (dashed: target; green: met; red: missed)")

    missed = [check["name"] for check in checks if not check["met"]]
    text = f"{len(checks) - len(missed)} of {len(checks)} checks met"
    return Plot(title, draw, text + (f"; missed: {', '.join(missed)}" if missed else ""))


def ppo_plot(curves: Curves, summary: Mapping[str, Any]) -> Plot:
    """Draw what PPO did, update by update: reward, KL and its budget, the judge, and what alarms listen to.

    Args:
        curves: of ``ppo/metrics.csv``.
        summary: what ``ppo/summary.json`` holds; its alarms are drawn as lines.
    """
    title = "PPO, update by update"
    shown = [(name, label) for name, label in _PPO_PANELS if curves.get(name)]
    if not shown:
        return Plot(title, None, "not measured: ppo/metrics.csv holds no curve")
    alarms = list(summary.get("alarms") or ())

    def draw(axes: Any) -> None:
        axes.figure.set_size_inches(6.4, 0.2 + 1.5 * ((len(shown) + 1) // 2))
        for (name, label), panel in zip(shown, _panels(axes, len(shown), 2), strict=True):
            steps, values = zip(*curves[name], strict=True)
            panel.plot(steps, values, color=_COLOURS["ppo"], marker="o" if len(steps) < 30 else "", markersize=3)
            if name == "kl" and summary.get("kl_budget"):
                panel.axhline(summary["kl_budget"], color=_MISSED, linestyle="--", linewidth=0.8)
            for alarm in alarms:
                panel.axvline(alarm["update"], color=_MISSED, linewidth=0.8)
            panel.set_title(label, fontsize=8)
            panel.xaxis.get_major_locator().set_params(integer=True)

    ends = [f"{label} from {curves[name][0][1]:.3g} to {curves[name][-1][1]:.3g}" for name, label in shown]
    sounded = ", ".join(f"{alarm['name']} at update {alarm['update']}" for alarm in alarms) or "none"
    return Plot(title, draw, "; ".join([*ends, f"alarms: {sounded}"]))


def colour_of(who: str, everyone: Mapping[str, Any]) -> str:
    """Return a model's colour: that of the report for a run's own, one of the others by place."""
    others = [name for name in everyone if name not in _COLOURS]
    return _COLOURS.get(who) or _OTHERS[others.index(who) % len(_OTHERS)]


def _panels(axes: Any, count: int, columns: int) -> list[Any]:
    """Put a grid of small axes under a figure's only ones, which stay as a strip that carries the title."""
    figure, rows = axes.figure, -(-count // columns)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[0.01, *[1] * rows])
    axes.set_subplotspec(grid[0, :])
    axes.set_axis_off()
    panels = [figure.add_subplot(grid[1 + place // columns, place % columns]) for place in range(count)]
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    return panels


def _check_label(check: Mapping[str, Any]) -> str:
    name = check["name"].replace("_", " ")
    return f"{name}: {check['value']:.2f}, target {check['comparison']} {check['target']:.2f}, n {check['n']}"


def _bounds(figure: Mapping[str, Any]) -> tuple[float, float]:
    """Return the ends of a figure's interval; the figure itself where it has none."""
    low, high = figure.get("low"), figure.get("high")
    return (figure["value"] if low is None else low), (figure["value"] if high is None else high)


def _ink(axes: Any) -> Any:
    """Return the colour of lines and letters where it is drawn: a page's own, or a print's."""
    return axes.spines["left"].get_edgecolor()


def _share(turn: int, turns: Mapping[int, Mapping[str, Any]]) -> str:
    return f"{turns[turn]['value']:.0%} in turn {turn}"


def _value(who: str, figure: Mapping[str, Any], metric: Any) -> str:
    return f"{MODELS.get(who, who)} {value_text(figure['value'], metric.unit if metric else 'number')}"
