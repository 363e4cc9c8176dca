"""A model card for what a run exports: origin, licences, measured figures, limits, in the hub's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from personatune.report import sections
from personatune.report.evaluation_tables import evaluation_facts, evaluation_tables
from personatune.report.markdown import plain, samples_parts, table_parts

_LIMITS = """- It speaks English only, in the short replies of persona chats, and knows what a model of its size knows.
- It has no memory beyond its prompt: {max_length} tokens of persona and last turns.
- What a persona says is played, not checked: it is no source of facts, and no advice of any kind.
- Nobody has tested it for harmful content beyond reading samples; don't give it to people who can't tell that they talk
  to a program.
- The figures are of held-out personas under one decoding; other personas, settings and judges give others."""


_METHODS = {"sft": "", "ppo": ", then a reward model and PPO", "dpo": ", then DPO on preference pairs"}


def model_card(
    report: Mapping[str, Any],
    model: str,
    *,
    base: str,
    base_licence: str,
    note: str = "",
    evaluation: Mapping[str, Any] | None = None,
) -> str:
    """Return the card in Markdown with the YAML head of the hub.

    Args:
        report: what `report.build.collect_report` returns; its tables stand in the card as they are.
        model: its name in the run: "sft", "ppo", "dpo" or a variant's.
        base: hub id of the base model; ``base_licence`` its licence.
        note: what was done to the weights on the way (rank, precision).
        evaluation: what `personatune evaluate` wrote; its tables stand in the card instead of the run's own.
    """
    data = report["data"] or {"counts": {}, "statistics": {"source": {}}}
    source, written = data["statistics"]["source"], data["counts"].get("added: written dialogues", 0)
    head = {
        "base_model": base,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "language": "en",
        "license": base_licence,
        "tags": ["persona", "lora", "dialogue", "personatune"],
    }
    method = f"supervised fine-tuning with LoRA{_METHODS.get(model, f', then {plain(model)}')}"
    made = [
        f"- Base: {plain(base)} ({plain(base_licence)})",
        f"- Data: {plain(source.get('description', 'unknown'))}",
        f"- Licence of the data: {plain(source.get('licence') or 'not known')}",
        *([f"- {written} hand-written dialogues of personatune (Apache-2.0) beside them"] if written else []),
        f"- Method: {method}; run {plain(report['run'])}, seed {report['settings']['seed']}",
        *([f"- Weights: {plain(note)}"] if note else []),
    ]
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        "# A chatbot that stays in character",
        "Give it a persona of a few sentences in the first person and it answers as that person.",
        "## How it was made",
        "\n".join(made),
        *_figures(report, model, evaluation),
        "## Limits",
        _LIMITS.format(max_length=report["settings"]["model"]["max_length"]),
    ]
    return "\n\n".join(parts) + "\n"


def _figures(report: Mapping[str, Any], model: str, evaluation: Mapping[str, Any] | None) -> list[str]:
    if evaluation is not None:
        tables = [part for table in evaluation_tables(evaluation) if table.rows for part in table_parts(table)]
        return [*tables, "\n".join(f"- {plain(fact)}" for fact in evaluation_facts(evaluation))]
    parts = table_parts(sections.models_table(report))
    if model == "ppo":
        parts += table_parts(sections.reward_table(report))
    return parts + samples_parts(report)
