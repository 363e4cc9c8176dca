"""Several processes train one model: each does its share of every batch, and all end up with the same weights.

Start them with ``accelerate launch`` (docs/distributed.md). Every process draws the same global batches, works on the
rows it owns, and sums of losses and gradients over all processes stand where a single process has its own: the result
is that of one process, up to the order in which floating-point numbers are added.

Torch's `DistributedDataParallel` wants one forward pass of a wrapped module a step. The trainers call parts of a
model instead, several times a step, so gradients are summed here, after the last backward pass of a step. What is
trained are adapters of a few megabytes; hiding their transfer behind the backward pass would gain nothing.

Alone, every method returns at once what it was given.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from personatune.errors import ToldElsewhereError, UserError
from personatune.launch import launched_processes
from personatune.training.checkpoints import Checkpoint, CheckpointManager, capture_rng, restore_rng
from personatune.training.sharding import shard_frozen_layers, whole_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Strategy = Literal["auto", "ddp", "fsdp"]
T = TypeVar("T")

_PATIENCE = timedelta(days=7)
"""How long a process waits for another: stages that one process runs alone may take hours."""
_BUCKET_NUMBERS = 2**23
"""Gradients that travel together: 32 MB of float32."""


class Processes:
    """The processes that train together, as one of them sees them.

    Attributes:
        rank: this one's number, from 0 on.
        count: how many there are.
        sharded: whether frozen layers are spread over the processes (FSDP) instead of held by each (DDP).
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count
        self.sharded = False
        self._talk: Any = None  # a group of its own on the CPU: waiting in it keeps no GPU busy
        if count > 1:
            self._talk = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)

    @property
    def alone(self) -> bool:
        return self.count == 1

    @property
    def main(self) -> bool:
        """Say whether this is the process that writes files, prints and tracks."""
        return self.rank == 0

    def choose(self, strategy: Strategy) -> None:
        """Choose how models are held; "auto" is FSDP where accelerate was told ``--use_fsdp``, else DDP."""
        asked = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
        self.sharded = not self.alone and (strategy == "fsdp" or (strategy == "auto" and asked))

    # Who does what

    def own(self, items: Sequence[T]) -> list[T]:
        """Return this process's share: every ``count``-th item."""
        return list(items[self.rank :: self.count])

    def evenly(self, parts: Sequence[T], spare: Callable[[], T]) -> Iterator[tuple[T, float]]:
        """Yield each part with the factor 1, or a spare with 0 where there is none: every process has gradients.

        Sharded layers are gathered by all processes together: there spares follow until all made equally many passes.
        """
        most = max(1, *self.gather(len(parts))) if self.sharded else 1  # asked first: a pass waits for the others'
        yield from ((part, 1.0) for part in parts)
        yield from ((spare(), 0.0) for _ in range(most - len(parts)))

    # What they tell each other

    def wait(self) -> None:
        """Wait until all are here."""
        if not self.alone:
            torch.distributed.barrier(group=self._talk)

    def gather(self, value: T) -> list[T]:
        """Return every process's value, in their order."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(values, value, group=self._talk)
        return values

    def in_order(self, own: Sequence[T]) -> list[T]:
        """Put the results of everybody's `own` share together, in the order of the whole."""
        if self.alone:
            return list(own)
        shares = self.gather(list(own))
        return [shares[place % self.count][place // self.count] for place in range(sum(map(len, shares)))]

    def any(self, flag: bool) -> bool:
        """Say whether the flag is set in one of them."""
        return flag if self.alone else self.total(float(flag)) > 0

    def total(self, value: float) -> float:
        """Return the sum of everybody's value."""
        return value if self.alone else float(self.summed(torch.tensor(value, dtype=torch.float64)))

    def totals(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the sums of everybody's values, name by name; all name the same ones."""
        if self.alone:
            return dict(values)
        sums = self.summed(torch.tensor([values[name] for name in sorted(values)], dtype=torch.float64))
        return dict(zip(sorted(values), sums.tolist(), strict=True))

    def summed(self, values: Tensor) -> Tensor:
        """Return the sum of everybody's tensors of one shape."""
        if self.alone:
            return values
        sums = values.detach().to("cpu", copy=True)
        torch.distributed.all_reduce(sums, group=self._talk)
        return sums.to(values.device)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by the sum of everybody's; one that is missing counts as zero."""
        if self.alone:
            return
        for bucket in _buckets(parameters):
            gradients = [weight.grad if weight.grad is not None else torch.zeros_like(weight) for weight in bucket]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            torch.distributed.all_reduce(flat)
            for weight, part in zip(bucket, flat.split([weight.numel() for weight in bucket]), strict=True):
                weight.grad = part.view_as(weight)

    def from_main(self, make: Callable[[], T]) -> T:
        """Let the main process alone compute something and give it to all, its errors too."""
        if self.alone:
            return make()
        sent: list[Any] = [None, None]
        failure: BaseException | None = None
        if self.main:
            try:
                sent = ["value", make()]
            except BaseException as error:
                failure, sent = error, [type(error).__name__, str(error)]
        torch.distributed.broadcast_object_list(sent, src=0, group=self._talk)
        if failure is not None:
            raise failure
        kind, value = sent
        if kind == "value":
            return cast(T, value)
        if kind == "KeyboardInterrupt":
            raise KeyboardInterrupt
        raise (
            ToldElsewhereError(value)
            if kind == "UserError"
            else RuntimeError(f"the main process failed: {kind}: {value}")
        )

    def align(self, parameters: Iterable[Tensor]) -> None:
        """Give everybody the main process's weights: equal gradients move them equally but for the last bits."""
        if not self.alone:
            for weight in parameters:
                torch.distributed.broadcast(weight.data, src=0)

    # Models and files

    def shard(self, model: PreTrainedModel) -> None:
        """Spread a model's frozen layers over the processes, where that is the strategy; once is enough."""
        if self.sharded:
            shard_frozen_layers(model)

    @contextmanager
    def whole(self, model: PreTrainedModel) -> Iterator[None]:
        """Hold all layers in every process inside the block: for sampling and measuring, each at its own pace."""
        if not self.sharded:
            yield
            return
        with whole_layers(model):
            yield

    def folder(self, shared: Path) -> Path:
        """Return a folder of this process's own beside one that the main process has to itself."""
        return shared if self.main else shared.with_name(f"{shared.name}-{self.rank}")

    def checkpoints(self, directory: Path, keep_last: int = 2, **options: Any) -> CheckpointManager:
        """Return the checkpoints that all of them share; ``options`` are those of `CheckpointManager`."""
        if self.alone:
            return CheckpointManager(directory, keep_last, **options)
        return SharedCheckpoints(self, directory, keep_last, **options)

    def capture_rng(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everybody's random state for a checkpoint, the others' under the numbers of their processes."""
        if self.alone:
            return capture_rng()
        tensors: dict[str, Tensor] = {}
        state: dict[str, Any] = {}
        for rank, (own_tensors, own_state) in enumerate(self.gather(capture_rng())):
            tensors |= {_of_rank(name, rank): tensor for name, tensor in own_tensors.items()}
            state |= {_of_rank(name, rank): value for name, value in own_state.items()}
        return tensors, state

    def restore_rng(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Restore this process's random state; one that is new since then gets a seed drawn from the main one's."""
        known = _of_rank("torch", self.rank) in tensors
        rank = self.rank if known else 0
        restore_rng(_part_of_rank(tensors, rank), _part_of_rank(state, rank))
        if not known:
            self.seed(int(torch.randint(2**31, ()).item()))

    def seed(self, seed: int) -> None:
        """Seed torch's own generator (it draws dropout), differently in every process.

        Whatever this process drew before, a killed one that begins again draws the same.
        """
        torch.manual_seed(hash((seed, self.rank)) & 0x7FFFFFFF)


class SharedCheckpoints(CheckpointManager):
    """Checkpoints of several processes: the main one writes, all read, none before what is read is written."""

    def __init__(self, processes: Processes, directory: Path, keep_last: int = 2, **options: Any) -> None:
        super().__init__(directory, keep_last, **options)
        self.processes = processes

    def save(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        state: Mapping[str, Any],
        *,
        best: bool = False,
        sound: bool = False,
    ) -> Path:
        if self.processes.main:
            return super().save(step, tensors, state, best=best, sound=sound)
        self._note(step)
        return self._folder(step)

    @property
    def due(self) -> bool:
        return self.processes.any(super().due)

    def load_last(self) -> Checkpoint | None:
        return self._read(super().load_last)

    def load_best(self) -> Checkpoint | None:
        return self._read(super().load_best)

    def load_sound(self) -> Checkpoint | None:
        return self._read(super().load_sound)

    def drop_after(self, step: int) -> None:
        if self.processes.main:
            super().drop_after(step)

    def clear(self) -> None:
        if self.processes.main:
            super().clear()

    def _read(self, load: Callable[[], Checkpoint | None]) -> Checkpoint | None:
        self.processes.wait()  # until it is written
        found = load()
        self.processes.wait()  # until all have it, so that nobody writes or deletes meanwhile
        return found


_joined: Processes | None = None


def join_processes() -> Processes:
    """Return the processes that ``accelerate launch`` or ``torchrun`` started; alone without them.

    Raises:
        UserError: more processes on this machine than it has GPUs.
    """
    global _joined  # noqa: PLW0603  (there is one process group)
    if _joined is None:
        _joined = _join() if launched_processes() > 1 else Processes()
    return _joined


def _join() -> Processes:
    from accelerate import PartialState

    gpus, here = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    on_cpu = not gpus or os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    if not on_cpu and here > gpus:
        raise UserError(f"{here} processes on a machine with {gpus} GPUs; launch --num_processes {gpus}")
    state = PartialState(cpu=on_cpu, timeout=_PATIENCE)  # also makes this process's GPU the current one
    atexit.register(state.destroy_process_group)
    processes = Processes(state.process_index, state.num_processes)
    processes.choose("auto")
    return processes


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Cut parameters into runs of one number type and a bounded size."""
    bucket: list[nn.Parameter] = []
    numbers = 0
    for weight in parameters:
        if bucket and (numbers + weight.numel() > _BUCKET_NUMBERS or weight.dtype != bucket[0].dtype):
            yield bucket
            bucket, numbers = [], 0
        bucket.append(weight)
        numbers += weight.numel()
    if bucket:
        yield bucket


def _of_rank(name: str, rank: int) -> str:
    return f"{name}@{rank}" if rank else name


def _part_of_rank(named: Mapping[str, T], rank: int) -> dict[str, T]:
    return {
        name.partition("@")[0]: value
        for name, value in named.items()
        if name.partition("@")[2] == (str(rank) if rank else "")
    }


def in_turn(order: Sequence[int]) -> list[int]:
    """Let even and odd numbers take turns, each in the order given, what is left over at the end.

    Two processes own one kind each, so every batch is as much work for the one as for the other; the batches
    themselves don't depend on how many processes there are.
    """
    even, odd = ([number for number in order if number % 2 == kind] for kind in (0, 1))
    pairs = zip(even, odd, strict=False)
    shorter = min(len(even), len(odd))
    return [number for pair in pairs for number in pair] + even[shorter:] + odd[shorter:]
