"""Builds the report of a run from the plain files its stages left: report.json, report.md and report.html."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from personatune.config import load_config
from personatune.errors import UserError
from personatune.evaluation.benchmarks import BenchmarkEvaluator
from personatune.plain_text import hide_secrets
from personatune.report.evidence import gather, versions
from personatune.report.goals import judge_goals
from personatune.report.html import as_html
from personatune.report.markdown import as_markdown
from personatune.report.plots import draw_plots
from personatune.storage import write_json, write_text


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """Where the three forms of one report lie."""

    json: Path
    markdown: Path
    html: Path


def build_report(run_dir: Path) -> ReportPaths:
    """Write the report of a run into its folder ``report``.

    Raises:
        UserError: there is no such run, or a file of it is damaged.
    """
    report = collect_report(run_dir)
    folder = run_dir / "report"
    paths = ReportPaths(folder / "report.json", folder / "report.md", folder / "report.html")
    write_json(paths.json, report)
    write_text(paths.markdown, as_markdown(report))
    write_text(paths.html, as_html(report, draw_plots(run_dir, report)))
    return paths


def collect_report(run_dir: Path) -> dict[str, Any]:
    """Return what `report.json` holds.

    Keys: ``run``, ``created``, ``goals``, ``models``, ``costs`` (by stage, and ``total``), ``data``, ``settings``,
    ``versions``, ``decoding``, ``judge``, ``absent`` (metric -> why it was not measured), ``sft``, ``reward``, ``ppo``,
    ``dpo``, ``comparison``, ``benchmarks`` (published rows, and notes that travel with them), ``samples`` and
    ``missing`` (part -> why it was not measured).
    """
    settings = run_dir / "config.yaml"
    if not settings.is_file():
        raise UserError(f"{run_dir}: found no config.yaml, expected the folder of a run; start one: personatune run")
    config = load_config(settings)
    evidence = gather(run_dir, config)
    return {
        "run": run_dir.resolve().name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "goals": judge_goals(config, evidence),
        "models": evidence["models"],
        "costs": evidence["costs"],
        "data": evidence["data"],
        "settings": hide_secrets(config.model_dump(mode="json")),
        "versions": versions(),
        "decoding": evidence["decoding"],
        "judge": evidence["judge"],
        "absent": evidence["absent"],
        "sft": evidence["sft"],
        "reward": evidence["reward"],
        "ppo": evidence["ppo"],
        "dpo": evidence["dpo"],
        "comparison": evidence["comparison"],
        "benchmarks": _published(),
        "samples": evidence["samples"],
        "missing": evidence["missing"],
    }


def _published() -> dict[str, Any]:
    """Return the published figures; a run is on none of their data sets, so its own row says "not measured"."""
    evaluator = BenchmarkEvaluator()
    return {"rows": [row.to_json() for row in evaluator.compare({"this run": {}})], "notes": evaluator.notes}
