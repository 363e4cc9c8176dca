"""What each stage of a run took: time, memory, tokens, FLOPs, storage and money, added up over interrupts.

Every stretch of work is one line of the ledger (``costs.jsonl``), written even when the stage ends in an error or by
Ctrl-C, so that an interrupted and resumed stage costs what it really cost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from personatune.costs.memory import PeakMemory
from personatune.costs.savings import Bill, PriceTable, Savings, compare_bills
from personatune.errors import UserError
from personatune.storage import append_jsonl, read_jsonl, write_jsonl


@dataclass(frozen=True, slots=True)
class StageCost:
    """The cost of one stage: a single stretch of work, or several added up.

    Attributes:
        device: "cpu" or "gpu", the kind of machine whose memory was measured.
        cpu_seconds: of this process and all its threads, user and system.
        devices: GPUs in use (1 on the CPU); the price counts for each.
        peak_memory_bytes: the highest of the stretches; on GPUs that of the fullest device.
        flops: estimated by the stage itself.
        matmul_peak: FLOP/s of a large matrix product on this machine; None where it was not measured.
        bytes_stored: what the stage leaves on disk.
        money: hours x price of the cheapest machine that holds the peak + a month of storage; None while unpriced.
        segments: stretches of work in it, of which ``interrupted`` did not come to their end.
    """

    stage: str
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    device: str = "cpu"
    devices: int = 1
    tokens_trained: int = 0
    tokens_generated: int = 0
    flops: float = 0.0
    matmul_peak: float | None = None
    bytes_stored: int = 0
    money: float | None = None
    currency: str | None = None
    machine: str | None = None
    segments: int = 1
    interrupted: int = 0

    @property
    def matmul_share(self) -> float | None:
        """FLOPs a second as a share of the machine's measured matmul peak, or None without one."""
        if not self.matmul_peak or not self.wall_seconds or not self.flops:
            return None
        return self.flops / self.wall_seconds / self.matmul_peak

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "matmul_share": self.matmul_share}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> StageCost:
        return cls(**{key: value for key, value in row.items() if key != "matmul_share"})


class StageMeter:
    """Collects what a running stage does; a stage calls `add` as it goes."""

    def __init__(self) -> None:
        self.tokens_trained = 0
        self.tokens_generated = 0
        self.flops = 0.0
        self.bytes_stored = 0
        self._others: list[StageCost] = []
        self._memory = PeakMemory()
        self._memory.start()
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def add(
        self, *, tokens_trained: int = 0, tokens_generated: int = 0, flops: float = 0.0, bytes_stored: int = 0
    ) -> None:
        """Count some more work of this stage."""
        self.tokens_trained += tokens_trained
        self.tokens_generated += tokens_generated
        self.flops += flops
        self.bytes_stored += bytes_stored

    def peak_memory(self) -> int:
        """Return the peak since the stage began, in bytes."""
        return self._memory.peak()

    @property
    def device(self) -> str:
        """Return what kind of memory is measured: "cpu" or "gpu"."""
        return self._memory.device

    def include(self, other: StageCost) -> None:
        """Count what another process did for this stage meanwhile."""
        self._others.append(other)

    def so_far(self, stage: str = "") -> StageCost:
        """Return what this stretch took until now, still without a price; other processes' share is in it."""
        parts = self._others
        peaks = [self.peak_memory(), *(other.peak_memory_bytes for other in parts)]
        devices = [self._memory.devices(), *(other.devices for other in parts)]
        return StageCost(
            stage=stage,
            wall_seconds=time.perf_counter() - self._wall,
            cpu_seconds=time.process_time() - self._cpu + sum(other.cpu_seconds for other in parts),
            peak_memory_bytes=joint_peak(self.device, peaks),
            device=self.device,
            devices=sum(devices) if self.device == "gpu" else 1,
            tokens_trained=self.tokens_trained + sum(other.tokens_trained for other in parts),
            tokens_generated=self.tokens_generated + sum(other.tokens_generated for other in parts),
            flops=self.flops + sum(other.flops for other in parts),
            bytes_stored=self.bytes_stored,
        )

    def finish(self, stage: str, matmul_peak: float | None, *, interrupted: bool) -> StageCost:
        """Stop measuring and return what this stretch took, still without a price."""
        took = self.so_far(stage)
        self._memory.stop()
        return replace(took, matmul_peak=matmul_peak, interrupted=int(interrupted))


