"""Supervised fine-tuning: one dialogue is one sequence, the loss falls on the persona speaker's own turns.

Turns that draw on the persona weigh more than small talk: they are what teaches it. The same loop trains LoRA
adapters and, for the comparison, every weight of the model.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from personatune.config import LoraConfig, SFTConfig
from personatune.costs.meter import StageMeter
from personatune.data.grounding import persona_turns
from personatune.dialogue import Perspective
from personatune.errors import UserError
from personatune.model.compiled import choose_compilation, eagerly
from personatune.model.generation import Chatbot, Sampling
from personatune.model.likelihood import dialogue_losses, length_buckets
from personatune.model.lora import LoRAWrapper
from personatune.model.prompts import EncodedDialogue, PromptFormat
from personatune.model.work import transformer_work
from personatune.progress import Progress, SilentProgress, Task
from personatune.training.checkpoints import optimizer_tensors, restore_optimizer
from personatune.training.distributed import Processes, join_processes
from personatune.training.gradient_step import GradientStep
from personatune.training.identity import model_mark, rows_mark
from personatune.training.interrupts import StopRequest
from personatune.training.tracking import SilentTracker, Tracker

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class HeldOutPoint:
    """One held-out evaluation.

    Attributes:
        step: optimiser steps so far.
        tokens: tokens trained on so far (whole sequences).
        seconds: training time so far, evaluations and checkpoints not counted.
        loss: mean negative log-likelihood, nats a token, of the own turns of the held-out dialogues.
        flops: operations of training so far.
    """

    step: int
    tokens: int
    seconds: float
    loss: float
    flops: float = 0.0


@dataclass
class SFTResult:
    """What a training run did: the held-out curve from step 0 on, and why it ended."""

    curve: list[HeldOutPoint] = field(default_factory=list)
    stopped: str = "all steps done"
    trainable_parameters: int = 0
    compiled: str = ""  # whether the layers were compiled, and why

    @property
    def best(self) -> HeldOutPoint:
        return min(self.curve, key=lambda point: point.loss)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "best": asdict(self.best)}


class SFTTrainer:
    """Trains a base model on dialogues; `train` runs or resumes it and leaves the best weights in ``model``.

    Args:
        lora: adapter settings, or None to train every weight (conventional full fine-tuning).
        target_loss: stop at the first held-out evaluation that is at or below it.
        open_tracker: given the step it resumes at, returns where figures go.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        prompts: PromptFormat,
        train: Sequence[Perspective],
        validation: Sequence[Perspective],
        config: SFTConfig,
        lora: LoraConfig | None,
        directory: Path,
        *,
        seed: int = 0,
        target_loss: float | None = None,
        open_tracker: Callable[[int], Tracker] = lambda _step: SilentTracker(),
        progress: Progress | None = None,
        meter: StageMeter | None = None,
    ) -> None:
        self.config = config
        self.prompts = prompts
        self.seed = seed
        self.target_loss = target_loss
        self.open_tracker = open_tracker
        self.progress = progress or SilentProgress()
        self.meter = meter
        identity = {"stage": "sft", "seed": seed, "model": model_mark(base), "settings": _made_with(config, lora)}
        self.wrapper = LoRAWrapper(base, lora, seed=seed) if lora else None
        self.model: Any = self.wrapper.model if self.wrapper else base.requires_grad_(True)
        self.base = base
        self.train_set = encode_dialogues(prompts, train, config)
        self.validation_set = encode_dialogues(prompts, validation[: config.validation_dialogues], config)
        if not self.train_set or not self.validation_set:
            raise UserError(
                f"SFT needs training and held-out dialogues with a turn that has a loss, found {len(self.train_set)} "
                f"of {len(train)} and {len(self.validation_set)} of {len(validation)}; give more data or raise "
                f"sft.other_turn_weight"
            )
        answers = (next(perspective.replies(), None) for perspective in validation)
        self.sample_contexts = list(islice((answer for answer in answers if answer), config.samples))
        self.processes = join_processes()
        identity["data"] = rows_mark(
            [dialogue.input_ids, dialogue.loss_weights] for dialogue in (*self.train_set, *self.validation_set)
        )
        self.checkpoints = self.processes.checkpoints(
            directory / "checkpoints", identity=identity, say=self.progress.say
        )
        self.steps_per_epoch = math.ceil(len(self.train_set) / config.batch_size)
        planned = self.steps_per_epoch * config.epochs
        self.total_steps = min(planned, config.max_steps) if config.max_steps else planned
        self.work = transformer_work(base)
        epoch = self._flops(self.train_set)
        choice = choose_compilation(config.compile, epoch * self.total_steps / self.steps_per_epoch)
        self.choice = choice
        self.gradient_step = GradientStep(
            base,
            self.model,
            config,
            prompts.pad_id,
            compiled=choice.compile and not self.processes.sharded,
            processes=self.processes,
            say=self.progress.say,
        )
        if self.wrapper:  # full fine-tuning has no frozen weights to spread
            self.processes.shard(base)
        self.parameters: list[nn.Parameter] = [p for p in self.model.parameters() if p.requires_grad]

    def train(self) -> SFTResult:
        """Train to the end, or to the target, or until the held-out loss stops falling.

        Raises:
            KeyboardInterrupt: Ctrl-C; the last whole step was saved, the next call goes on there.
        """
        result = SFTResult(trainable_parameters=sum(p.numel() for p in self.parameters))
        self.processes.seed(self.seed)
        now = self._resume(result)
        step = now.step
        result.compiled = f"{'yes' if self.gradient_step.compiled else 'no'}: {self.choice.reason}"
        tracker = self.open_tracker(step)
        evaluate_at = {
            round(self.total_steps * i / self.config.evaluations) for i in range(self.config.evaluations + 1)
        }
        evaluate_at.add(self.total_steps)
        with (
            StopRequest(alone=self.processes.alone) as stop,
            self.progress.task("SFT" if self.wrapper else "Full fine-tuning", self.total_steps) as task,
        ):
            task.advance(step)
            if result.curve and not step:  # resumed before the first step: the curve on disk begins anew
                self._show(result.curve[0], self._samples(), tracker)
            try:
                while True:
                    if step in evaluate_at and (not result.curve or result.curve[-1].step < step):
                        self._evaluate(result, now, tracker, task, stop)
                        self._save(result, now, best=result.best is result.curve[-1])  # training may only harm
                    if step >= self.total_steps or self._finished(result):
                        break
                    started = time.perf_counter()
                    batch = self._batch(step)
                    loss = self._step(batch, step, stop)
                    seconds = now.seconds + time.perf_counter() - started
                    step += 1
                    trained = sum(len(dialogue.input_ids) for dialogue in batch)
                    now = HeldOutPoint(step, now.tokens + trained, seconds, math.nan, now.flops + self._flops(batch))
                    if self.meter:
                        own = self.processes.own(batch)
                        self.meter.add(tokens_trained=sum(len(each.input_ids) for each in own), flops=self._flops(own))
                    tracker.log({"train_loss": loss, "tokens_per_second": now.tokens / seconds}, step)
                    task.advance(1, loss=loss, held_out=result.curve[-1].loss)
                    if self.processes.any(stop.requested):
                        raise KeyboardInterrupt
                    if self.checkpoints.due:
                        self._save(result, now, best=False)
            except KeyboardInterrupt:
                if step and self.checkpoints.current != step and not stop.hurried:
                    self._save(result, now, best=False)  # where an evaluation is due, the next call makes it first
                tracker.close()
                raise
        tracker.close()
        self._restore_best()
        return result

    def _finished(self, result: SFTResult) -> bool:
        losses = [point.loss for point in result.curve]
        if self.target_loss is not None and losses[-1] <= self.target_loss:
            result.stopped = f"held-out loss {losses[-1]:.4f} reached the target {self.target_loss:.4f}"
            return True
        since_best = len(losses) - 1 - losses.index(min(losses))
        if since_best >= self.config.patience:
            result.stopped = f"no better held-out loss in {since_best} evaluations"
            return True
        return False

    def _batch(self, step: int) -> list[EncodedDialogue]:
        """Return the batch of a step: a function of seed and step alone, so a resumed run sees the same ones."""
        epoch, within = divmod(step, self.steps_per_epoch)
        generator = random.Random(f"{self.seed}/{epoch}")
        order = list(range(len(self.train_set)))
        generator.shuffle(order)
        lengths = [len(dialogue.input_ids) for dialogue in self.train_set]
        batches = length_buckets(lengths, self.config.batch_size, order)
        generator.shuffle(batches)
        return [self.train_set[index] for index in batches[within]]

    def _step(self, batch: list[EncodedDialogue], step: int, stop: StopRequest) -> float:
        return self.gradient_step(batch, _schedule(step, self.total_steps, self.config.warmup_share), stop.at_once)

    def _flops(self, batch: Sequence[EncodedDialogue]) -> float:
        return self.work.training(*_sizes(batch), weights_trained=self.wrapper is None)

    def _evaluate(
        self, result: SFTResult, point: HeldOutPoint, tracker: Tracker, task: Task, stop: StopRequest
    ) -> None:
        with stop.at_once(), eagerly(), self.processes.whole(self.base):
            loss = held_out_loss(self.base, self.validation_set, self.prompts.pad_id, self.processes)
            samples = self._samples()
        if self.meter and self.processes.main:  # of all of them
            self.meter.add(flops=self.work.forward(*_sizes(self.validation_set)))
        result.curve.append(replace(point, loss=loss))
        self._show(result.curve[-1], samples, tracker)
        task.advance(0, held_out=loss)

    def _show(self, point: HeldOutPoint, samples: list[dict[str, str]], tracker: Tracker) -> None:
        tracker.log({"held_out_loss": point.loss}, point.step)
        if samples:
            tracker.samples("replies", samples, point.step)

    def _samples(self) -> list[dict[str, str]]:
        if not self.sample_contexts or not self.processes.main:
            return []
        self.model.eval()
        replies = Chatbot(self.base, self.prompts, Sampling(40))([context for context, _ in self.sample_contexts])
        return [
            {"line": context.history[-1].text, "reply": reply, "person": gold}
            for (context, gold), reply in zip(self.sample_contexts, replies, strict=True)
        ]

    def _weights(self) -> dict[str, Tensor]:
        return {name: weight.data for name, weight in self.model.named_parameters() if weight.requires_grad}

    def _save(self, result: SFTResult, now: HeldOutPoint, *, best: bool) -> None:
        self.processes.align(self.parameters)
        moments, groups = optimizer_tensors(self.gradient_step.optimizer)
        rng, rng_state = self.processes.capture_rng()
        tensors = {"weights": self._weights(), "optimizer": moments, "rng": rng}
        state = {
            "curve": [asdict(point) for point in result.curve],
            "now": {**asdict(now), "loss": None},
            "optimizer": groups,
            "rng": rng_state,
            "compiled": self.gradient_step.compiled,
            "loss_scale": self.gradient_step.scaler.state_dict(),
        }
        self.checkpoints.save(now.step, tensors, state, best=best)

    def _resume(self, result: SFTResult) -> HeldOutPoint:
        saved = self.checkpoints.load_last()
        if saved is None:
            return HeldOutPoint(0, 0, 0.0, math.nan)
        self._load_weights(saved.tensors["weights"])
        restore_optimizer(self.gradient_step.optimizer, saved.tensors["optimizer"], saved.state["optimizer"])
        self.gradient_step.scaler.load_state_dict(saved.state["loss_scale"])
        if not saved.state["compiled"]:  # compiling failed before; a step of the other kind differs in the last digits
            self.gradient_step.stop_compiling()
        self.processes.restore_rng(saved.tensors["rng"], saved.state["rng"])
        result.curve = [HeldOutPoint(**point) for point in saved.state["curve"]]
        return HeldOutPoint(**{**saved.state["now"], "loss": math.nan})

    def _restore_best(self) -> None:
        best = self.checkpoints.load_best()
        if best is not None:
            self._load_weights(best.tensors["weights"])
        self.gradient_step.stop_compiling()  # what comes next has other shapes and other modes
        self.model.eval()

    def _load_weights(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self._weights().items():
                weight.copy_(tensors[name])


def encode_dialogues(
    prompts: PromptFormat, perspectives: Sequence[Perspective], config: SFTConfig
) -> list[EncodedDialogue]:
    """Encode dialogues with the turn weights of the settings; those left without any loss token are left out."""
    encoded = []
    for perspective in perspectives:
        drawn = persona_turns(perspective)
        weights = [config.persona_turn_weight if on else config.other_turn_weight for on in drawn]
        encoded.append(prompts.encode_dialogue(perspective, weights))
    return [dialogue for dialogue in encoded if any(dialogue.loss_weights)]


@torch.no_grad()
def held_out_loss(
    model: PreTrainedModel, dialogues: Sequence[EncodedDialogue], pad_id: int, processes: Processes | None = None
) -> float:
    """Return the mean negative log-likelihood, nats a token, over all tokens that carry a loss."""
    model.eval()
    order = sorted(range(len(dialogues)), key=lambda index: len(dialogues[index].input_ids))
    nll = 0.0
    tokens = 0
    processes = processes or Processes()
    for start in processes.own(range(0, len(order), 4)):
        batch = [dialogues[index] for index in order[start : start + 4]]
        for sums in dialogue_losses(model, batch, pad_id):
            nll += sums.nll
            tokens += sums.tokens
    return processes.total(nll) / processes.total(tokens)


def _made_with(config: SFTConfig, lora: LoraConfig | None) -> dict[str, Any]:
    """Return the settings that decide what a training comes to."""
    settings = config.model_dump(mode="json", exclude={"compile", "micro_batch_size", "samples"})
    return {"sft": settings, "lora": lora and lora.model_dump(mode="json")}


def _sizes(dialogues: Sequence[EncodedDialogue]) -> tuple[list[int], int]:
    """Return the lengths of dialogues and the number of their tokens that carry a loss."""
    asked = sum(weight > 0 for dialogue in dialogues for weight in dialogue.loss_weights[1:])
    return [len(dialogue.input_ids) for dialogue in dialogues], asked


def _schedule(step: int, total: int, warmup_share: float) -> float:
    """Linear warm-up, then linear decay to a tenth: the last steps of a short run still teach."""
    warmup = max(1, round(total * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    return 1 - 0.9 * (step - warmup) / max(1, total - warmup)
