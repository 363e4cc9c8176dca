"""Conventional supervised fine-tuning: every weight, AdamW, one epoch, the loss on the persona speaker's turns."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from conventional.batches import right_padded
from personatune.model.likelihood import length_buckets
from personatune.model.prompts import EncodedDialogue

IGNORED = -100  # the label that transformers leaves out of the loss


@dataclass(frozen=True)
class Trained:
    """What a training took: seconds of it, optimiser steps, tokens without padding, and the loss of each step."""

    seconds: float
    steps: int
    tokens: int
    losses: list[float]


def fine_tune(
    model: Any,
    dialogues: Sequence[EncodedDialogue],
    *,
    learning_rate: float,
    batch_size: int,
    pad_id: int,
    seed: int = 0,
    first_steps: int | None = None,
) -> Trained:
    """Train all weights of ``model`` in place for one epoch: linear warm-up over 5 % of it, then linear decay.

    Args:
        first_steps: stop after that many steps of the very same schedule; None: the whole epoch.
    """
    begin = time.perf_counter()
    model.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0, fused=True)
    draw = random.Random(seed)
    order = draw.sample(range(len(dialogues)), len(dialogues))
    batches = length_buckets([len(dialogue.input_ids) for dialogue in dialogues], batch_size, order)
    draw.shuffle(batches)
    warm_up = max(1, round(0.05 * len(batches)))
    losses: list[float] = []
    tokens = 0
    for step, chosen in enumerate(batches[:first_steps]):
        share = (step + 1) / warm_up if step < warm_up else 1 - (step - warm_up) / max(1, len(batches) - warm_up)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * share
        batch = [dialogues[index] for index in chosen]
        loss = loss_of(model, batch, pad_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        tokens += sum(len(dialogue.input_ids) for dialogue in batch)
    return Trained(time.perf_counter() - begin, len(losses), tokens, losses)


def loss_of(model: Any, batch: Sequence[EncodedDialogue], pad_id: int) -> torch.Tensor:
    """Return the mean negative log-likelihood, nats a token, over the batch's tokens that carry a loss."""
    ids_B_T, mask_B_T = right_padded([dialogue.input_ids for dialogue in batch], pad_id)
    labels_B_T = torch.full_like(ids_B_T, IGNORED)
    for row, dialogue in enumerate(batch):
        for place, weight in enumerate(dialogue.loss_weights):
            if weight > 0:
                labels_B_T[row, place] = dialogue.input_ids[place]
    return model(input_ids=ids_B_T, attention_mask=mask_B_T, labels=labels_B_T).loss
