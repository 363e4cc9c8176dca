"""The parts that several stages hold in memory, each with its formula.

Letters: P parameters, L layers, H hidden width, V vocabulary, r rank, T tokens, B rows, N replies, b bytes a number.
"""

from __future__ import annotations

from personatune.costs.estimate.quantities import Architecture, Kept, Place, Term

MASTER_BYTES = 4  # adapters, gradients and Adam's moments are float32 whatever the base is
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a 4-bit number: half a byte, a block scale of a byte for 64 numbers, and a float32 for 256 of these scales
(double quantisation; Dettmers et al. 2023, arXiv 2305.14314, section 3)."""


def weights(a: Architecture, place: Place, quantization: str = "none") -> list[Term]:
    """The frozen base: P b; with nf4 the layers' linear maps in 4 bits; with FSDP a share of the layers."""
    linear = a.layers * a.linear_parameters
    layers = a.layers * a.layer_parameters
    other = (a.parameters - linear) * a.number_bytes
    if quantization == "nf4":
        packed = linear * NF4_BYTES
        unpacked = a.linear_parameters / 3 * a.number_bytes  # the largest map of a layer, about a third of it
        return [
            Term("weights", other, "what is not quantised: embeddings, head, norms"),
            Term("weights", packed, "linear maps in 4-bit NormalFloat with double quantisation"),
            Term("weights", unpacked, "one map at a time, unpacked for its product", brief=True),
        ]
    if place.sharded and place.processes > 1:
        own = layers * a.number_bytes / place.processes
        whole = 2 * a.layer_parameters * a.number_bytes
        return [
            Term("weights", (a.parameters - layers) * a.number_bytes, "embeddings, head, last norm: whole everywhere"),
            Term("weights", own, f"a share of the layers: 1/{place.processes}"),
            Term("weights", whole, "two layers gathered: the one that runs and the next", brief=True),
        ]
    return [Term("weights", a.parameters * a.number_bytes, f"{a.parameters:,} parameters of {a.number_bytes} bytes")]


def adapter_numbers(a: Architecture, rank: int, layers: int, *, head: bool = False) -> int:
    """Numbers of one LoRA adapter on all linear maps of some layers, with its scalar head if it has one."""
    return rank * a.lora_width * layers + (a.hidden + 1 if head else 0)


def trained(kind: str, numbers: int, of: str) -> list[Term]:
    """What training adds to numbers: a gradient each, and Adam's two moments."""
    held = numbers * MASTER_BYTES
    return [
        Term(kind, held, of),
        Term("gradients", held, f"one for each number of the {of}"),
        Term("optimiser", 2 * held, f"AdamW's two moments of the {of}"),
    ]


def activations(rows: int, width: int, layers: int, kept: Kept, place: Place) -> Term:
    """What autograd keeps: tokens x (layers x bytes a layer + bytes outside of them), counted on one real layer.

    A GPU's attention kernels do dropout without keeping scores.
    """
    layer = kept.layer + (kept.scores * width if place.kind == "cpu" else 0.0)
    size = rows * width * (layers * layer + kept.ends)
    why = f"{rows} x {width} tokens x {layers} layers x {layer / 1024:.1f} KiB"
    return Term("activations", size, why, brief=True)


def passing(a: Architecture, tokens: int) -> Term:
    """What one layer holds while it runs: input and output, and two of its widest tensors."""
    size = tokens * a.number_bytes * (2 * a.hidden + 2 * a.inner)
    return Term("activations", size, f"{tokens:,} tokens passing through one layer", brief=True)


def mask(rows: int, width: int, a: Architecture) -> Term:
    """The additive mask of rows that share prompts, B x T x T numbers, and the two of booleans it is made from."""
    return Term("activations", rows * width * width * (a.number_bytes + 2), "masks of rows with shared prompts", True)


def logits(tokens: int, a: Architecture, copies: float, why: str) -> Term:
    """Tokens x V float32 numbers, as many copies as exist at once.

    They leave no holes: there is one such tensor or two, as large as no other, and they come when everything is full.
    """
    return Term("logits", tokens * a.vocabulary * 4 * copies, f"{tokens:,} tokens x {a.vocabulary:,} words, {why}")


def decoding_copies(a: Architecture, place: Place, adapted: int) -> list[Term]:
    """What the sampler for CPUs keeps as long as the model lives, beside the model (`model/lean_decoder.py`).

    The query, key and value matrices of each layer as one, the other maps of ``adapted`` layers with their LoRA merged
    in, and the output matrix packed for the vector units.
    """
    if place.kind != "cpu" or not a.joined:
        return []
    numbers = a.layers * a.joined + adapted * (a.linear_parameters - a.joined) + a.vocabulary * a.hidden
    why = f"copies for decoding: joined maps, {adapted} layers with merged adapters, packed output matrix"
    return [Term("caches", numbers * 4, why)]


def key_values(tokens: int, a: Architecture, why: str) -> Term:
    """The key-value cache: tokens x 2 L x width of the key heads x b."""
    return Term("caches", tokens * a.cache_bytes, f"keys and values of {tokens:,} tokens {why}", True)
