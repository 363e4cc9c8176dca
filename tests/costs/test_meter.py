"""The ledger knows what each stage took, over interrupts and resumes."""

from __future__ import annotations

import json
import mmap
import time
from pathlib import Path

import pytest

from personatune.costs.memory import PeakMemory
from personatune.costs.meter import MetricsTracker, StageCost, add_costs, joint_peak, measure_matmul_peak
from personatune.errors import UserError

MIB = 2**20


def fill_and_free(size: int) -> None:
    """Fill pages of the kernel's own: a bytearray might lie in what the heap kept of earlier tests."""
    with mmap.mmap(-1, size) as pages:
        for place in range(0, size, mmap.PAGESIZE):
            pages[place] = 1
        time.sleep(0.15)  # a sampler looks every 50 ms


def test_a_stage_counts_its_time_and_its_work() -> None:
    tracker = MetricsTracker()
    with tracker.stage("sft") as meter:
        time.sleep(0.05)
        meter.add(tokens_trained=100, flops=2e9)
        meter.add(tokens_trained=20, tokens_generated=7, flops=1e9, bytes_stored=512)
    cost = tracker.costs()["sft"]
    assert 0.05 <= cost.wall_seconds < 1
    assert cost.cpu_seconds < cost.wall_seconds  # asleep, a process uses no processor
    assert (cost.tokens_trained, cost.tokens_generated, cost.flops, cost.bytes_stored) == (120, 7, 3e9, 512)


def test_start_and_stop_measure_like_the_block() -> None:
    tracker = MetricsTracker()
    tracker.start("reward").add(tokens_trained=3)
    cost = tracker.stop("reward")
    assert cost.tokens_trained == 3
    assert cost == tracker.costs()["reward"]


def test_only_a_started_stage_can_stop_and_only_one_runs() -> None:
    tracker = MetricsTracker()
    with pytest.raises(RuntimeError, match="never started"):
        tracker.stop("ppo")
    tracker.start("ppo")
    with pytest.raises(RuntimeError, match="still measured"):
        tracker.start("sft")


def test_an_interrupted_and_resumed_stage_adds_up(tmp_path: Path) -> None:
    ledger = tmp_path / "costs.jsonl"
    tracker = MetricsTracker(ledger)

    def interrupted_stage() -> None:
        with tracker.stage("ppo") as meter:
            meter.add(tokens_generated=40, flops=1e6, bytes_stored=1000)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_stage()
    resumed = MetricsTracker(ledger)  # a new process reads the old ledger
    with resumed.stage("ppo") as meter:
        meter.add(tokens_generated=60, flops=2e6, bytes_stored=1500)
    cost = resumed.costs()["ppo"]
    segments = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    assert [row["interrupted"] for row in segments] == [1, 0]
    assert (cost.segments, cost.interrupted) == (2, 1)
    assert (cost.tokens_generated, cost.flops) == (100, 3e6)
    assert cost.bytes_stored == 1500  # the resumed stage wrote its files again
    assert cost.wall_seconds == pytest.approx(sum(row["wall_seconds"] for row in segments))
    assert cost.peak_memory_bytes == max(row["peak_memory_bytes"] for row in segments)


def test_a_stage_that_starts_over_forgets_its_segments(tmp_path: Path) -> None:
    tracker = MetricsTracker(tmp_path / "costs.jsonl")
    for stage in ("sft", "ppo"):
        with tracker.stage(stage):
            pass
    tracker.forget("sft")
    assert list(tracker.costs()) == ["ppo"]
    assert list(MetricsTracker(tmp_path / "costs.jsonl").costs()) == ["ppo"]


def test_peak_memory_is_of_this_stage_and_not_of_the_one_before() -> None:
    tracker = MetricsTracker()
    with tracker.stage("large"):
        fill_and_free(200 * MIB)
    with tracker.stage("small"):
        inside = tracker.track_memory()
    costs = tracker.costs()
    assert costs["large"].peak_memory_bytes - costs["small"].peak_memory_bytes > 150 * MIB
    assert tracker.track_memory() == costs["small"].peak_memory_bytes
    assert inside <= costs["small"].peak_memory_bytes


def test_where_the_kernel_does_not_tell_the_peak_it_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personatune.costs.memory._reset_high_water", lambda: False)
    memory = PeakMemory()
    memory.start()
    before = memory.peak()
    fill_and_free(200 * MIB)
    assert memory.stop() - before > 150 * MIB


def test_the_share_of_the_matmul_peak_is_flops_per_second_over_it() -> None:
    cost = StageCost("sft", wall_seconds=10, cpu_seconds=20, peak_memory_bytes=1, flops=5e12, matmul_peak=1e12)
    assert cost.matmul_share == pytest.approx(0.5)
    assert StageCost("sft", 10, 20, 1, flops=5e12).matmul_share is None


def test_the_measured_matmul_peak_is_a_rate_a_plain_product_reaches() -> None:
    import torch

    peak = measure_matmul_peak(seconds=0.1, size=512)
    left = torch.randn(512, 512)
    begin = time.perf_counter()
    torch.mm(left, left)
    assert peak >= 0.2 * 2 * 512**3 / (time.perf_counter() - begin)


def test_costs_survive_json() -> None:
    cost = StageCost("sft", 1.5, 2.5, 10, tokens_trained=3, flops=6.0, matmul_peak=8.0, money=0.1, currency="USD")
    assert StageCost.from_json(json.loads(json.dumps(cost.to_json()))) == cost


def test_adding_up_keeps_sums_and_the_highest_peak() -> None:
    total = add_costs("all", [StageCost("a", 1, 2, 30, tokens_trained=4), StageCost("b", 5, 6, 20, tokens_trained=7)])
    assert (total.wall_seconds, total.cpu_seconds, total.peak_memory_bytes, total.tokens_trained) == (6, 8, 30, 11)


def test_what_other_processes_did_for_a_stage_is_in_its_cost() -> None:
    tracker = MetricsTracker()
    other = StageCost("", 50.0, 30.0, 7 * MIB, tokens_trained=5, tokens_generated=2, flops=1e9, bytes_stored=99)
    with tracker.stage("ppo") as meter:
        meter.add(tokens_trained=10, flops=2e9)
        own = meter.peak_memory()
        meter.include(other)
    cost = tracker.costs()["ppo"]
    assert cost.wall_seconds < 40  # they ran side by side
    assert cost.cpu_seconds > 30
    assert cost.peak_memory_bytes >= own + 7 * MIB
    assert (cost.tokens_trained, cost.tokens_generated, cost.flops, cost.bytes_stored) == (15, 2, 3e9, 0)


def test_processes_share_a_machines_memory_but_each_gpu_has_its_own() -> None:
    assert joint_peak("cpu", [3, 4]) == 7
    assert joint_peak("gpu", [3, 4]) == 4


def test_a_ledger_of_something_else_is_named(tmp_path: Path) -> None:
    ledger = tmp_path / "costs.jsonl"
    ledger.write_text('{"colour": "blue"}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"costs\.jsonl: a row is no cost segment"):
        MetricsTracker(ledger)
