"""Several runs against the first of them: settings that differ, figures with paired differences, costs, goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from personatune.copying import copy_share
from personatune.dialogue import Persona
from personatune.errors import UserError
from personatune.evaluation.persona import repetition
from personatune.intervals import paired_difference
from personatune.judging.keywords import trait_coverage
from personatune.report.build import collect_report
from personatune.report.evidence import EVALUATIONS
from personatune.report.figures import METRICS, MODELS
from personatune.storage import read_json

VERDICTS = {"probe_consistency": "consistent", "contradiction_rate": "contradicting", "neutral_rate": "neutral"}
_SAMPLES = 2000

Key = tuple[tuple[str, ...], tuple[str, ...]]
"""What makes two probe dialogues the same question: the persona, and the partner's lines."""


@dataclass(frozen=True)
class ComparedRun:
    """One run as the comparison sees it.

    Attributes:
        label: its name; a second run of that name gets a number.
        report: what `collect_report` returns.
        dialogues: model -> probe dialogue -> metric -> its value in that dialogue.
    """

    label: str
    directory: Path
    report: Mapping[str, Any]
    dialogues: Mapping[str, Mapping[Key, Mapping[str, float]]]


def read_runs(directories: Sequence[Path]) -> list[ComparedRun]:
    """Read runs for a comparison.

    Raises:
        UserError: fewer than two, one of them twice, no run, or a damaged file (names it).
    """
    if len(directories) < 2:
        raise UserError("report --compare: expected at least two runs, as in: personatune report --compare A B")
    runs: list[ComparedRun] = []
    for directory in directories:
        if any(directory.resolve() == run.directory.resolve() for run in runs):
            raise UserError(f"report --compare: {directory} is named twice; expected different runs")
        report = collect_report(directory)
        same = sum(run.report["run"] == report["run"] for run in runs)
        label = report["run"] + (f" ({same + 1})" if same else "")
        runs.append(ComparedRun(label, directory, report, _dialogues(directory)))
    return runs


def side_by_side(runs: Sequence[ComparedRun]) -> dict[str, Any]:
    """Return what ``comparison.json`` holds.

    Keys: ``created``, ``runs`` (labels), ``settings`` (name -> value of each run, only those that differ), ``pairing``
    (of each run with the first: model -> dialogues in common, of the first, of the other), ``figures`` (model, metric,
    ``values`` of each run, ``differences`` of each later run minus the first: value and, where both were asked the same
    in the same probe dialogues, the paired 95 % interval), ``goals``, ``costs`` and ``notes``.
    """
    first, *others = runs
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "runs": [run.label for run in runs],
        "settings": _settings(runs),
        "pairing": [_pairing(first, other) for other in others],
        "figures": [row for model in MODELS for row in _figures(runs, model)],
        "goals": _goals(runs),
        "costs": {
            stage: [run.report["costs"].get(stage) for run in runs]
            for stage in dict.fromkeys(stage for run in runs for stage in run.report["costs"] if stage != "total")
        }
        | {"total": [run.report["costs"].get("total") for run in runs]},
        "notes": _notes(runs),
    }


def _dialogues(directory: Path) -> dict[str, dict[Key, dict[str, float]]]:
    found: dict[str, dict[Key, dict[str, float]]] = {}
    for model, (_, place) in EVALUATIONS.items():
        if (directory / place).is_file():
            held = read_json(directory / place).get("dialogues", [])
            found[model] = {_key(dialogue): _measures(dialogue) for dialogue in held}
    return found


def _key(dialogue: Mapping[str, Any]) -> Key:
    return tuple(dialogue["persona"]), tuple(text for speaker, text in dialogue["turns"] if speaker == "partner")


