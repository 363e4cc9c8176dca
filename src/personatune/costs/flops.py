"""How many floating-point operations training takes, counted from the products a decoder is made of.

A matrix of P weights takes 2 P operations a token on the way forward, as many again to carry the gradient back through
it, and as many again for a gradient of its own (Kaplan et al. 2020, arXiv 2001.08361, section 2.1). Frozen matrices
(LoRA) need no gradient of their own, the embedding is no product at all, and the output matrix works on the tokens that
carry a loss only. Attention takes 2 T² W for a causal sequence of T tokens and heads of W numbers in all (two products,
half of each above the diagonal), twice that on the way back. Norms, activations and the optimiser are not counted:
this is the model's work, and its share of the machine's matmul peak is what is left of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TransformerWork:
    """The products of a decoder.

    Attributes:
        layers: number of decoder layers.
        matrices: weights of the matrices in all layers, without adapters.
        adapters: weights of the LoRA matrices in all layers.
        head: weights of the output matrix.
        attention_width: numbers in all query heads of a layer together.
    """

    layers: int
    matrices: int
    adapters: int
    head: int
    attention_width: int

    def top(self, layers: int) -> TransformerWork:
        """Return the work of the top layers alone, which have all the adapters (branches on a shared trunk)."""
        matrices = self.matrices * layers // self.layers
        return TransformerWork(layers, matrices, self.adapters, self.head, self.attention_width)

    def forward(self, lengths: Sequence[int], head_tokens: int) -> float:
        """Return the operations of a forward pass over sequences of these lengths."""
        tokens = sum(lengths)
        products = (self.matrices + self.adapters) * tokens + self.head * head_tokens
        return 2.0 * products + self._attention(lengths)

    def training(self, lengths: Sequence[int], head_tokens: int, *, weights_trained: bool) -> float:
        """Return the operations of forward and backward pass; adapters are trained, matrices only if told so."""
        tokens = sum(lengths)
        frozen = self.matrices * tokens + self.head * head_tokens
        trained = self.adapters * tokens
        if weights_trained:
            frozen, trained = 0, trained + frozen
        return 4.0 * frozen + 6.0 * trained + 3.0 * self._attention(lengths)

    def _attention(self, lengths: Sequence[int]) -> float:
        return 2.0 * self.attention_width * self.layers * sum(length * length for length in lengths)
