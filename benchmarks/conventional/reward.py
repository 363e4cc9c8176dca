"""Conventional reward model: a whole model of its own with a scalar head, every weight trained on preference pairs."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from conventional.batches import right_padded
from conventional.sft import Trained

Pair = tuple[list[int], list[int]]
"""Tokens of context and reply: the better one, the worse one."""


def load_scorer(folder: Path | str, pad_id: int, seed: int = 0) -> Any:
    """Return a model with a new scalar head (or a saved one) that reads a sequence's last token."""
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = pad_id
    return model


def train_reward(
    model: Any,
    pairs: Sequence[Pair],
    *,
    learning_rate: float,
    batch_size: int,
    epochs: int,
    pad_id: int,
    seed: int = 0,
) -> Trained:
    """Train all weights in place on the Bradley-Terry loss, linear decay to 0."""
    begin = time.perf_counter()
    model.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0, fused=True)
    draw = random.Random(seed)
    losses: list[float] = []
    tokens = 0
    total = epochs * -(-len(pairs) // batch_size)
    for _ in range(epochs):
        order = draw.sample(range(len(pairs)), len(pairs))
        for start in range(0, len(order), batch_size):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1 - len(losses) / total)
            batch = [pairs[index] for index in order[start : start + batch_size]]
            rows = [better for better, _ in batch] + [worse for _, worse in batch]
            scores = score(model, rows, pad_id)
            loss = -torch.nn.functional.logsigmoid(scores[: len(batch)] - scores[len(batch) :]).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
            tokens += sum(map(len, rows))
    return Trained(time.perf_counter() - begin, len(losses), tokens, losses)


def score(model: Any, rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """Return the score of each sequence, B."""
    ids_B_T, mask_B_T = right_padded(rows, pad_id)
    return model(input_ids=ids_B_T, attention_mask=mask_B_T).logits.squeeze(-1)


@torch.no_grad()
def score_all(model: Any, rows: Sequence[Sequence[int]], pad_id: int, batch_size: int = 8) -> list[float]:
    """Return the scores of many sequences, a batch at a time."""
    model.eval()
    scores: list[float] = []
    for start in range(0, len(rows), batch_size):
        scores += score(model, rows[start : start + batch_size], pad_id).tolist()
    return scores
