"""How figures are named, ordered and printed, the same in the terminal, in Markdown and in HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODELS = {"base": "untouched", "sft": "after SFT", "ppo": "after PPO"}
"""The three judged models, in the order of the run, with the words a reader sees."""

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the models table.

    Attributes:
        better: "up", "down", or "" where neither end is good in itself.
        unit: "share" is printed as per cent, "number" as it is.
    """

    name: str
    label: str
    better: str
    unit: str


METRICS = (
    Metric("probe_consistency", "Persona consistency (probes)", "up", "share"),
    Metric("contradiction_rate", "Contradicting answers", "down", "share"),
    Metric("neutral_rate", "Answers without the trait", "down", "share"),
    Metric("trait_coverage", "Trait coverage per reply", "", "share"),
    Metric("prompt_to_line", "Lines that contradict no trait (judged)", "up", "share"),
    Metric("line_to_line", "Pairs of own lines without a contradiction (judged)", "up", "share"),
    Metric("c_score", "C-score (judged)", "", "number"),
    Metric("contradicting_lines", "Lines that contradict trait or own line (judged)", "down", "share"),
    Metric("asserting_lines", "Lines that assert something", "", "share"),
    Metric("relevance", "Relevance to the partner's line", "", "number"),
    Metric("engagement", "Engagement", "up", "number"),
    Metric("engagement_equal", "Engagement (equal weights)", "", "number"),
    Metric("perplexity_token", "Perplexity (own tokens)", "down", "number"),
    Metric("perplexity_word", "Perplexity (words)", "down", "number"),
    Metric("bleu", "BLEU", "up", "number"),
    Metric("rouge_1", "ROUGE-1", "up", "number"),
    Metric("rouge_2", "ROUGE-2", "up", "number"),
    Metric("rouge_l", "ROUGE-L", "up", "number"),
    Metric("f1", "F1", "up", "number"),
    Metric("distinct_1", "Distinct-1", "", "number"),
    Metric("distinct_2", "Distinct-2", "", "number"),
    Metric("copy_share", "Replies that copy a persona sentence", "down", "share"),
    Metric("repetition", "Repetition inside a dialogue", "down", "share"),
    Metric("reply_words", "Words per reply", "", "number"),
)
TURN_METRIC = "multi_turn_consistency_"
SUMMARY_METRICS = ("probe_consistency", "engagement", "perplexity_token", "bleu", "rouge_l", "distinct_2")
"""The rows of the closing terminal table."""
APART = " ✱"
"""Stands behind a paired difference whose interval leaves out 0."""


def metrics_of(models: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """Return the metrics that some model has, known ones first; one this version doesn't know goes by its own name."""
    found = {name for metrics in models.values() for name in metrics if not name.startswith(TURN_METRIC)}
    known = [metric for metric in METRICS if metric.name in found]
    names = {metric.name for metric in METRICS}
    return known + [Metric(name, name.replace("_", " "), "", "number") for name in sorted(found - names)]


def turns_of(metrics: Mapping[str, Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """Return the consistency of each turn, by its number from 1."""
    turns = {
        int(name.removeprefix(TURN_METRIC)): figure
        for name, figure in metrics.items()
        if name.startswith(TURN_METRIC) and name.removeprefix(TURN_METRIC).isdigit()
    }
    return dict(sorted(turns.items()))


def value_text(value: float | None, unit: str = "number") -> str:
    """Print a figure: "83.2 %" for a share, three significant digits and more for a number, "–" for none."""
    if value is None:
        return "–"
    if unit == "share":
        return f"{value * 100:.1f} %"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:#.3g}"


def figure_text(figure: Mapping[str, Any] | None, unit: str) -> str:
    """Print a figure with its interval: "83.2 % (79.0–87.1)", "0.1 (-0.2 to 0.3)"; "–" where it was not measured."""
    if figure is None or figure.get("value") is None:
        return "–"
    low, high = figure.get("low"), figure.get("high")
    if low is None or high is None:
        return value_text(figure["value"], unit)
    between = " to " if low < 0 else "–"  # a dash before a minus can't be read
    bounds = between.join(_plain(bound, unit) for bound in (low, high))
    return f"{value_text(figure['value'], unit)} ({bounds})"


def difference_text(found: Mapping[str, Any] | None, unit: str) -> str:
    """Print a difference with its sign: "+12.5 (3.0 to 22.1) ✱"."""
    if found is None:
        return "–"
    text = _signed(found["value"], unit)
    if found["low"] is None:
        return text
    apart = APART if found["low"] > 0 or found["high"] < 0 else ""
    return f"{text} ({_plain(found['low'], unit)} to {_plain(found['high'], unit)}){apart}"


def duration_text(seconds: float) -> str:
    """Print seconds as "42 s", "3 min 07 s" or "2 h 05 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory_text(size: float) -> str:
    """Print bytes as GiB."""
    return f"{size / GIB:.2f} GiB"


def size_text(size: float) -> str:
    """Print bytes of files as "840 kB", "12.3 MB" or "1.20 GB" (powers of ten, as file managers count)."""
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"


def money_text(money: float | None, currency: str | None) -> str:
    """Print money with its currency; an unpriced stage stays unpriced."""
    return "unpriced" if money is None else f"{money:.4f} {currency or ''}".strip()


def goal_value_text(goal: Mapping[str, Any]) -> str:
    """Print the true figure of a goal, or why there is none."""
    if goal["value"] is None:
        return f"not measured: {goal['why']}"
    return f"{figure_text(goal, goal['unit'])} {unit_text(goal)}".strip()


def goal_target_text(goal: Mapping[str, Any]) -> str:
    """Print the target of a goal: "≥ 85.0 %"."""
    if goal["target"] is None:
        return f"{goal['comparison']} –"
    return f"{goal['comparison']} {value_text(goal['target'], goal['unit'])} {unit_text(goal)}".strip()


def goal_met_text(goal: Mapping[str, Any]) -> str:
    """Say "met", "missed" or "not measured"."""
    return {True: "met", False: "missed", None: "not measured"}[goal["met"]]


def unit_text(goal: Mapping[str, Any]) -> str:
    """Return the unit to print behind a goal's figures; shares and bare numbers carry none."""
    return "" if goal["unit"] in {"share", "number"} else str(goal["unit"])


def _signed(value: float, unit: str) -> str:
    return ("+" if value >= 0 else "") + _plain(value, unit)


def _plain(value: float, unit: str) -> str:
    return value_text(value, unit).removesuffix(" %")
