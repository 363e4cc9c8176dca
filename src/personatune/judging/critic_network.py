"""The critic's network: MiniLM whose lower layers read each sentence alone, whose upper layers read both together.

What the lower layers make of a sentence is a function of that sentence and its role only, so it is computed once and
reused in every pair the sentence stands in (MacAvaney et al. 2020, arXiv 2004.14255, do so for ranking). The lower
layers and the word embeddings stay those of the embedded encoder; only the upper layers and the head are trained and
shipped. A hypothesis has the second segment's embedding and positions that begin behind the longest premise: with the
same positions on both sides SNLI accuracy after 56 steps was 53 instead of 65 % (docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from personatune.judging.encoder import load_encoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_TOKENS = 64
"""Word pieces of one sentence; what comes after is cut. Persona sentences have about ten."""

_LABELS = 3
_PREMISE, _HYPOTHESIS = 0, 1


class CriticNetwork(nn.Module):
    """Entailment, neutral and contradiction logits for pairs of sentences.

    Args:
        base: the sentence encoder to start from, "embedded", a folder or a hub id.
        alone: how many lower layers read each sentence alone; they are frozen.

    Shapes: B pairs, T tokens of a pair, H hidden size.
    """

    def __init__(self, base: str | Path = "embedded", alone: int = 2) -> None:
        super().__init__()
        self.tokenizer: PreTrainedTokenizerBase
        self.tokenizer, encoder = load_encoder(str(base))
        layers = encoder.encoder.layer
        if not 0 < alone < len(layers):
            raise ValueError(f"alone = {alone}: {base} has {len(layers)} layers, expected 1 to {len(layers) - 1}")
        self.embeddings: Any = encoder.embeddings.requires_grad_(False).eval()
        self.lower = nn.ModuleList(layers[:alone]).requires_grad_(False).eval()
        self.upper = nn.ModuleList(layers[alone:])
        hidden: int = encoder.config.hidden_size
        self.head = nn.Linear(5 * hidden, _LABELS)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.dropout = nn.Dropout(0.1)
        self._read: dict[tuple[int, str], Tensor] = {}

    def train(self, mode: bool = True) -> CriticNetwork:
        """Switch dropout of the trained part; the frozen part never drops anything."""
        super().train(mode)
        self.embeddings.eval()
        self.lower.eval()
        return self

    def trained_state(self) -> dict[str, Tensor]:
        """Return the tensors that training changes: all that has to be stored beside the base."""
        return {
            name: tensor for name, tensor in self.state_dict().items() if not name.startswith(("embeddings.", "lower."))
        }

    def load_trained_state(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `trained_state` gave.

        Raises:
            ValueError: tensors are missing, foreign or of another shape.
        """
        expected = {name: tensor.shape for name, tensor in self.trained_state().items()}
        found = {name: tensor.shape for name, tensor in tensors.items()}
        if expected != found:
            wrong = sorted({*expected.items()} ^ {*found.items()})[0][0]
            raise ValueError(f"tensor {wrong} doesn't fit this network")
        self.load_state_dict(tensors, strict=False)

    def forward(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Tensor:
        """Return the logits of (premise, hypothesis) pairs, (B, 3), in the order of `LABELS`."""
        first_B_T_H, first_mask = self._read_alone(premises, _PREMISE)
        second_B_T_H, second_mask = self._read_alone(hypotheses, _HYPOTHESIS)
        hidden_B_T_H = torch.cat([first_B_T_H, second_B_T_H], dim=1)
        mask = torch.cat([first_mask, second_mask], dim=1)
        hidden_B_T_H = _through(self.upper, hidden_B_T_H, mask)
        split = first_mask.shape[1]
        premise_B_H = _mean(hidden_B_T_H[:, :split], first_mask)
        hypothesis_B_H = _mean(hidden_B_T_H[:, split:], second_mask)
        features = torch.cat(
            [
                hidden_B_T_H[:, 0],
                premise_B_H,
                hypothesis_B_H,
                (premise_B_H - hypothesis_B_H).abs(),
                premise_B_H * hypothesis_B_H,
            ],
            dim=-1,
        )
        logits: Tensor = self.head(self.dropout(features))
        return logits

    def forget(self) -> None:
        """Drop the readings kept of sentences (about 15 KB a sentence)."""
        self._read.clear()

    @torch.no_grad()
    def _read_alone(self, texts: Sequence[str], role: int) -> tuple[Tensor, Tensor]:
        """Return what the lower layers make of sentences, (B, T, H) with its mask; new ones are read, others kept."""
        new = sorted({text for text in texts if (role, text) not in self._read}, key=len)
        for start in range(0, len(new), 64):
            batch = new[start : start + 64]
            ids = self.tokenizer(
                batch, truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="pt",
                return_token_type_ids=False,
            )  # fmt: skip
            ids_B_T, mask = ids["input_ids"], ids["attention_mask"].bool()
            positions = torch.arange(ids_B_T.shape[1]) + role * MAX_TOKENS
            hidden_B_T_H = self.embeddings(
                input_ids=ids_B_T,
                token_type_ids=torch.full_like(ids_B_T, role),
                position_ids=positions.expand_as(ids_B_T),
            )
            hidden_B_T_H = _through(self.lower, hidden_B_T_H, mask)
            for text, row, length in zip(batch, hidden_B_T_H, mask.sum(1).tolist(), strict=True):
                self._read[role, text] = row[:length].clone()
        return _padded([self._read[role, text] for text in texts])


def _through(layers: nn.ModuleList, hidden_B_T_H: Tensor, mask: Tensor) -> Tensor:
    bias = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(hidden_B_T_H.dtype).min)[:, None, None, :]
    for layer in layers:
        output = layer(hidden_B_T_H, bias)
        hidden_B_T_H = output[0] if isinstance(output, tuple) else output
    return hidden_B_T_H


def _padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True), mask


def _mean(hidden_B_T_H: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).to(hidden_B_T_H.dtype)
    return (hidden_B_T_H * weights).sum(1) / weights.sum(1)
