"""An evaluation as tables of text, the same for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personatune.evaluation.drift_figures import KEYWORD_MEASURES
from personatune.evaluation.judged import MEASURES
from personatune.evaluation.qa_figures import QA
from personatune.report.figure_labels import label_of
from personatune.report.figures import TURN_METRIC, figure_text, turns_of, value_text
from personatune.report.sections import Table
from personatune.report.turn_tables import drift_tables, questions_by_turn, row_name

TITLES = {
    "probes": "PersonaProbes",
    "derived": "Questions made by rule",
    "convai2": "ConvAI2",
    "spc": "Persona dialogues",
    "rank": "Ranking consistency (dialogue NLI)",
    "qa": "Questions about the persona",
    "selfchat": "Self-chat",
}
_PROBED: Sequence[tuple[str, Sequence[str]]] = (
    (
        "consistency, and what it may have been bought with",
        ("probe_consistency", "contradiction_rate", "relevance", "copy_share", "repetition", "trait_coverage"),
    ),
    (
        "judged, and how it reads",
        ("prompt_to_line", "line_to_line", "c_score", "engagement", "engagement_equal", "reply_words"),
    ),
)
_GROUPS: Mapping[str, Sequence[tuple[str, Sequence[str]]]] = {
    "probes": _PROBED,
    "derived": _PROBED,
    "convai2": (
        ("protocol figures", ("hits1", "f1", "bleu", "rouge_l", "perplexity_token", "perplexity_word")),
        ("persona, and what it may have been bought with",
         ("c_score", "trait_score", "prompt_to_line", "relevance", "copy_share", "repetition")),
        ("how it reads", ("distinct_1", "distinct_2", "reply_words", "engagement", "engagement_equal")),
    ),
    "rank": (("class of the best candidate", ("hits1", "entail1", "rand1", "contradict1")),),
    "qa": (("the likeliest of four answers", QA),),
    "selfchat": (),
}  # fmt: skip
_NO_OVERALL = {"derived", "rank", "qa", "selfchat"}  # nobody answers there beside people


def evaluation_tables(evaluation: Mapping[str, Any]) -> list[Table]:
    """Return all tables of what ``evaluation.json`` holds, benchmark after benchmark."""
    tables: list[Table] = []
    for benchmark in evaluation["benchmarks"]:
        tables += _benchmark_tables(benchmark)
    return tables


def evaluation_facts(evaluation: Mapping[str, Any]) -> list[str]:
    """Return the lines that stand under the tables: decoding, judge, floors, notes. They belong to the figures."""
    lines = []
    for benchmark in evaluation["benchmarks"]:
        for row in benchmark["rows"]:
            settings = row["settings"]
            if "prompt" in settings:
                decoded = settings.get("decoding")
                how = _settings_text(decoded) if decoded else settings["scoring"]["score"]
                lines.append(
                    f"{row['contender']} on {benchmark['name']}: {how}; "
                    f"seed {settings['seed']}; prompt {settings.get('prompt')}; tokenizer {settings.get('tokenizer')}"
                )
    lines.append(judge_text(evaluation["judges"]))
    lines.append(encoder_text(evaluation["judges"]))
    pool = evaluation["pool"]
    lines.append(f"tfidf answers with the nearest of {pool['replies']:,} replies: {pool['source']}")
    lines.append(f"intervals: 95 % bootstrap over dialogues, {evaluation['bootstrap_samples']:,} resamples")
    return list(dict.fromkeys(lines))


def judge_text(judges: Mapping[str, Any]) -> str:
    """Say who judged, how, and how far it can be trusted."""
    if judges["judge"] is None:
        return f"judged measures: not measured: {judges['why_no_judge']}"
    card = judges["card"] or {}
    measured = card.get("measured", card)
    accuracies = [f"{name} {value_text(value, 'share')}" for name, value in _accuracies(measured)]
    trust = f"its accuracy: {', '.join(accuracies)}" if accuracies else "its accuracy: not stated by the judge"
    return f"judge: {judges['judge']} ({judges['decision']}); {trust}"


def encoder_text(judges: Mapping[str, Any]) -> str:
    """Say what measured relevance."""
    if judges["encoder"] is None:
        return f"relevance: not measured: {judges['why_no_encoder']}"
    return f"relevance: cosine by the sentence encoder {judges['encoder']}"


def _accuracies(card: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Return every accuracy of a judge's card, by its place in it."""
    found: list[tuple[str, float]] = []
    for name, value in card.items():
        place = f"{prefix} {name}".strip()
        if isinstance(value, Mapping):
            found += _accuracies(value, place)
        elif "accuracy" in place and isinstance(value, int | float):
            found.append((place.replace("accuracy", "").strip(" _") or "all", float(value)))
    return found


def _benchmark_tables(benchmark: Mapping[str, Any]) -> list[Table]:
    name = benchmark["name"]
    title = f"{TITLES[name]}: {benchmark['source']}, {benchmark['split']}"
    tables = []
    if benchmark["overall"] or name not in _NO_OVERALL:
        tables.append(_overall_table(title, benchmark))
    for label, metrics in _GROUPS.get(name, _GROUPS["convai2"]):
        shown = [metric for metric in metrics if any(metric in row["metrics"] for row in benchmark["rows"])]
        if shown:
            tables.append(_figures_table(f"{title}: {label}", benchmark, shown))
    if name in {"probes", "derived"}:
        tables.append(_turns_table(title, benchmark))
    elif name == "qa":
        tables.append(questions_by_turn(title, benchmark["rows"]))
    elif name == "selfchat":
        why = " ".join([*_absences(benchmark, (*MEASURES, *KEYWORD_MEASURES)), *benchmark["notes"]])
        tables += drift_tables(title, benchmark["rows"], why)
    tables.append(_differences_table(title, benchmark))
    if benchmark["published"]:
        tables.append(_published_table(title, benchmark))
    return tables


