"""Prices as data, what a stage would have cost at them, and our way against the conventional one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from personatune.errors import UserError
from personatune.storage import read_json

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Machine:
    """One row of the price table.

    Attributes:
        kind: "cpu" or "gpu".
        memory_gib: main memory, or the memory of the one GPU; GiB.
        price_per_hour: in the table's currency.
        retrieved: when the price was read, and ``source`` where.
    """

    name: str
    kind: str
    memory_gib: float
    price_per_hour: float
    retrieved: date
    source: str


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Machines and the price of storage, in one currency."""

    currency: str
    machines: tuple[Machine, ...]
    storage_per_gib_month: float
    storage_source: str

    @classmethod
    def load(cls, source: str | Path | None = None) -> PriceTable:
        """Read a price table; None is the packaged one (``costs/prices.json``, which shows the format).

        Raises:
            UserError: the file is missing or no JSON, or a row lacks a value or a source (names the row).
        """
        if source is None:
            with resources.as_file(resources.files("personatune.costs") / "prices.json") as packaged:
                return _table(read_json(packaged), str(packaged))
        return _table(read_json(Path(source)), str(source))

    def cheapest(self, kind: str, peak_bytes: int) -> Machine:
        """Return the cheapest machine of a kind whose memory holds the measured peak.

        Raises:
            UserError: no machine of the table is large enough.
        """
        fitting = [row for row in self.machines if row.kind == kind and row.memory_gib * GIB >= peak_bytes]
        if not fitting:
            raise UserError(
                f"price table: no {kind} machine holds the measured peak of {peak_bytes / GIB:.1f} GiB; "
                "name a table with a larger one: --set costs.price_table=prices.json"
            )
        return min(fitting, key=lambda row: row.price_per_hour)

    def money(self, machine: Machine, wall_seconds: float, bytes_stored: int, devices: int = 1) -> float:
        """Return hours x price per hour x devices + one month of storage for what the stage leaves behind."""
        return wall_seconds / 3600 * machine.price_per_hour * devices + bytes_stored / GIB * self.storage_per_gib_month


@dataclass(frozen=True, slots=True)
class Bill:
    """One side of a comparison: seconds, bytes at the peak, and money."""

    wall_seconds: float
    peak_memory_bytes: int
    money: float
    currency: str

    def to_json(self) -> dict[str, Any]:
        return {
            "wall_seconds": self.wall_seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
            "money": self.money,
            "currency": self.currency,
        }


@dataclass(frozen=True, slots=True)
class Savings:
    """What our way saved against the conventional one, as shares of the conventional; both sides are kept.

    A share is 1 - ours / conventional: 0.75 saved three quarters, -0.5 took half as much again. It is never clipped;
    it is None where the conventional side is zero, since nothing can be said.
    """

    time_saved: float | None
    cost_saved: float | None
    memory_saved: float | None
    ours: Bill
    conventional: Bill

    def to_json(self) -> dict[str, Any]:
        return {
            "time_saved": self.time_saved,
            "cost_saved": self.cost_saved,
            "memory_saved": self.memory_saved,
            "ours": self.ours.to_json(),
            "conventional": self.conventional.to_json(),
        }


def compare_bills(ours: Bill, conventional: Bill) -> Savings:
    """Return the shares of time, money and memory that ``ours`` saved against ``conventional``.

    Raises:
        UserError: the two bills are in different currencies.
    """
    if ours.currency != conventional.currency:
        raise UserError(f"savings: {ours.currency} against {conventional.currency}; price both from one table")
    return Savings(
        _saved(ours.wall_seconds, conventional.wall_seconds),
        _saved(ours.money, conventional.money),
        _saved(ours.peak_memory_bytes, conventional.peak_memory_bytes),
        ours,
        conventional,
    )


def _saved(ours: float, conventional: float) -> float | None:
    return 1 - ours / conventional if conventional else None


def _table(raw: Any, source: str) -> PriceTable:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("machines"), list) or not raw["machines"]:
        raise UserError(f"{source}: expected an object with machines, storage and currency, as in costs/prices.json")
    currency = raw.get("currency")
    if not isinstance(currency, str):
        raise UserError(f"{source}: currency = {currency!r}, expected a code like USD")
    machines = []
    for number, row in enumerate(raw["machines"], start=1):
        place = f"{source}, machine {number}"
        if not isinstance(row, Mapping):
            raise UserError(f"{place}: found {type(row).__name__}, expected an object")
        if row.get("currency", currency) != currency:
            raise UserError(f"{place}: currency {row['currency']}, expected {currency} as for the whole table")
        kind = _text(row, "kind", place)
        if kind not in {"cpu", "gpu"}:
            raise UserError(f"{place}: kind = {kind!r}, expected cpu or gpu")
        machines.append(
            Machine(
                _text(row, "name", place),
                kind,
                _number(row, "memory_gib", place),
                _number(row, "price_per_hour", place),
                _date(row, place),
                _text(row, "source", place),
            )
        )
    storage, place = raw.get("storage"), f"{source}, storage"
    if not isinstance(storage, Mapping):
        raise UserError(f"{place}: expected an object with price_per_gib_month, retrieved and source")
    _date(storage, place)
    return PriceTable(
        currency, tuple(machines), _number(storage, "price_per_gib_month", place), _text(storage, "source", place)
    )


def _text(row: Mapping[str, Any], key: str, place: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{place}: {key} = {value!r}, expected text")
    return value


def _number(row: Mapping[str, Any], key: str, place: str) -> float:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
        raise UserError(f"{place}: {key} = {value!r}, expected a number of 0 or more")
    return float(value)


def _date(row: Mapping[str, Any], place: str) -> date:
    try:
        return date.fromisoformat(_text(row, "retrieved", place))
    except ValueError:
        raise UserError(f"{place}: retrieved = {row['retrieved']!r}, expected a date like 2026-01-31") from None
