"""How threads wait for each other: spinning on a quiet machine, asleep wherever that would hold cores from others."""

from __future__ import annotations

import psutil
import pytest

from personatune.cli.options import QUIET, wait_policy


def _others_use(monkeypatch: pytest.MonkeyPatch, percent: float) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: percent)


def test_threads_spin_during_long_work_on_a_quiet_machine(monkeypatch):
    _others_use(monkeypatch, QUIET - 1)
    assert wait_policy(long_work=True) == "ACTIVE"


def test_threads_sleep_beside_other_work(monkeypatch):
    _others_use(monkeypatch, QUIET)
    assert wait_policy(long_work=True) == "PASSIVE"


def test_a_chat_never_holds_the_cores_while_it_waits_for_its_user(monkeypatch):
    _others_use(monkeypatch, 0)
    assert wait_policy(long_work=False) == "PASSIVE"


def test_several_processes_on_one_machine_never_spin_against_each_other(monkeypatch):
    _others_use(monkeypatch, 0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert wait_policy(long_work=True) == "PASSIVE"