def _measures(dialogue: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of one dialogue, as `PersonaEvaluator` defines them."""
    persona = Persona(tuple(dialogue["persona"]))
    replies = [text for speaker, text in dialogue["turns"] if speaker == "self"]
    asked = [verdict for verdict in dialogue.get("verdicts", []) if verdict is not None]
    found = {metric: asked.count(verdict) / len(asked) for metric, verdict in VERDICTS.items() if asked}
    if replies and persona.traits:
        found["trait_coverage"] = sum(trait_coverage(reply, persona) for reply in replies) / len(replies)
        found["copy_share"] = copy_share(replies, persona)
        found["repetition"] = repetition(replies)
    return found


def _settings(runs: Sequence[ComparedRun]) -> dict[str, list[Any]]:
    trees = [_leaves(run.report["settings"]) for run in runs]
    names = dict.fromkeys(name for tree in trees for name in tree)
    rows = {name: [tree.get(name) for tree in trees] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return leaves


def _pairing(first: ComparedRun, other: ComparedRun) -> dict[str, dict[str, int]]:
    return {
        model: {
            "common": len(first.dialogues[model].keys() & other.dialogues[model].keys()),
            "first": len(first.dialogues[model]),
            "other": len(other.dialogues[model]),
        }
        for model in MODELS
        if model in first.dialogues and model in other.dialogues
    }


def _figures(runs: Sequence[ComparedRun], model: str) -> list[dict[str, Any]]:
    rows = []
    for metric in METRICS:
        values = [run.report["models"].get(model, {}).get(metric.name) for run in runs]
        if any(value is not None for value in values):
            differences = [
                _difference(runs[0], run, model, metric.name, values[0], value)
                for run, value in zip(runs[1:], values[1:], strict=True)
            ]
            rows.append({"model": model, "metric": metric.name, "values": values, "differences": differences})
    return rows


def _difference(
    first: ComparedRun, other: ComparedRun, model: str, metric: str, before: Any, after: Any
) -> dict[str, Any] | None:
    """Return other minus first; with a paired interval where the same dialogues were held, over those alone."""
    if before is None or after is None or before.get("value") is None or after.get("value") is None:
        return None
    own, others = (run.dialogues.get(model, {}) for run in (first, other))
    common = [key for key in own if key in others and metric in own[key] and metric in others[key]]
    if len(common) > 1:
        found = paired_difference(
            [others[key][metric] for key in common], [own[key][metric] for key in common], _SAMPLES
        )
        return {**found.to_json(), "paired": True}
    return {"value": after["value"] - before["value"], "low": None, "high": None, "n": None, "paired": False}


def _goals(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    names = dict.fromkeys(goal["name"] for run in runs for goal in run.report["goals"])
    by_run = [{goal["name"]: goal for goal in run.report["goals"]} for run in runs]
    return [{"name": name, "goals": [goals.get(name) for goals in by_run]} for name in names]


def _notes(runs: Sequence[ComparedRun]) -> list[str]:
    first, *others = runs
    notes = []
    for other in others:
        apart: list[str] = []
        partly: dict[tuple[int, int, int], list[str]] = {}
        for model, counts in _pairing(first, other).items():
            if not counts["common"]:
                apart.append(MODELS[model])
            elif counts["common"] < max(counts["first"], counts["other"]):
                partly.setdefault((counts["common"], counts["first"], counts["other"]), []).append(MODELS[model])
        who = f"{first.label} and {other.label}"
        if apart:
            notes.append(
                f"{who} were judged on different personas or questions ({', '.join(apart)}), so their figures can't be "
                "paired: a difference also holds what the personas differ in."
            )
        for (common, before, after), models in partly.items():
            notes.append(
                f"{who} share {common} probe dialogues of {before} and {after} ({', '.join(models)}); paired "
                "differences are over those alone and need not be the difference of the two columns."
            )
        own, theirs = _judges(first), _judges(other)
        if any(own[model] != theirs[model] for model in own.keys() & theirs.keys()):
            notes.append(f"{who} were judged by different critics: leave the rows that are marked as judged aside.")
    return notes


def _judges(run: ComparedRun) -> dict[str, Any]:
    return {model: (judge or {}).get("name") for model, judge in run.report["judge"].items()}