class MetricsTracker:
    """Measures the stages of a run and prices them.

    Args:
        ledger: the file that keeps the segments; None keeps them in memory only.
        prices: None is the packaged table.
        matmul_peak: FLOP/s from `measure_matmul_peak`, for the utilisation figure.
    """

    def __init__(
        self, ledger: Path | None = None, prices: PriceTable | None = None, matmul_peak: float | None = None
    ) -> None:
        self.prices = prices if prices is not None else PriceTable.load()
        self.matmul_peak = matmul_peak
        self._ledger = ledger
        self._segments: list[StageCost] = _read_ledger(ledger) if ledger is not None else []
        self._running: dict[str, StageMeter] = {}
        self._last_peak = 0

    def start(self, stage: str) -> StageMeter:
        """Begin to measure a stage. One stage runs at a time: peaks of memory can't be told apart."""
        if self._running:
            raise RuntimeError(f"costs: {stage} started while {next(iter(self._running))} is still measured")
        self._running[stage] = StageMeter()
        return self._running[stage]

    def stop(self, stage: str, *, interrupted: bool = False) -> StageCost:
        """End a stage, write its segment to the ledger and return what this segment took."""
        if stage not in self._running:
            raise RuntimeError(f"costs: {stage} stopped but never started")
        segment = self._running.pop(stage).finish(stage, self.matmul_peak, interrupted=interrupted)
        self._last_peak = segment.peak_memory_bytes
        self._segments.append(segment)
        if self._ledger is not None:
            append_jsonl(self._ledger, segment.to_json())
        return self._priced(segment)

    @contextmanager
    def stage(self, name: str) -> Iterator[StageMeter]:
        """Measure a block of work; its segment is written even when the block ends in an error or by Ctrl-C."""
        meter = self.start(name)
        try:
            yield meter
        except BaseException:
            self.stop(name, interrupted=True)
            raise
        self.stop(name)

    def costs(self) -> dict[str, StageCost]:
        """Return the cost of every stage, its segments added up and priced, in the order they first ran."""
        stages: dict[str, list[StageCost]] = {}
        for segment in self._segments:
            stages.setdefault(segment.stage, []).append(segment)
        return {stage: self._priced(add_costs(stage, segments)) for stage, segments in stages.items()}

    def forget(self, stage: str) -> None:
        """Drop the segments of a stage that starts over from nothing."""
        self._segments = [segment for segment in self._segments if segment.stage != stage]
        if self._ledger is not None:
            write_jsonl(self._ledger, [segment.to_json() for segment in self._segments])

    def track_memory(self) -> int:
        """Return the peak memory of the running stage (or of the last one), in bytes."""
        for meter in self._running.values():
            return meter.peak_memory()
        return self._last_peak

    def track_cost(self, cost: StageCost) -> float:
        """Return what a stage would have cost on the cheapest machine of its kind that holds its peak.

        Raises:
            UserError: no machine of the price table is large enough.
        """
        machine = self.prices.cheapest(cost.device, cost.peak_memory_bytes)
        return self.prices.money(machine, cost.wall_seconds, cost.bytes_stored, cost.devices)

    def calculate_savings(
        self, ours: StageCost | Sequence[StageCost], conventional: StageCost | Sequence[StageCost]
    ) -> Savings:
        """Return what ``ours`` saved against ``conventional``, each one stage or several added up.

        Several stages run one after the other: times and money add up, the peak is the highest.
        """
        return compare_bills(self._bill(ours), self._bill(conventional))

    def _bill(self, costs: StageCost | Sequence[StageCost]) -> Bill:
        stages = [costs] if isinstance(costs, StageCost) else list(costs)
        return Bill(
            sum(cost.wall_seconds for cost in stages),
            max((cost.peak_memory_bytes for cost in stages), default=0),
            sum(self.track_cost(cost) for cost in stages),
            self.prices.currency,
        )

    def _priced(self, cost: StageCost) -> StageCost:
        try:
            machine = self.prices.cheapest(cost.device, cost.peak_memory_bytes)
        except UserError:
            return cost  # stays without money; track_cost says why
        money = self.prices.money(machine, cost.wall_seconds, cost.bytes_stored, cost.devices)
        return replace(cost, money=money, currency=self.prices.currency, machine=machine.name)


def joint_peak(device: str, peaks: Sequence[int]) -> int:
    """Return what processes that run together need: on GPUs the fullest decides, on the CPU they share one memory."""
    return max(peaks) if device == "gpu" else sum(peaks)


def add_costs(stage: str, segments: Sequence[StageCost]) -> StageCost:
    """Add up segments under one name: sums, the highest peak, the last known matmul peak; money is left open."""
    if not segments:
        raise ValueError(f"{stage}: no segments to add up")
    return StageCost(
        stage=stage,
        wall_seconds=sum(one.wall_seconds for one in segments),
        cpu_seconds=sum(one.cpu_seconds for one in segments),
        peak_memory_bytes=max(one.peak_memory_bytes for one in segments),
        device=segments[-1].device,
        devices=max(one.devices for one in segments),
        tokens_trained=sum(one.tokens_trained for one in segments),
        tokens_generated=sum(one.tokens_generated for one in segments),
        flops=sum(one.flops for one in segments),
        matmul_peak=next((one.matmul_peak for one in reversed(segments) if one.matmul_peak), None),
        # A resumed stage writes its files again: what lies on disk is what the last segment left.
        bytes_stored=next((one.bytes_stored for one in reversed(segments) if one.bytes_stored), 0),
        segments=sum(one.segments for one in segments),
        interrupted=sum(one.interrupted for one in segments),
    )


def measure_matmul_peak(seconds: float = 1.0, size: int = 1536) -> float:
    """Return the FLOP/s of a large float32 matrix product, the best of those that fit in ``seconds``.

    A product of two ``size`` x ``size`` matrices counts as 2 * size^3 operations. On CUDA the first device is measured.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    left, right = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    best, deadline = float("inf"), time.perf_counter() + seconds
    torch.mm(left, right)  # the first product pays for threads and caches
    while True:
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        torch.mm(left, right)
        if device == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        best = min(best, now - begin)
        if now >= deadline:
            return 2 * size**3 / best


def _read_ledger(ledger: Path) -> list[StageCost]:
    if not ledger.exists():
        return []
    try:
        return [StageCost.from_json(row) for row in read_jsonl(ledger)]
    except TypeError as error:
        raise UserError(
            f"{ledger}: a row is no cost segment ({error}); delete the file to start a new ledger"
        ) from error
