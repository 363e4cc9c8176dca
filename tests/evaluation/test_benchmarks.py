"""Published figures: each with its source, and side by side only with their like."""

from __future__ import annotations

import json

import pytest

from personatune.errors import UserError
from personatune.evaluation.benchmarks import NOT_MEASURED, BenchmarkEvaluator
from personatune.intervals import Estimate

F1 = Estimate(15.0, 13.0, 17.0, 40)


def test_every_published_figure_has_unit_and_source():
    figures = BenchmarkEvaluator().published
    assert len(figures) > 50
    assert all(figure.source and figure.unit and figure.dataset and figure.split for figure in figures)


def test_the_known_rows_are_there():
    found = {(figure.system, figure.metric): figure.value for figure in BenchmarkEvaluator().published}
    assert found["TransferTransfo", "f1"] == 19.09
    assert found["BlenderBot3-3B", "contradict_1"] == 30.6
    assert found["human replies", "c_score"] == 0.33


def test_the_often_repeated_figures_without_a_source_are_not():
    systems = " ".join(figure.system for figure in BenchmarkEvaluator().published)
    for unsourced in ("DialoGPT", "PersonaGPT", "BlenderBot-400M"):
        assert unsourced not in systems
    assert not any("consistency" in figure.metric for figure in BenchmarkEvaluator().published)


def test_perplexities_of_different_units_are_different_benchmarks():
    units = {item.unit for item in BenchmarkEvaluator().benchmarks() if item.metric == "perplexity"}
    assert {"per word", "per BPE token", "per GPT-2 token"} <= units


def test_a_figure_from_other_data_never_stands_beside_a_published_one():
    rows = BenchmarkEvaluator().compare({"sft": {"f1": F1}})
    ours = [row for row in rows if row.system == "sft"]
    assert ours
    assert {row.text for row in ours} == {NOT_MEASURED}


def test_a_figure_from_the_same_benchmark_does():
    evaluator = BenchmarkEvaluator()
    place = next(item for item in evaluator.benchmarks() if item.metric == "f1")
    rows = evaluator.compare({"base": {}, "sft": {"f1": F1}}, {"f1": place})
    beside = [row for row in rows if row.benchmark == place]
    assert [row.text for row in beside[:2]] == [NOT_MEASURED, "15.00 [13.00, 17.00], n = 40"]
    assert "P²Bot" in {row.system for row in beside}
    assert sum(row.kind == "measured" for row in rows) == 1
    json.dumps([row.to_json() for row in rows], allow_nan=False)


def test_a_table_with_a_figure_without_source_is_refused(tmp_path):
    row = {"system": "x", "metric": "f1", "value": 1.0, "unit": "F1 x100", "dataset": "d", "split": "s"}
    place = tmp_path / "figures.json"
    place.write_text(json.dumps({"figures": [row]}), encoding="utf-8")
    with pytest.raises(UserError, match=r"figure 1: source is missing"):
        BenchmarkEvaluator(place)
