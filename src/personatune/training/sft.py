"""Supervised fine-tuning: one dialogue is one sequence, the loss falls on the persona speaker's own turns.

Turns that draw on the persona weigh more than small talk: they are what teaches it. The same loop trains LoRA
adapters and, for the comparison, every weight of the model.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from personatune.costs.meter import StageMeter
from personatune.dialogue import Perspective
from personatune.errors import UserError
from personatune.model.compiled import choose_compilation, eagerly
from personatune.model.generation import Chatbot, Sampling
from personatune.model.likelihood import dialogue_losses, length_buckets
from personatune.model.lora import LoRAWrapper
from personatune.model.prompts import EncodedDialogue, PromptFormat
from personatune.model.work import transformer_work
from personatune.progress import Progress, SilentProgress, Task
from personatune.settings import LoraConfig, SFTConfig
from personatune.training.checkpoints import Checkpoint, optimizer_tensors, restore_optimizer
from personatune.training.distributed import join_processes
from personatune.training.divergence import Refused, Stability, told_rows
from personatune.training.gradient_step import GradientStep
from personatune.training.identity import model_mark, rows_mark
from personatune.training.interrupts import StopRequest
from personatune.training.sft_dialogues import encode_dialogues, held_out_loss, named_dialogues, sizes
from personatune.training.sft_result import HeldOutPoint, SFTResult
from personatune.training.tracking import SilentTracker, Tracker

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
        self.names, self.train_set = named_dialogues(prompts, train, config)
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
            directory / "checkpoints",
            2 if lora else 1,  # of full fine-tuning each takes twelve bytes a weight
            identity=identity,
            say=self.progress.say,
        )
        self.steps_per_epoch = math.ceil(len(self.train_set) / config.batch_size)
        planned = self.steps_per_epoch * config.epochs
        self.total_steps = min(planned, config.max_steps) if config.max_steps else planned
        self.work = transformer_work(base)
        epoch = self._flops(self.train_set)
        choice = choose_compilation(config.compile, epoch * self.total_steps / self.steps_per_epoch)
        self.choice = choice
        name = "compare.full_learning_rate" if lora is None else "sft.learning_rate"
        guessing = math.log(base.get_input_embeddings().weight.shape[0])
        self.stability = Stability("SFT", f"{name} {config.learning_rate:g}", floor=guessing)
        self.gradient_step = GradientStep(
            base,
            self.model,
            config,
            prompts.pad_id,
            compiled=choice.compile and not self.processes.sharded,
            processes=self.processes,
            say=self.progress.say,
            approve=self.stability.check,
        )
        if self.wrapper:  # full fine-tuning has no frozen weights to spread
            self.processes.shard(base)
        self.parameters: list[nn.Parameter] = [p for p in self.model.parameters() if p.requires_grad]

    def train(self) -> SFTResult:
        """Train to the end, or to the target, or until the held-out loss stops falling.

        Raises:
            KeyboardInterrupt: Ctrl-C; the last whole step was saved, the next call goes on there.
            DivergedError: the loss was not finite or exploded, and did so again after going back once.
        """
        result = SFTResult(trainable_parameters=sum(p.numel() for p in self.parameters))
        self.processes.seed(self.seed)
        now = self._resume(result)
        step = now.step
        result.compiled = f"{'yes' if self.gradient_step.compiled else 'no'}: {self.choice.reason}"
        tracker = self._open(step, result)
        evaluate_at = {
            round(self.total_steps * i / self.config.evaluations) for i in range(self.config.evaluations + 1)
        }
        evaluate_at.add(self.total_steps)
        with (
            StopRequest(alone=self.processes.alone) as stop,
            self.progress.task("SFT" if self.wrapper else "Full fine-tuning", self.total_steps) as task,
        ):
            task.advance(step)
            try:
                while True:
                    try:
                        if step in evaluate_at and (not result.curve or result.curve[-1].step < step):
                            self._evaluate(result, now, tracker, task, stop)
                            best = result.best is result.curve[-1]  # training may only harm
                            self._save(result, now, best=best, sound=True)
                        if step >= self.total_steps or self._finished(result):
                            break
                        started = time.perf_counter(), time.process_time()
                        batch = self._batch(step)
                        loss = self._step(batch, step, stop)
                    except Refused as refused:
                        tracker.close()
                        now = self._take_back(refused, result, now)
                        task.advance(now.step - step)
                        step = now.step
                        tracker = self._open(step, result)
                        continue
                    step += 1
                    now = self._counted(now, batch, time.perf_counter() - started[0], time.process_time() - started[1])
                    tracker.log({"train_loss": loss, "tokens_per_second": now.tokens / now.seconds}, step)
                    task.advance(1, loss=loss, held_out=result.curve[-1].loss)
                    if self.processes.any(stop.requested):
                        raise KeyboardInterrupt
                    if self.checkpoints.due:
                        self._save(result, now, best=False, sound=False)
            except KeyboardInterrupt:
                if step and self.checkpoints.current != step and not stop.hurried:
                    self._save(result, now, best=False, sound=False)  # where an evaluation is due, it comes first then
                tracker.close()
                raise
        tracker.close()
        self._restore_best()
        return result

    def _counted(
        self, now: HeldOutPoint, batch: list[EncodedDialogue], seconds: float, cpu_seconds: float
    ) -> HeldOutPoint:
        """Return where the training is after one more step."""
        if self.meter:
            own = self.processes.own(batch)
            self.meter.add(tokens_trained=sum(len(each.input_ids) for each in own), flops=self._flops(own))
        tokens = now.tokens + sum(len(dialogue.input_ids) for dialogue in batch)
        return HeldOutPoint(
            now.step + 1,
            tokens,
            now.seconds + seconds,
            math.nan,
            now.flops + self._flops(batch),
            now.cpu_seconds + cpu_seconds,
        )

    def _open(self, step: int, result: SFTResult) -> Tracker:
        tracker = self.open_tracker(step)
        if result.curve and not step:  # the curve on disk begins anew
            self._show(result.curve[0], self._samples(), tracker)
        return tracker

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
        return [self.train_set[index] for index in self._places(step)]

    def _places(self, step: int) -> list[int]:
        """Return the batch of a step: a function of seed and step alone, so a resumed run sees the same ones."""
        epoch, within = divmod(step, self.steps_per_epoch)
        generator = random.Random(f"{self.seed}/{epoch}")
        order = list(range(len(self.train_set)))
        generator.shuffle(order)
        lengths = [len(dialogue.input_ids) for dialogue in self.train_set]
        batches = length_buckets(lengths, self.config.batch_size, order)
        generator.shuffle(batches)
        return batches[within]

    def _step(self, batch: list[EncodedDialogue], step: int, stop: StopRequest) -> float:
        share = _schedule(step, self.total_steps, self.config.warmup_share)
        return self.gradient_step(batch, share * self.stability.factor, stop.at_once)

    def _take_back(self, refused: Refused, result: SFTResult, now: HeldOutPoint) -> HeldOutPoint:
        """Go back to the last sound checkpoint; the time and tokens that were spent since then stay counted."""
        sound = self.stability.take_back(
            refused, now.step, self.checkpoints, lambda: self._told(now.step), self.progress.say
        )
        back = self._restore(sound, result)
        return replace(now, step=back.step)

    @torch.no_grad()
    def _told(self, step: int) -> str:
        """Return the dialogues of a step in words, with each one's loss where this process can see it."""
        places = self._places(step)
        names = [self.names[place] for place in places]
        if not self.processes.alone:
            return f"the dialogues {told_rows(names)}"
        rows = [dialogue_losses(self.base, [self.train_set[place]], self.prompts.pad_id)[0] for place in places]
        return f"the dialogues {told_rows(names, [row.nll / row.tokens for row in rows])}"

    def _flops(self, batch: Sequence[EncodedDialogue]) -> float:
        return self.work.training(*sizes(batch), weights_trained=self.wrapper is None)

    def _evaluate(
        self, result: SFTResult, point: HeldOutPoint, tracker: Tracker, task: Task, stop: StopRequest
    ) -> None:
        with stop.at_once(), eagerly(), self.processes.whole(self.base):
            loss = held_out_loss(self.base, self.validation_set, self.prompts.pad_id, self.processes)
            self.stability.check_held_out(loss, "the held-out dialogues")
            samples = self._samples()
        if self.meter and self.processes.main:  # of all of them
            self.meter.add(flops=self.work.forward(*sizes(self.validation_set)))
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

    def _save(self, result: SFTResult, now: HeldOutPoint, *, best: bool, sound: bool) -> None:
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
            "stability": self.stability.state(),
        }
        self.checkpoints.save(now.step, tensors, state, best=best, sound=sound)

    def _resume(self, result: SFTResult) -> HeldOutPoint:
        saved = self.checkpoints.load_last()
        if saved is None:
            return HeldOutPoint(0, 0, 0.0, math.nan)
        self.stability.restore(saved.state.get("stability"))
        return self._restore(saved, result)

    def _restore(self, saved: Checkpoint, result: SFTResult) -> HeldOutPoint:
        self._load_weights(saved.tensors["weights"])
        restore_optimizer(self.gradient_step.optimizer, saved.tensors["optimizer"], saved.state["optimizer"])
        self.gradient_step.scaler.load_state_dict(saved.state["loss_scale"])
        if not saved.state["compiled"]:  # compiling failed before; a step of the other kind differs in the last digits
            self.gradient_step.stop_compiling()
        self.processes.restore_rng(saved.tensors["rng"], saved.state["rng"])
        result.curve = [HeldOutPoint(**point) for point in saved.state["curve"]]
        result.rollbacks = self.stability.rollbacks
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


def _made_with(config: SFTConfig, lora: LoraConfig | None) -> dict[str, Any]:
    """Return the settings that decide what a training comes to."""
    settings = config.model_dump(mode="json", exclude={"compile", "micro_batch_size", "samples"})
    return {"sft": settings, "lora": lora and lora.model_dump(mode="json")}


def _schedule(step: int, total: int, warmup_share: float) -> float:
    """Linear warm-up, then linear decay to a tenth: the last steps of a short run still teach."""
    warmup = max(1, round(total * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    return 1 - 0.9 * (step - warmup) / max(1, total - warmup)
