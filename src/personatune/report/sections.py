"""The parts of the report as rows of text, ready for a table in any form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from personatune.report.figures import (
    METRICS,
    MODELS,
    duration_text,
    figure_text,
    goal_met_text,
    goal_target_text,
    goal_value_text,
    memory_text,
    metrics_of,
    money_text,
    value_text,
)


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of text; ``missing`` says why there are no rows, ``note`` what to know about them."""

    title: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    missing: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """A titled list of names and values that folds away; ``missing`` as for a table."""

    title: str
    rows: Mapping[str, str] = field(default_factory=dict)
    missing: str | None = None


def goals_table(report: Mapping[str, Any]) -> Table:
    rows = []
    for goal in report["goals"]:
        measured = goal_value_text(goal)
        if goal["value"] is not None and goal["why"]:
            measured += f" ({goal['why']})"
        count = "–" if goal["n"] is None else str(goal["n"])
        rows.append((goal["name"], goal_target_text(goal), measured, count, goal_met_text(goal)))
    return Table("Goals", ("goal", "target", "measured", "n", "result"), rows)


def models_table(report: Mapping[str, Any], part: Literal["all", "main", "more"] = "all") -> Table:
    """The figures of the models: those with a place of their own in `METRICS`, the others, or all."""
    models, missing = report["models"], report["missing"]
    rows = []
    for metric in metrics_of(models):
        if part != "all" and (metric in METRICS) != (part == "main"):
            continue
        figures = [models.get(model, {}).get(metric.name) for model in MODELS]
        counts = dict.fromkeys(str(figure["n"]) for figure in figures if figure and figure.get("n") is not None)
        arrow = {"up": " ↑", "down": " ↓", "": ""}[metric.better]
        cells = [figure_text(figure, metric.unit) for figure in figures]
        rows.append((metric.label + arrow, *cells, "/".join(counts) or "–"))
    absent = [f"{MODELS[model]}: not measured: {missing[f'models.{model}']}" for model in MODELS if model not in models]
    note = "In brackets 95 % bootstrap intervals. ↑ higher is better, ↓ lower is better."
    judges = dict.fromkeys(f"{judge['name']} ({judge['decision']})" for judge in report["judge"].values() if judge)
    if judges:
        note += f" Judged by {', '.join(judges)}: compare models under it, its level means little."
    absent += [f"{name.replace('_', ' ')}: not measured: {why}" for name, why in report["absent"].items()]
    return Table(
        "The three models on the same held-out personas",
        ("measure", *MODELS.values(), "n"),
        rows,
        missing="; ".join(absent) if not rows else None,
        note=None if part == "more" else " ".join([note, *absent]),
    )


def costs_table(report: Mapping[str, Any]) -> Table:
    head = ("stage", "time", "CPU time", "peak memory", "tokens trained", "tokens generated", "cost")
    rows = [
        (
            stage,
            duration_text(cost["wall_seconds"]),
            duration_text(cost["cpu_seconds"]),
            memory_text(cost["peak_memory_bytes"]),
            f"{cost['tokens_trained']:,}",
            f"{cost['tokens_generated']:,}",
            money_text(cost["money"], cost["currency"]),
        )
        for stage, cost in report["costs"].items()
    ]
    machines = sorted({cost["machine"] for cost in report["costs"].values() if cost.get("machine")})
    note = f"Cost: hours × the price of the cheapest machine that holds the peak ({', '.join(machines)}) + storage."
    return Table("What each stage took", head, rows, report["missing"].get("costs"), note if machines else None)


def reward_table(report: Mapping[str, Any]) -> Table:
    reward, title = report["reward"], "Reward model on held-out pairs"
    if reward is None:
        return Table(title, missing=report["missing"]["reward"])
    targets = {check["name"]: check for check in reward.get("checks") or ()}

    def row(label: str, figure: Mapping[str, Any], unit: str, check: str) -> tuple[str, ...]:
        found = targets.get(check)
        target = "–" if found is None else f"{found['comparison']} {value_text(found['target'], unit)}"
        result = "–" if found is None else "met" if found["met"] else "missed"
        return label, figure_text(figure, unit), target, result, str(figure.get("n", "–"))

    rows = [
        row(
            f"ranked right, {kind.replace('_', ' ')}",
            figure,
            "share",
            "accuracy" if kind == "all" else f"accuracy of {kind}",
        )
        for kind, figure in (reward.get("accuracy") or {}).items()
    ]
    for name in ("persona_sensitivity", "calibration_error", "length_correlation"):
        figure = reward.get(name)
        if figure is not None:
            estimate = figure if isinstance(figure, Mapping) else {"value": figure}
            unit = "share" if name == "persona_sensitivity" else "number"
            check = "|correlation of score and length|" if name == "length_correlation" else name.replace("_", " ")
            rows.append(row(name.replace("_", " "), estimate, unit, check))
    note = "Chance is 50 %. Persona sensitivity: how often the score falls when the persona is swapped for another."
    return Table(title, ("measure", "value", "target", "result", "n"), rows, note=note)


