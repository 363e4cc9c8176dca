"""Money comes from a table whose every price has a source; savings are what they are, also when negative."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from personatune.costs.meter import MetricsTracker, StageCost
from personatune.costs.savings import GIB, Bill, PriceTable, compare_bills
from personatune.errors import UserError


def _table(tmp_path: Path, **changes: Any) -> Path:
    row = {"name": "small", "kind": "cpu", "memory_gib": 4, "price_per_hour": 0.1, "retrieved": "2026-01-31"}
    large = {**row, "name": "large", "memory_gib": 16, "price_per_hour": 0.36, "source": "list"}
    table = {
        "currency": "USD",
        "machines": [{**row, "source": "list", **changes}, large],
        "storage": {"price_per_gib_month": 0.02, "retrieved": "2026-01-31", "source": "list"},
    }
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(table), encoding="utf-8")
    return file


def test_every_packaged_price_has_a_date_and_a_source() -> None:
    raw = json.loads((resources.files("personatune.costs") / "prices.json").read_text(encoding="utf-8"))
    table = PriceTable.load()
    assert len(table.machines) == len(raw["machines"]) >= 8
    for machine in table.machines:
        assert machine.retrieved.year >= 2026
        assert "github.com/" in machine.source or "https://" in machine.source
        assert machine.price_per_hour > 0
    assert "https://" in table.storage_source


def test_a_t4_costs_35_cents_an_hour() -> None:
    machine = PriceTable.load().cheapest("gpu", 12 * GIB)
    assert (machine.name, machine.price_per_hour, machine.memory_gib) == ("T4", 0.35, 16)


def test_the_cheapest_machine_that_holds_the_peak_is_taken(tmp_path: Path) -> None:
    prices = PriceTable.load(_table(tmp_path))
    assert prices.cheapest("cpu", 4 * GIB).name == "small"
    assert prices.cheapest("cpu", 4 * GIB + 1).name == "large"
    with pytest.raises(UserError, match=r"no cpu machine holds the measured peak of 17\.0 GiB"):
        prices.cheapest("cpu", 17 * GIB)
    with pytest.raises(UserError, match="no gpu machine"):
        prices.cheapest("gpu", 1)


def test_money_is_hours_times_price_plus_a_month_of_storage(tmp_path: Path) -> None:
    tracker = MetricsTracker(prices=PriceTable.load(_table(tmp_path)))
    half_hour = StageCost("sft", wall_seconds=1800, cpu_seconds=0, peak_memory_bytes=3 * GIB, bytes_stored=5 * GIB)
    assert tracker.track_cost(half_hour) == pytest.approx(0.5 * 0.1 + 5 * 0.02)


def test_two_gpus_cost_twice_as_much() -> None:
    tracker = MetricsTracker()
    cost = StageCost("ppo", wall_seconds=3600, cpu_seconds=0, peak_memory_bytes=9 * GIB, device="gpu", devices=2)
    assert tracker.track_cost(cost) == pytest.approx(0.70)


def test_savings_are_shares_of_the_conventional_way(tmp_path: Path) -> None:
    tracker = MetricsTracker(prices=PriceTable.load(_table(tmp_path)))
    ours = StageCost("lora", wall_seconds=900, cpu_seconds=0, peak_memory_bytes=2 * GIB)
    conventional = StageCost("full", wall_seconds=3600, cpu_seconds=0, peak_memory_bytes=8 * GIB)
    savings = tracker.calculate_savings(ours, conventional)
    assert savings.time_saved == pytest.approx(0.75)
    assert savings.memory_saved == pytest.approx(0.75)
    assert savings.cost_saved == pytest.approx(1 - (0.25 * 0.1) / 0.36)  # the larger peak needs the larger machine
    assert (savings.ours.wall_seconds, savings.conventional.wall_seconds) == (900, 3600)


def test_a_loss_is_shown_as_a_loss() -> None:
    ours, conventional = Bill(300, 30, 0.3, "USD"), Bill(200, 20, 0.1, "USD")
    savings = compare_bills(ours, conventional)
    assert savings.time_saved == pytest.approx(-0.5)
    assert savings.memory_saved == pytest.approx(-0.5)
    assert savings.cost_saved == pytest.approx(-2.0)


def test_against_nothing_nothing_can_be_said() -> None:
    assert compare_bills(Bill(1, 1, 1.0, "USD"), Bill(0, 0, 0.0, "USD")).time_saved is None


def test_stages_one_after_the_other_add_their_times_and_share_their_peak(tmp_path: Path) -> None:
    tracker = MetricsTracker(prices=PriceTable.load(_table(tmp_path)))
    stages = [StageCost("sft", 100, 0, 3 * GIB), StageCost("ppo", 300, 0, 2 * GIB)]
    savings = tracker.calculate_savings(stages, StageCost("full", 800, 0, 4 * GIB))
    assert savings.time_saved == pytest.approx(0.5)
    assert savings.memory_saved == pytest.approx(0.25)


def test_two_currencies_are_not_compared() -> None:
    with pytest.raises(UserError, match="EUR against USD"):
        compare_bills(Bill(1, 1, 1, "EUR"), Bill(1, 1, 1, "USD"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": ""}, "machine 1: source = '', expected text"),
        ({"retrieved": "last year"}, "machine 1: retrieved = 'last year', expected a date"),
        ({"price_per_hour": "cheap"}, "machine 1: price_per_hour = 'cheap', expected a number"),
        ({"price_per_hour": -1}, "machine 1: price_per_hour = -1, expected a number of 0 or more"),
        ({"memory_gib": 10**400}, "machine 1: memory_gib = 1.*0, expected a number of 0 or more"),
        ({"kind": "tpu"}, "machine 1: kind = 'tpu', expected cpu or gpu"),
        ({"currency": "EUR"}, "machine 1: currency EUR, expected USD"),
    ],
)
def test_a_price_table_with_a_wrong_row_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PriceTable.load(_table(tmp_path, **changes))


def test_a_file_that_is_no_price_table_is_named(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match=r"prices\.json: expected an object with machines"):
        PriceTable.load(file)
    with pytest.raises(UserError, match="no such file"):
        PriceTable.load(tmp_path / "missing.json")