def _figures_table(title: str, benchmark: Mapping[str, Any], metrics: Sequence[str]) -> Table:
    head = ["contender", *(label_of(metric).head for metric in metrics), "n"]
    rows = []
    for row in benchmark["rows"]:
        found = [row["metrics"].get(metric) for metric in metrics]
        counts = dict.fromkeys(str(figure["n"]) for figure in found if figure)
        if counts:
            cells = [figure_text(figure, label_of(metric).unit) for metric, figure in zip(metrics, found, strict=True)]
            rows.append((row_name(row), *cells, "/".join(counts)))
    return Table(title, head, rows, note=" ".join([*_absences(benchmark, metrics), *benchmark["notes"]]) or None)


def _turns_table(title: str, benchmark: Mapping[str, Any]) -> Table:
    by_row = {row_name(row): turns_of(row["metrics"]) for row in benchmark["rows"]}
    turns = sorted({turn for found in by_row.values() for turn in found})
    rows = [
        (name, *(figure_text(found.get(turn), "share") for turn in turns)) for name, found in by_row.items() if found
    ]
    head = ("contender", *(f"turn {turn}" for turn in turns))
    return Table(f"{title}: consistent answers by turn", head, rows, missing=f"nobody has {TURN_METRIC}k")


def _overall_table(title: str, benchmark: Mapping[str, Any]) -> Table:
    heading = f"{title}: overall reading"
    if not benchmark["overall"]:
        return Table(heading, missing=benchmark["why_no_overall"])
    rows = []
    for row in benchmark["overall"]:
        parts = [value_text(row["components"][name], "share") for name in row["components"]]
        if row["kind"] == "ceiling":
            place, remark = "–", "people: the yardstick"
        elif row["exposed"]:
            place, remark = "–", f"exposed: {'; '.join(row['exposed'])}"
        else:
            place = str(row["place"])
            remark = "" if row["place"] == 1 else "not told from the first" if row["as_good_as_best"] else ""
        rows.append((place, row_name(row), figure_text(row["score"], "share"), *parts, remark))
    head = ("place", "contender", "score", *benchmark["overall"][0]["components"], "remark")
    note = (
        "Each component as the share of what people reach on the same items, at most 100 %; the score is their "
        "geometric mean. Exposed: relevance, originality (1 - copies) or variety (1 - repetition) below half of "
        "people's; such a row has no place."
    )
    return Table(heading, head, rows, note=note)


def _differences_table(title: str, benchmark: Mapping[str, Any]) -> Table:
    heading = f"{title}: differences between models"
    if not benchmark["differences"]:
        return Table(heading, missing="fewer than two models were measured on the same items")
    rows = []
    for row in benchmark["differences"]:
        label, _, unit = label_of(row["metric"])
        verdict = "significant" if row["significant"] else "not told from chance"
        if row["excludes_zero"] and not row["significant"]:
            verdict = "interval without 0, but not among so many comparisons"
        rows.append(
            (f"{row['first']} - {row['second']}", label, figure_text(row, unit), f"{row['p_holm']:.3g}", verdict)
        )
    head = ("models", "figure", "difference", "p (Holm)", "")
    return Table(heading, head, rows, note=f"{benchmark['differences_are']}.".capitalize())


def _published_table(title: str, benchmark: Mapping[str, Any]) -> Table:
    rows = []
    for row in benchmark["published"]:
        value = f"{row['value']:g}"
        if row["low"] is not None:
            value = f"{row['value']:.2f} ({row['low']:.2f}–{row['high']:.2f})"
        source = "; ".join(part for part in (row["source"], row["note"]) if part)
        rows.append((row["metric"], row["unit"], row["split"], row["system"], value, row["kind"], source))
    head = ("figure", "unit", "split", "system", "value", "", "source")
    note = (
        "Ours stand here only where metric, unit, data set and split agree; elsewhere they are not measured on that "
        f"benchmark. This file: {benchmark['split']}, {benchmark['items']} items."
    )
    return Table(f"{title}: published figures", head, rows, note=note)


def _absences(benchmark: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    """Say once for each reason who lacks which of the figures shown, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in benchmark["rows"]:
        for metric, why in row["absent"].items():
            if metric in metrics or metric == "replies":
                reasons.setdefault((metric, why), []).append(row["contender"])
    said: dict[tuple[str, str], list[str]] = {}
    for (metric, why), names in reasons.items():
        label = "replies" if metric == "replies" else label_of(metric).text
        said.setdefault((", ".join(names), why), []).append(label)
    lines = [f"{', '.join(labels)} of {names}: not measured: {why}." for (names, why), labels in said.items()]
    return [line[0].upper() + line[1:] for line in lines]


def _settings_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value}" if isinstance(value, str) else f"{name} {value:g}" for name, value in settings.items()
    )