def alarms_table(report: Mapping[str, Any]) -> Table:
    """What PPO was told not to trust, and the alarms that sounded."""
    ppo, title = report["ppo"], "What went wrong during PPO"
    if ppo is None:
        return Table(title, missing=report["missing"]["ppo"])
    rows = [("–", "reward model", f"missed: {line}", "went on") for line in ppo.get("untrusted_reward") or ()]
    done = {"warn": "none", "cool": "learning rates halved, KL weight raised", "stop": "stopped"}
    rows += [
        (str(alarm["update"]), f"{alarm['name']} alarm", alarm["why"], done[alarm["action"]])
        for alarm in ppo.get("alarms") or ()
    ]
    if not rows:
        trusted = "the reward model passed its checks, " if "untrusted_reward" in ppo else ""
        rows = [("–", "nothing", f"{trusted}no alarm sounded", "–")]
    return Table(title, ("update", "what", "found", "done about it"), rows)


def comparison_table(report: Mapping[str, Any]) -> Table:
    comparison, title = report["comparison"], "LoRA against full fine-tuning, to the same held-out loss"
    if comparison is None:
        return Table(title, missing=report["missing"]["comparison"])
    # The comparison is priced from the same table as the stages.
    currency = (report["costs"].get("total") or {}).get("currency")
    sides = {name: comparison.get(name) or {} for name in ("lora", "full")}
    shown: dict[str, Callable[[Any], str]] = {
        "wall_seconds": duration_text,
        "peak_memory_bytes": memory_text,
        "money": lambda value: money_text(value, currency),
        "loss": value_text,
        "reached": lambda value: "yes" if value else "no",
    }
    rows = []
    for key, text in shown.items():
        values = [side.get(key) for side in sides.values()]
        if any(value is not None for value in values):
            label = {"reached": "target loss reached", "loss": "held-out loss"}.get(key, _words(key))
            rows.append((label, *("–" if value is None else text(value) for value in values), ""))
    for key, value in (comparison.get("savings") or {}).items():
        if value is None or isinstance(value, int | float):
            rows.append((_words(key), "", "", "not measured" if value is None else value_text(value, "share")))
    target = comparison.get("target_loss")
    note = None if target is None else f"Target: a held-out loss of {value_text(target)}. A negative share was lost."
    note = " ".join(text for text in (note, comparison.get("note"), comparison.get("why")) if text) or None
    return Table(title, ("", "LoRA", "full fine-tuning", "saved"), rows, note=note)


def benchmarks_table(report: Mapping[str, Any]) -> Table:
    rows = [
        (
            f"{row['metric'].replace('_', ' ')} ({row['unit']})",
            f"{row['dataset']}, {row['split']}",
            row["system"],
            "not measured" if row["value"] is None else f"{row['value']:g}",
            "; ".join(text for text in (row["source"], row["note"]) if text) or "–",
        )
        for row in report["benchmarks"]["rows"]
    ]
    head = ("measure", "data", "system", "value", "source")
    return Table("Published figures", head, rows, note=" ".join(report["benchmarks"]["notes"]))


def facts(report: Mapping[str, Any]) -> list[Facts]:
    """Return what folds away at the end: PPO, data, decoding, settings, versions."""
    missing = report["missing"]
    parts = (
        ("Supervised fine-tuning", report["sft"], missing.get("sft")),
        ("PPO", report["ppo"], missing.get("ppo")),
        *((f"DPO: {name}", summary, None) for name, summary in report.get("dpo", {}).items()),
        ("Data", report["data"], missing.get("data")),
        ("Decoding", report["decoding"] or None, "no evaluation was found"),
        ("Settings", report["settings"], None),
        ("Versions and machine", report["versions"], None),
    )
    return [
        Facts(title, missing=why) if value is None else Facts(title, dict(_flat(value))) for title, value, why in parts
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten a tree to dotted names; lists of mappings (curves) are told by their length."""
    rows: list[tuple[str, str]] = []
    for key, below in value.items():
        name = f"{prefix}{key}"
        if isinstance(below, Mapping):
            histogram = below and all(str(inner).isdigit() for inner in below)
            rows += [(name, f"{len(below)} values")] if histogram else _flat(below, f"{name}.")
        elif isinstance(below, list):
            whole = not any(isinstance(item, Mapping | list) for item in below)
            rows.append((name, ", ".join(map(str, below)) if whole else f"{len(below)} rows"))
        elif isinstance(below, float):
            rows.append((name, f"{below:.6g}"))
        else:
            rows.append((name, "–" if below is None else str(below)))
    return rows


def _words(key: str) -> str:
    return {"wall_seconds": "time", "peak_memory_bytes": "peak memory", "money": "cost"}.get(key, key.replace("_", " "))
