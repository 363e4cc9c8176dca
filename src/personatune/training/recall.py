"""Training persona recall: a line beside the persona sentence it asks for, apart from the persona's other sentences."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from personatune.data.recall_lines import RecallLines
from personatune.judging.recall.network import RecallNetwork
from personatune.progress import Progress, SilentProgress

_WARMUP = 0.06  # of all steps
_TEXTS_AT_ONCE = 40  # of like length, so that little is padding


@dataclass(frozen=True)
class RecallSettings:
    """How recall is trained; chosen on the validation personas of PersonaProbes.

    Attributes:
        alone: lower layers that stay as they are; rank: of the changes to the others.
        learning_rate, head_rate: of the changes, and of scale and "none"; both warm up and fall linearly to 0.
        batch_size: personas a step, each with all its sentences and lines.
        others: weight of the second loss, in which a line must also be told from the other personas' sentences.
    """

    base: str = "embedded"
    alone: int = 3
    rank: int = 16
    learning_rate: float = 5e-4
    head_rate: float = 1e-2
    batch_size: int = 16
    epochs: int = 4
    others: float = 0.3
    weight_decay: float = 0.01
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


class RecallTrainer:
    """Trains a `RecallNetwork`, from the start each time: it takes minutes. The same seed gives the same weights.

    Args:
        lessons: personas with their lines, all of them in every epoch.
    """

    def __init__(
        self,
        settings: RecallSettings,
        lessons: Sequence[RecallLines],
        progress: Progress | None = None,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.network = RecallNetwork(settings.base, settings.alone, settings.rank)
        self.progress = progress or SilentProgress()
        self._lessons = list(lessons)
        head = [self.network.log_scale, self.network.none_weight, self.network.none_bias]
        known = set(map(id, head))
        rest = [part for part in self.network.parameters() if part.requires_grad and id(part) not in known]
        self._parameters = [*rest, *head]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": rest, "lr": 0.0, "rate": settings.learning_rate},
                {"params": head, "lr": 0.0, "rate": settings.head_rate},
            ],
            weight_decay=settings.weight_decay,
        )

    def train(self) -> RecallNetwork:
        """Train to the end and return the network."""
        epochs = [self._batches(epoch) for epoch in range(self.settings.epochs)]
        total = sum(map(len, epochs))
        self.network.read([text for one in self._lessons for text in _texts(one)])
        step, average = 0, math.nan
        with self.progress.task("Recall", total) as task:
            for batches in epochs:
                for batch in batches:
                    fraction = min((step + 1) / (_WARMUP * total), 1.0) * (1 - step / total)
                    loss = self._step(batch, fraction)
                    average = loss if math.isnan(average) else 0.98 * average + 0.02 * loss
                    step += 1
                    task.advance(1, loss=average)
        self.network.forget()
        return self.network

    def loss(self, batch: Sequence[RecallLines]) -> Tensor:
        """Return the loss of personas: cross-entropy over the own sentences and "none", and over everybody's."""
        sentences = [sentence for one in batch for sentence in one.traits]
        lines = [line for one in batch for line, _ in one.lines]
        vectors = self._vectors([*lines, *sentences])
        logits = self.network(vectors[: len(lines)], vectors[len(lines) :])
        foreign = torch.ones_like(logits, dtype=torch.bool)
        foreign[:, -1] = False
        wanted, row, first = [], 0, 0
        for one in batch:
            for _, place in one.lines:
                foreign[row, first : first + len(one.traits)] = False
                wanted.append(len(sentences) if place is None else first + place)
                row += 1
            first += len(one.traits)
        target = torch.tensor(wanted)
        own = nn.functional.cross_entropy(logits.masked_fill(foreign, torch.finfo(logits.dtype).min), target)
        asks = target < len(sentences)
        if not self.settings.others or not asks.any():
            return own
        everybody: Tensor = nn.functional.cross_entropy(logits[asks, :-1], target[asks])
        return own + self.settings.others * everybody

    def _vectors(self, texts: Sequence[str]) -> Tensor:
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        parts = [
            self.network.vectors([texts[place] for place in order[start : start + _TEXTS_AT_ONCE]])
            for start in range(0, len(order), _TEXTS_AT_ONCE)
        ]
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(parts)[back]

    def _step(self, batch: Sequence[RecallLines], fraction: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = group["rate"] * fraction
        loss = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _batches(self, epoch: int) -> list[list[RecallLines]]:
        order = list(self._lessons)
        random.Random(f"{self.settings.seed}/{epoch}").shuffle(order)
        size = self.settings.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]


def _texts(one: RecallLines) -> list[str]:
    return [*one.traits, *(line for line, _ in one.lines)]
