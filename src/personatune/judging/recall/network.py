"""The network of persona recall: MiniLM, fine-tuned so that a line lies near the persona sentence it asks for.

A general encoder puts "How do you pay your bills?" no nearer to "I drive a night tram." than to "I put fish sauce on
everything." The lower layers stay those of the embedded encoder and read each text once; the linear maps of the upper
ones get low-rank changes (Hu et al. 2021, arXiv 2106.09685), which are all that is trained and shipped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from personatune.judging.critic_network import PREMISE, CriticNetwork, mean, padded, require_fit, through

_FIRST_SCALE = 20.0
_FIRST_NONE = 0.35
"""The cosine from which a sentence is thought of, before training."""


class RecallNetwork(nn.Module):
    """Scores persona sentences, and "none of them", for what a partner says.

    Args:
        base: the sentence encoder to start from: "embedded", or the folder of a BERT model.
        alone: how many lower layers stay as they are.
        rank: of the changes to the upper layers.

    Raises:
        UserError: there is no BERT model, or the embedded package is not installed.

    Shapes: L lines, S sentences, H hidden size.
    """

    def __init__(self, base: str = "embedded", alone: int = 3, rank: int = 16) -> None:
        super().__init__()
        self.encoder = CriticNetwork(base, alone).requires_grad_(False).eval()
        for layer in self.encoder.upper:
            for name, part in list(layer.named_children()):
                if isinstance(part, nn.Linear):
                    setattr(layer, name, LowRankLinear(part, rank))
        hidden = self.encoder.head.in_features // 5
        self.log_scale = nn.Parameter(torch.tensor(math.log(_FIRST_SCALE)))
        self.none_weight = nn.Parameter(torch.zeros(hidden))
        self.none_bias = nn.Parameter(torch.tensor(_FIRST_NONE))

    def trained_state(self) -> dict[str, Tensor]:
        """Return the tensors that training changes: all that has to be stored beside the base."""
        return {name: tensor.detach() for name, tensor in self.named_parameters() if tensor.requires_grad}

    def load_trained_state(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `trained_state` gave.

        Raises:
            ValueError: tensors are missing, foreign or of another shape.
        """
        require_fit(self.trained_state(), tensors)
        self.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)

    def read(self, texts: Sequence[str]) -> None:
        """Read texts ahead with the layers that stay as they are; what they make of a text is kept."""
        self.encoder.read(texts, ())

    def forget(self) -> None:
        """Drop what is kept of texts."""
        self.encoder.forget()

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Return one unit vector a text, (n, H)."""
        rows = self.encoder.read_alone(texts, PREMISE)
        hidden_B_T_H = padded(rows)
        mask_B_T = torch.arange(hidden_B_T_H.shape[1])[None] < torch.tensor([len(row) for row in rows])[:, None]
        pooled_B_H = mean(through(self.encoder.upper, hidden_B_T_H, mask_B_T), mask_B_T)
        return nn.functional.normalize(pooled_B_H, dim=-1)

    def forward(self, lines_L_H: Tensor, sentences_S_H: Tensor) -> Tensor:
        """Return the logits of each sentence, and of none of them in the last column, (L, S + 1)."""
        none_L = lines_L_H @ self.none_weight + self.none_bias
        return self.log_scale.exp() * torch.cat([lines_L_H @ sentences_S_H.T, none_L[:, None]], dim=1)


class LowRankLinear(nn.Module):
    """A frozen linear map with a low-rank change, zero at first."""

    def __init__(self, plain: nn.Linear, rank: int) -> None:
        super().__init__()
        self.plain = plain
        self.down = nn.Parameter(torch.randn(rank, plain.in_features) / math.sqrt(plain.in_features))
        self.up = nn.Parameter(torch.zeros(plain.out_features, rank))

    def forward(self, hidden: Tensor) -> Tensor:
        changed: Tensor = self.plain(hidden) + 2 * (hidden @ self.down.T) @ self.up.T
        return changed
