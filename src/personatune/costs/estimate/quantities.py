"""What an estimate of memory is made from (architecture, lengths, place) and what it is made of (terms, moments)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

GIB = 2**30


@dataclass(frozen=True)
class Kept:
    """Bytes that autograd keeps of one token between the way forward and the way back.

    Attributes:
        layer: in each layer that has something to train.
        ends: outside the layers (embedding, last norm), less what the first layer needn't keep: can be below 0.
        scores: in each layer once more for each token of the row: attention with dropout (GPT-2 while it is trained)
            keeps its scores on a CPU; all other attention keeps none.
    """

    layer: float
    ends: float
    scores: float = 0.0


@dataclass(frozen=True)
class Architecture:
    """The numbers of a causal language model that memory depends on.

    Attributes:
        name: as the user gave it.
        parameters: of the whole model; a tied matrix counts once.
        layer_parameters: of one decoder layer.
        linear_parameters: of the linear maps of one layer: what 4-bit quantisation packs and decoding may copy.
        lora_width: sum of inputs and outputs of these maps: a LoRA adapter of rank r has r times as many numbers.
        cache_width: numbers in all key heads together; as many again are values.
        inner: width of the widest tensor in a layer.
        joined: numbers of the query, key and value matrices of a layer, where decoding on a CPU keeps them as one
            (`model/lean_decoder.py`); 0 where it runs on the library's layers.
        number_bytes: of a weight and of an activation (4 in float32).
        lora, branch, full: what autograd keeps of a token while LoRA, a branch with shared prompts, or every weight
            is trained.
    """

    name: str
    layers: int
    hidden: int
    vocabulary: int
    parameters: int
    layer_parameters: int
    linear_parameters: int
    lora_width: int
    cache_width: int
    inner: int
    number_bytes: int
    lora: Kept
    branch: Kept
    full: Kept
    joined: int = 0

    @property
    def cache_bytes(self) -> int:
        """Bytes that one token leaves in the key-value cache."""
        return 2 * self.layers * self.cache_width * self.number_bytes


@dataclass(frozen=True)
class Lengths:
    """How long the longest texts are, in tokens.

    Attributes:
        dialogue: a training sequence.
        loss_share: share of its tokens that carry a loss.
        prompt: persona and history before a reply.
        reply: a person's reply in a preference pair.
        source: where these numbers come from, for people.
    """

    dialogue: int
    loss_share: float
    prompt: int
    reply: int
    source: str


@dataclass(frozen=True)
class Place:
    """Where a run takes place.

    Attributes:
        processes: how many train together (GPUs, or processes on one machine).
        floor: bytes a process holds before the model: interpreter and libraries, on a GPU CUDA's context.
        slack: share of the short-lived tensors that the allocator holds on top of them.
        memory: bytes that one process may use; None: unknown.
        sharded: frozen layers are spread over the processes (FSDP).
    """

    kind: Literal["cpu", "gpu"]
    processes: int = 1
    floor: int = 0
    slack: float = 0.0
    memory: int | None = None
    sharded: bool = False

    def share(self, items: int) -> int:
        """Return how many of a batch's items the fullest process has."""
        return -(-items // self.processes)


@dataclass(frozen=True)
class Term:
    """One thing that takes memory.

    Attributes:
        kind: weights, adapters, gradients, optimiser, activations, logits, caches, other: the columns of the table.
        why: the formula or the reason, for people.
        brief: lives for a step or a part of it; the allocator's slack comes on top of such tensors.
    """

    kind: str
    bytes: float
    why: str
    brief: bool = False


@dataclass(frozen=True)
class Moment:
    """What is in memory together at one point of a stage."""

    name: str
    terms: tuple[Term, ...]

    @property
    def bytes(self) -> float:
        return sum(term.bytes for term in self.terms)

    def of(self, kind: str) -> float:
        """Return the bytes of all terms of a kind."""
        return sum(term.bytes for term in self.terms if term.kind == kind)

    def at(self, place: Place) -> Moment:
        """Return this moment with what the place adds: libraries and the allocator's slack."""
        brief = sum(term.bytes for term in self.terms if term.brief)
        added = (
            Term("other", place.floor, "interpreter and libraries" if place.kind == "cpu" else "CUDA's context"),
            Term("other", place.slack * brief, f"{place.slack:.0%} of short-lived tensors: holes between them"),
        )
        return replace(self, terms=(*self.terms, *(term for term in added if term.bytes)))


@dataclass(frozen=True)
class StageEstimate:
    """A stage's moments; its peak is the largest of them."""

    stage: str
    moments: tuple[Moment, ...]

    @property
    def peak(self) -> Moment:
        return max(self.moments, key=lambda moment: moment.bytes)

    @property
    def bytes(self) -> float:
        return self.peak.bytes


def largest(estimates: Sequence[StageEstimate]) -> StageEstimate:
    """Return the stage with the highest peak."""
    return max(estimates, key=lambda estimate: estimate.bytes)
