"""How figures look in print."""

from __future__ import annotations

import pytest

from personatune.report.figures import duration_text, figure_text, memory_text, money_text, turns_of, value_text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.8325, "share", "83.2 %"),
        (-0.5, "share", "-50.0 %"),
        (None, "share", "–"),
        (3.21, "number", "3.21"),
        (0.049, "number", "0.0490"),
        (0.0, "number", "0.00"),
        (24, "number", "24"),
        (14.04, "number", "14.0"),
        (0.4, "number", "0.400"),
        (123.456, "number", "123.5"),
        (12345.6, "number", "12346"),
    ],
)
def test_a_value_is_printed_in_its_unit(value: float | None, unit: str, text: str) -> None:
    assert value_text(value, unit) == text


def test_a_figure_carries_its_interval_where_it_has_one() -> None:
    assert figure_text({"value": 0.5, "low": 0.25, "high": 0.75, "n": 4}, "share") == "50.0 % (25.0–75.0)"
    assert figure_text({"value": -0.05, "low": -0.1, "high": -0.01}, "share") == "-5.0 % (-10.0 to -1.0)"
    assert figure_text({"value": 0.5}, "share") == "50.0 %"
    assert figure_text(None, "share") == "–"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2 s"), (42.4, "42 s"), (59.7, "1 min 00 s"), (3599.6, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_memory_and_money_carry_their_units() -> None:
    assert memory_text(1.5 * 2**30) == "1.50 GiB"
    assert money_text(0.01234, "USD") == "0.0123 USD"
    assert money_text(None, "USD") == "unpriced"


def test_turns_are_ordered_by_number_not_by_name() -> None:
    metrics = {f"multi_turn_consistency_{turn}": {"value": turn / 10} for turn in (10, 2, 1)}
    assert list(turns_of({**metrics, "bleu": {"value": 1}})) == [1, 2, 10]
