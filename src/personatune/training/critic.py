"""Training the critic: from labelled sentence pairs to calibrated entailment probabilities."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from personatune.data.persona_pairs import SentencePair
from personatune.errors import UserError
from personatune.judging.critic_files import quantised, read_weights, restored
from personatune.judging.critic_network import CriticNetwork
from personatune.judging.entailment import LABELS
from personatune.progress import Progress, SilentProgress
from personatune.training.checkpoints import (
    CheckpointManager,
    capture_rng,
    optimizer_tensors,
    restore_optimizer,
    restore_rng,
)
from personatune.training.interrupts import StopRequest

_WINDOW = 32  # batches of like length are cut from runs of so many
_SAVE_EVERY = 200  # steps
_WARMUP = 0.06  # of all steps
_SPREAD_PAIRS = 512


@dataclass(frozen=True)
class CriticSettings:
    """How the critic is trained; chosen on hand-written pairs and a part of SNLI's validation set.

    Attributes:
        alone: lower layers that read each sentence alone and stay as they are.
        learning_rate, head_rate: of the upper layers and of the new head; both warm up and fall linearly to 0.
        epochs: passes over the pairs that are seen again and again; the others are seen once in all.
        start: folder of a critic whose weights to start from; "" starts from the base.
        start_share: how much of the start's weights stands in the mean that is kept; 0 keeps what was trained. The mean
            of a network before and after fine-tuning is often right more often than either, above all on pairs of
            another kind (Wortsman et al. 2021, arXiv 2109.01903).
    """

    base: str = "embedded"
    alone: int = 2
    learning_rate: float = 3e-4
    head_rate: float = 1e-3
    batch_size: int = 32
    epochs: float = 2.0
    weight_decay: float = 0.01
    seed: int = 0
    start: str = ""
    start_share: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


class CriticTrainer:
    """Trains a `CriticNetwork` on pairs; saves as it goes, and goes on where it stopped with the same result.

    Args:
        pairs: what to learn from, all of it in every epoch.
        directory: where checkpoints are kept until training is done.
        once: what to learn from besides, spread over the epochs: each pair is seen in one of them.
    """

    def __init__(
        self,
        settings: CriticSettings,
        pairs: Sequence[SentencePair],
        directory: Path,
        progress: Progress | None = None,
        once: Sequence[SentencePair] = (),
    ) -> None:
        if settings.start_share and not settings.start:
            raise UserError(f"start share {settings.start_share}: of no start; name the critic to start from (--start)")
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.pairs = list(pairs)
        self.once = list(once)
        random.Random(f"{settings.seed}/once").shuffle(self.once)
        self.spreads: dict[str, Tensor] = {}
        self.progress = progress or SilentProgress()
        self.network = CriticNetwork(settings.base, settings.alone)
        if settings.start:
            self.network.load_trained_state(read_weights(Path(settings.start) / "critic.safetensors"))
        self.checkpoints = CheckpointManager(directory / "checkpoints")
        self.parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        head = {id(parameter) for parameter in self.network.head.parameters()}
        rest = [parameter for parameter in self.parameters if id(parameter) not in head]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": rest, "lr": settings.learning_rate, "rate": settings.learning_rate},
                {"params": list(self.network.head.parameters()), "lr": settings.head_rate, "rate": settings.head_rate},
            ],
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._once_per_epoch = len(self.once) // math.ceil(settings.epochs)
        self.steps_per_epoch = math.ceil((len(self.pairs) + self._once_per_epoch) / settings.batch_size)
        self.total_steps = max(1, round(self.steps_per_epoch * settings.epochs))
        self._epoch_batches: tuple[int, list[list[SentencePair]]] = (-1, [])

    def train(self) -> CriticNetwork:
        """Train to the end and return the network with the weights as they are stored (8 bits).

        The lower layers multiply in 8 bits already while the upper ones learn, so that these learn from what they will
        be given. `spreads` holds what the layers need for it.

        Raises:
            KeyboardInterrupt: Ctrl-C; the step under way was saved, the next call goes on there.
        """
        sample = random.Random(f"{self.settings.seed}/spreads").sample(self.pairs, min(_SPREAD_PAIRS, len(self.pairs)))
        sides = [pair.premise for pair in sample], [pair.hypothesis for pair in sample]
        self.network.eval()
        self.spreads = self.network.find_spreads("lower", *sides)
        self.network.multiply_in_eight_bits(self.spreads, ["lower"])
        every = [*self.pairs, *self.once]
        self.network.read((pair.premise for pair in every), (pair.hypothesis for pair in every))
        step = self._resume()
        average = math.nan
        self.network.train()
        with StopRequest() as stop, self.progress.task("Critic", self.total_steps) as task:
            task.advance(step)
            while step < self.total_steps:
                loss = self._step(self._batch(step), step)
                average = loss if math.isnan(average) else 0.98 * average + 0.02 * loss
                step += 1
                task.advance(1, loss=average)
                if stop.requested or step % _SAVE_EVERY == 0 or step == self.total_steps:
                    self._save(step)
                if stop.requested:
                    raise KeyboardInterrupt
        self.network.eval()
        self.spreads |= self.network.find_spreads("upper", *sides)
        self.network.load_trained_state(self._kept_state())
        return self.network

    def _batch(self, step: int) -> list[SentencePair]:
        """Return the batch of a step: a function of seed and step alone, so a resumed run sees the same ones."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if self._epoch_batches[0] != epoch:
            generator = random.Random(f"{self.settings.seed}/{epoch}")
            once = self.once[epoch * self._once_per_epoch :][: self._once_per_epoch]
            order = [*self.pairs, *once]
            generator.shuffle(order)
            size, batches = self.settings.batch_size, []
            for start in range(0, len(order), size * _WINDOW):
                run = sorted(order[start : start + size * _WINDOW], key=_length)
                batches += [run[at : at + size] for at in range(0, len(run), size)]
            generator.shuffle(batches)
            self._epoch_batches = (epoch, batches)
        return self._epoch_batches[1][within]

    def _step(self, batch: Sequence[SentencePair], step: int) -> float:
        fraction = min((step + 1) / (_WARMUP * self.total_steps), 1.0) * (1 - step / self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * fraction
        logits = self.network([pair.premise for pair in batch], [pair.hypothesis for pair in batch])
        loss = nn.functional.cross_entropy(logits, label_ids(batch))
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _save(self, step: int) -> None:
        moments, groups = optimizer_tensors(self.optimizer)
        rng, rng_state = capture_rng()
        self.checkpoints.save(
            step,
            {"network": self.network.trained_state(), "optimizer": moments, "rng": rng},
            {"optimizer": groups, "rng": rng_state, "pairs": self._counts(), "settings": self.settings.to_json()},
        )

    def _kept_state(self) -> dict[str, Tensor]:
        trained = restored(quantised(self.network.trained_state(), self.spreads))
        if self.settings.start_share:
            share, start = self.settings.start_share, read_weights(Path(self.settings.start) / "critic.safetensors")
            trained = {name: start[name] * share + tensor * (1 - share) for name, tensor in trained.items()}
            trained = restored(quantised(trained, self.spreads))
        return trained

    def _counts(self) -> list[int]:
        return [len(self.pairs), len(self.once)]

    def _resume(self) -> int:
        checkpoint = self.checkpoints.load_last()
        if checkpoint is None or checkpoint.state["settings"] != self.settings.to_json():
            return 0
        if checkpoint.state["pairs"] != self._counts():
            return 0  # other data: a new training, not the rest of the old one
        self.network.load_trained_state(checkpoint.tensors["network"])
        restore_optimizer(self.optimizer, checkpoint.tensors["optimizer"], checkpoint.state["optimizer"])
        restore_rng(checkpoint.tensors["rng"], checkpoint.state["rng"])
        return checkpoint.step


def label_ids(pairs: Sequence[SentencePair]) -> Tensor:
    """Return the labels as numbers, (n,), in the order of `LABELS`."""
    return torch.tensor([LABELS.index(pair.label) for pair in pairs])


@torch.no_grad()
def logits_of(network: CriticNetwork, pairs: Sequence[SentencePair], batch_size: int = 64) -> Tensor:
    """Return the logits of all pairs, (n, 3), in their order."""
    order = sorted(range(len(pairs)), key=lambda index: _length(pairs[index]))
    logits = torch.empty(len(pairs), len(LABELS))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        logits[rows] = network([pairs[row].premise for row in rows], [pairs[row].hypothesis for row in rows])
    return logits


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature T that makes softmax(logits / T) likeliest (Guo et al. 2017, arXiv 1706.04599)."""
    log_temperature = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], lr=0.5, max_iter=50)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(logits / log_temperature.exp(), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(log_temperature.detach().exp())


def _length(pair: SentencePair) -> int:
    return len(pair.premise) + len(pair.hypothesis)
