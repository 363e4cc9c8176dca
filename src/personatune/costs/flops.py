"""How many floating-point operations training takes, counted from the products a decoder is made of.

A matrix of P weights takes 2 P operations a token on the way forward, as many again to carry the gradient back through
it, and as many again for a gradient of its own (Kaplan et al. 2020, arXiv 2001.08361, section 2.1). Frozen matrices
(LoRA) need no gradient of their own, the embedding is no product at all, and the output matrix works on the tokens that
carry a loss only. Attention takes 2 T² W for a causal sequence of T tokens and heads of W numbers in all (two products,
half of each above the diagonal), twice that on the way back. Norms, activations and the optimiser are not counted:
this is the model's work, and its share of the machine's matmul peak is what is left of the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


@dataclass(frozen=True)
class RowSizes:
    """Rows in which replies share a prompt.

    Attributes:
        tokens: in all rows, padding left out.
        squares: twice the pairs of tokens of which one sees the other; of a plain row of T tokens T².
    """

    tokens: int
    squares: float

    @classmethod
    def of(cls, rows: Iterable[tuple[int, Sequence[int]]]) -> RowSizes:
        """Add up rows, each the length of its prompt and those of its replies: they see the prompt and themselves."""
        tokens, squares = 0, 0.0
        for prompt, replies in rows:
            tokens += prompt + sum(replies)
            squares += prompt**2 + sum(2 * prompt * reply + reply**2 for reply in replies)
        return cls(tokens, squares)


@dataclass(frozen=True)
class BranchWork:
    """The products of a branch on the top layers, of the trunk below it and of sampling from it.

    Attributes:
        whole: of the backbone, without adapters.
        top_layers: that the branch has.
        adapters: weights of the branch's LoRA matrices.
        last_matrices, last_adapters: of these, weights in the part of the last layer that runs at the tokens that are
            read only; 0 where it runs at all of them.
    """

    whole: TransformerWork
    top_layers: int
    adapters: int
    last_matrices: int
    last_adapters: int

    def trunk(self, rows: RowSizes) -> float:
        """Return the operations of the layers below the branch, which run without gradients."""
        below = self.whole.layers - self.top_layers
        return 2.0 * (self.whole.matrices - self._matrices) * rows.tokens + self._attention(rows, below)

    def forward(self, rows: RowSizes, read: int, head_tokens: int, *, adapted: bool) -> float:
        """Return the operations of the top layers without gradients, ``read`` tokens' states being wanted.

        Args:
            head_tokens: whose logits are made.
            adapted: the branch's adapters take part; else it is the reference.
        """
        frozen, adapters = self._products(rows, read)
        products = frozen + (adapters if adapted else 0) + self.whole.head * head_tokens
        return 2.0 * products + self._attention(rows, self.top_layers)

    def training(self, rows: RowSizes, read: int, head_tokens: int) -> float:
        """Return the operations of a forward and a backward pass of the branch."""
        frozen, adapters = self._products(rows, read)
        attention = self._attention(rows, self.top_layers)
        return 4.0 * (frozen + self.whole.head * head_tokens) + 6.0 * adapters + 3.0 * attention

    def sampling(self, prompts: Sequence[int], replies: Sequence[tuple[int, int]]) -> float:
        """Return the operations of decoding with merged weights, each prompt read once.

        Args:
            replies: the length of each one's prompt and its own; the last token of a reply is never read.
        """
        drawn = sum(length for _, length in replies)
        tokens = sum(prompts) + drawn - len(replies)
        squares = sum(prompt**2 for prompt in prompts)
        squares += sum(2 * prompt * (length - 1) + (length - 1) ** 2 for prompt, length in replies)
        products = self.whole.matrices * tokens + self.whole.head * drawn
        return 2.0 * products + self._attention(RowSizes(tokens, squares), self.whole.layers)

    @property
    def _matrices(self) -> int:
        return self.whole.matrices * self.top_layers // self.whole.layers

    def _products(self, rows: RowSizes, read: int) -> tuple[int, int]:
        frozen = (self._matrices - self.last_matrices) * rows.tokens + self.last_matrices * read
        adapters = (self.adapters - self.last_adapters) * rows.tokens + self.last_adapters * read
        return frozen, adapters

    def _attention(self, rows: RowSizes, layers: int) -> float:
        return 2.0 * self.whole.attention_width * layers * rows.squares


def ppo_flops(
    policy: BranchWork, critic: BranchWork | None, rows: Sequence[tuple[int, Sequence[int]]], epochs: int
) -> float:
    """Return the operations of one PPO update on rows of a prompt and its replies, each given by its length.

    Sampling, the trunk, the reference's log-probabilities, the critic's values, the reward model's scores (a branch as
    large as the policy's), and policy and critic in each epoch. Each prompt counts once a pass, also where minibatches
    part its replies.

    Args:
        critic: None where the advantages need none.
    """
    sizes = RowSizes.of(rows)
    answers = [(prompt, reply) for prompt, replies in rows for reply in replies]
    drawn = sum(reply for _, reply in answers)
    found = policy.sampling([prompt for prompt, _ in rows], answers) + policy.trunk(sizes)
    found += policy.forward(sizes, drawn, drawn, adapted=False)  # the reference
    found += policy.forward(sizes, len(answers), 0, adapted=True)  # the reward model
    found += epochs * policy.training(sizes, drawn, drawn)
    if critic is not None:
        found += critic.forward(sizes, drawn, 0, adapted=True) + epochs * critic.training(sizes, drawn, 0)
    return found
