"""The report as one HTML file that needs nothing else: no network, no script, light and dark, readable on a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from personatune.report import sections
from personatune.report.figures import MODELS
from personatune.report.plots import Plot

if TYPE_CHECKING:
    from jinja2 import Template

SHOWN_SAMPLES = 6


def template(name: str) -> Template:
    """Return one of the packaged templates; text that is put into it is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("personatune", "report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def as_html(report: Mapping[str, Any], plots: Sequence[Plot]) -> str:
    """Return the page. Everything but the drawn plots is escaped by the template."""
    goals = sections.goals_table(report)
    return template("template.html.j2").render(
        report=report,
        goals=goals,
        met=sum(goal["met"] is True for goal in report["goals"]),
        tables=[
            sections.models_table(report),
            sections.reward_table(report),
            sections.alarms_table(report),
            sections.comparison_table(report),
            sections.costs_table(report),
        ],
        benchmarks=sections.benchmarks_table(report),
        plots=plots,
        models=MODELS,
        samples=report["samples"][:SHOWN_SAMPLES],
        facts=sections.facts(report),
    )
