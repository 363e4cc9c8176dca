"""The report as one HTML file that needs nothing else: no network, no script, light and dark, readable on a phone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from personatune.report import sections
from personatune.report.drawing import Plot
from personatune.report.figures import MODELS, duration_text, money_text, value_text

if TYPE_CHECKING:
    from jinja2 import Template

SHOWN_SAMPLES = 6
_WITH_INTERVAL = re.compile(r"(.+?) (\([^()]*\d[^()]*–[^()]*\))$")


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
    environment.filters["figure_parts"] = _figure_parts
    return environment.get_template(name)


def as_html(report: Mapping[str, Any], plots: Sequence[Plot]) -> str:
    """Return the page. Everything but the drawn plots is escaped by the template."""
    return template("template.html.j2").render(
        report=report,
        headline=headline(report),
        goals=sections.goals_table(report),
        main_figures=sections.models_table(report, "main"),
        more_figures=sections.models_table(report, "more"),
        training=[sections.reward_table(report), sections.alarms_table(report)],
        spent=[sections.costs_table(report), sections.comparison_table(report)],
        benchmarks=sections.benchmarks_table(report),
        plots=plots,
        models=MODELS,
        samples=report["samples"][:SHOWN_SAMPLES],
        facts=sections.facts(report),
    )


def headline(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what a reader wants first: label, value and what to know about it."""
    goals = report["goals"]
    met, open_ones = (sum(goal["met"] is state for goal in goals) for state in (True, None))
    facts = [("Goals met", f"{met} of {len(goals)}", f"{open_ones} not measured" if open_ones else "all measured")]
    shares = {
        model: figure["value"]
        for model in MODELS
        if (figure := report["models"].get(model, {}).get("probe_consistency")) and figure.get("value") is not None
    }
    if shares:
        way = " → ".join(value_text(share, "share") for share in shares.values())
        facts.append(("Persona consistency", way, " → ".join(MODELS[model] for model in shares)))
    total = report["costs"].get("total")
    if total:
        spent = money_text(total["money"], total["currency"])
        facts.append(("The whole run", duration_text(total["wall_seconds"]), f"cost: {spent}"))
    return facts


def _figure_parts(text: str) -> tuple[str, str]:
    """Part a printed figure from the interval behind it, so that the page can set it smaller."""
    found = _WITH_INTERVAL.fullmatch(text)
    return (found[1], found[2]) if found else (text, "")
