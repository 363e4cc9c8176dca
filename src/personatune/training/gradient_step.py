"""One optimiser step of fine-tuning: loss of a batch of dialogues, gradients, clipping, AdamW.

What makes it fast changes nothing it computes: fused LoRA layers, compiled decoder layers, losses without kept logits,
micro-batches weighted by their tokens. Half precision (a float16 base on a GPU without bfloat16) trains float32
weights under loss scaling (Micikevicius et al. 2018, arXiv 1710.03740).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from personatune.model.compiled import compile_layers, eagerly, release_layers
from personatune.model.fused_lora import fuse_lora
from personatune.model.likelihood import dialogue_losses
from personatune.model.prompts import EncodedDialogue
from personatune.settings import SFTConfig
from personatune.training.distributed import Processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GradientStep:
    """Holds the optimiser of a model under training and takes its steps.

    Args:
        base: the causal language model, adapters attached.
        model: the same as its owner trains it (the PEFT model, or ``base``); its mode is set to training.
        compiled: run the decoder layers compiled.
        processes: share each batch; every one of them is given the whole of it.
        say: told when compiling fails; training then goes on without.
        approve: given each step's loss and gradient norm before the weights move; what it raises, nothing has moved.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        model: nn.Module,
        config: SFTConfig,
        pad_id: int,
        *,
        compiled: bool = False,
        processes: Processes | None = None,
        say: Callable[[str], None] = lambda _line: None,
        approve: Callable[[float, float], None] = lambda _loss, _norm: None,
    ) -> None:
        self.base = base
        self.model = model
        self.config = config
        self.pad_id = pad_id
        self.processes = processes or Processes()
        self.say = say
        self.approve = approve
        device = next(base.parameters()).device
        half = {weight.dtype for weight in base.parameters()} & {torch.float16, torch.bfloat16}
        self.half = next(iter(half), None)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        if self.half and any(weight.dtype == self.half for weight in trained):
            base.float()  # small steps are lost on weights of 8 or 11 bits; products stay in half precision
            self._precision: AbstractContextManager[Any] = torch.autocast(device.type, dtype=self.half)
        else:
            self._precision = nullcontext()
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half == torch.float16)
        fuse_lora(model)
        self.optimizer = torch.optim.AdamW(
            _groups(model, config), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._parameters = [weight for weight in model.parameters() if weight.requires_grad]
        self.compiled = compiled
        self._full_batch = 0
        if compiled:
            compile_layers(base)

    def __call__(
        self,
        batch: Sequence[EncodedDialogue],
        schedule: float,
        cut_off: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> float:
        """Take one step at ``schedule`` times the learning rate; returns the batch's loss, nats a weighted token.

        Args:
            cut_off: gives the block in which an interrupt may come: until the gradients are there nothing moves.
        """
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = group["full_rate"] * schedule
        with cut_off():
            loss = self._gradients_somehow(batch)
        self.processes.sum_gradients(self._parameters)
        self.scaler.unscale_(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self._parameters, self.config.max_grad_norm))
        if self.scaler.is_enabled() and self.scaler.get_scale() >= 1 and not math.isfinite(norm):
            norm = 0.0  # the scale was too high for float16: the scaler leaves the step out and lowers it
        loss = self.processes.total(loss)
        try:
            self.approve(loss, norm)
        except BaseException:
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.update(self.scaler.get_scale())
            raise
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def _gradients_somehow(self, batch: Sequence[EncodedDialogue]) -> float:
        """Add up the gradients, without compiling from now on where that fails."""
        try:
            return self._gradients(batch)
        except torch._dynamo.exc.TorchDynamoException as error:
            if not self.compiled:
                raise
            reason = str(error).strip().splitlines()[0][:160]
            self.say(f"SFT: these layers can't be compiled ({reason}); training goes on uncompiled")
            self.stop_compiling()
            self.optimizer.zero_grad(set_to_none=True)
            return self._gradients(batch)

    def stop_compiling(self) -> None:
        """Run uncompiled from now on."""
        if self.compiled:
            release_layers(self.base)
        self.compiled = False

    def _gradients(self, batch: Sequence[EncodedDialogue]) -> float:
        """Add up the gradients of the batch's token-weighted mean loss, micro-batch by micro-batch.

        With more than one process, each does this for the dialogues it owns; gradients and losses are to be summed.
        """
        weights = sum(sum(dialogue.loss_weights[1:]) for dialogue in batch)
        own = self.processes.own(batch)
        size = self.config.micro_batch_size or max(1, len(own))
        parts = [own[start : start + size] for start in range(0, len(own), size)]
        total = 0.0
        for part, factor in self.processes.evenly(parts, lambda: list(batch[:1])):
            # A size of one is a constant to the compiler: the odd last batch would cost a graph of its own.
            odd = self.compiled and len(part) == 1 < size
            with self._precision, eagerly() if odd else nullcontext():
                sums = dialogue_losses(self.base, part, self.pad_id)
            loss: Tensor = torch.stack([row.weighted for row in sums]).sum() * factor / weights
            self.scaler.scale(loss).backward()
            total += float(loss.detach())
        return total


def _groups(model: nn.Module, config: SFTConfig) -> list[dict[str, Any]]:
    """Return the optimiser's groups: LoRA's B matrices learn ``b_rate_ratio`` times as fast as the rest.

    LoRA+ (Hayou et al. 2024, arXiv 2402.12354): B starts at zero and A doesn't, so one rate can't suit both.
    """
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    ups = [weight for name, weight in named if ".lora_B." in name]
    rest = [weight for name, weight in named if ".lora_B." not in name]
    rates = [(rest, config.learning_rate), (ups, config.learning_rate * config.b_rate_ratio)]
    return [{"params": weights, "lr": rate, "full_rate": rate} for weights, rate in rates if weights]
