"""The report as Markdown: every table and a few dialogues, readable as plain text too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personatune.plain_text import markdown_text
from personatune.report import sections
from personatune.report.figures import MODELS

plain = markdown_text

SHOWN_SAMPLES = 3
MARKS = {"consistent": "✓", "contradicting": "✗", "neutral": "·", None: ""}


def as_markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown. Text from data and models is escaped: it can't become markup."""
    parts = [f"# Run {plain(report['run'])}", f"Made {report['created']} with personatune."]
    for table in (
        sections.goals_table(report),
        sections.models_table(report),
        sections.reward_table(report),
        sections.alarms_table(report),
        sections.comparison_table(report),
        sections.costs_table(report),
        sections.benchmarks_table(report),
    ):
        parts += table_parts(table)
    parts += samples_parts(report)
    for part in sections.facts(report):
        parts.append(f"## {part.title}")
        parts.append(
            f"not measured: {plain(part.missing)}"
            if part.missing is not None
            else "\n".join(f"- {plain(name)}: {plain(value)}" for name, value in part.rows.items())
        )
    return "\n\n".join(parts) + "\n"


def table_parts(table: sections.Table) -> list[str]:
    """Return a table as Markdown blocks: title, table or why there is none, note."""
    if not table.rows:
        return [f"## {plain(table.title)}", f"not measured: {plain(table.missing or 'nothing was left')}"]
    lines = [_row(table.head), _row(["---"] * len(table.head)), *(_row(map(plain, row)) for row in table.rows)]
    return [f"## {plain(table.title)}", "\n".join(lines), *([plain(table.note)] if table.note else [])]


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def samples_parts(report: Mapping[str, Any]) -> list[str]:
    samples = report["samples"]
    if not samples:
        return ["## Sample dialogues", f"not measured: {plain(report['missing']['samples'])}"]
    shown = samples[:SHOWN_SAMPLES]
    parts = [
        "## Sample dialogues",
        f"The first {len(shown)} of {len(samples)} held-out personas; ✓ consistent, ✗ contradicting, · neutral; "
        "in brackets the persona sentences that a reply expresses (+) or contradicts (-).",
    ]
    for sample in shown:
        parts.append("\n".join(f"{place}. {plain(trait)}" for place, trait in enumerate(sample["persona"], start=1)))
        for model, turns in sample["models"].items():
            lines = [
                f"> {'bot' if turn['speaker'] == 'self' else 'partner'}: {plain(turn['text'])} "
                f"{MARKS.get(turn['verdict'], '')} {_sentences(turn)}".rstrip()
                for turn in turns
            ]
            parts.append(f"*{MODELS[model]}*\n\n" + "  \n".join(lines))
    return parts


def _sentences(turn: Mapping[str, Any]) -> str:
    """Return the numbers of the persona sentences that a reply expresses or contradicts: "(+1, -3)"."""
    numbers = [f"+{place + 1}" for place in turn["expressed"]] + [f"-{place + 1}" for place in turn["contradicted"]]
    return f"({', '.join(numbers)})" if numbers else ""
