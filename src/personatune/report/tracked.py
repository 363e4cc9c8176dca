"""Hands a finished report to the trackers of its run: headline figures, dialogues, drawings and the files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from personatune.report.build import ReportPaths
from personatune.report.figures import METRICS, MODELS
from personatune.report.html import SHOWN_SAMPLES
from personatune.report.plots import draw_plots
from personatune.storage import read_json
from personatune.training.tracking import Tracker


def track_report(tracker: Tracker, run_dir: Path, paths: ReportPaths) -> None:
    """Log what the report holds, so that runs can be compared where their curves are."""
    report = read_json(paths.json)
    tracker.log(_headline(report), 0)
    tracker.samples("dialogues", _dialogues(report), 0)
    tracker.figures({plot.name: png for plot in draw_plots(run_dir, report) if (png := plot.png) is not None}, 0)
    tracker.files(f"{run_dir.resolve().name}-report", "report", [paths.html, paths.markdown, paths.json])


def _headline(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the models' own figures ("ppo/probe_consistency"), the goals that were met, and the whole cost."""
    figures = {
        f"{model}/{metric.name}": float(found["value"])
        for model in MODELS
        for metric in METRICS
        if (found := report["models"].get(model, {}).get(metric.name)) and found.get("value") is not None
    }
    figures["goals/met"] = float(sum(goal["met"] is True for goal in report["goals"]))
    figures["goals/missed"] = float(sum(goal["met"] is False for goal in report["goals"]))
    figures["goals/not_measured"] = float(sum(goal["met"] is None for goal in report["goals"]))
    total = report["costs"].get("total")
    if total:
        figures["costs/wall_seconds"] = float(total["wall_seconds"])
        if total["money"] is not None:
            figures["costs/money"] = float(total["money"])
    return figures


def _dialogues(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the report's dialogues line by line, the models' replies to one line beside each other."""
    rows = []
    for sample in report["samples"][:SHOWN_SAMPLES]:
        first = next(iter(sample["models"].values()))
        for place, turn in enumerate(first):
            if turn["speaker"] == "self":
                row = {"persona": " | ".join(sample["persona"]), "line": first[place - 1]["text"] if place else ""}
                for model, words in MODELS.items():
                    said = sample["models"].get(model, [])
                    reply = said[place] if place < len(said) else {"text": "", "verdict": None}
                    row |= {words: reply["text"], f"{words}: verdict": reply["verdict"] or ""}
                rows.append(row)
    return rows
