"""The comparison of methods as tables: every pair once, with its sign."""

from __future__ import annotations

from typing import Any

from personatune.report.method_page import method_tables


def comparison(*names: str) -> dict[str, Any]:
    methods = [
        {
            "method": name,
            "training_seconds": 10.0,
            "reward_model_seconds": 0.0,
            "seconds_per_reply": 0.1,
            "tokens_per_reply": 9.0,
            "metrics": {"probe_consistency": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 12}},
        }
        for name in names
    ]
    figure = {"value": 0.05, "low": 0.01, "high": 0.09, "n": 12}
    differences = [
        {
            "method": name,
            "other": other,
            "metrics": {"probe_consistency": figure, "contradiction_rate": {**figure, "value": -0.02, "low": -0.05}},
        }
        for place, name in enumerate(names)
        for other in names[:place]
    ]
    return {"methods": methods, "differences": differences, "seconds": 60.0}


def test_each_pair_of_methods_stands_once_row_less_column() -> None:
    *_, consistent, contradicting = method_tables(comparison("sft", "dpo", "ppo"))

    assert consistent.title == "Differences: consistent answers"
    assert tuple(consistent.head) == ("row less column", "sft", "dpo")
    told = "+5.0 (1.0 to 9.0) ✱"
    assert [tuple(row) for row in consistent.rows] == [("dpo", told, ""), ("ppo", told, told)]
    assert [row[1] for row in contradicting.rows] == ["-2.0 (-5.0 to 9.0)"] * 2


def test_a_method_alone_has_no_differences() -> None:
    assert [table.title for table in method_tables(comparison("dpo"))] == [
        "Consistency against seconds",
        "What it may have been bought with",
    ]
