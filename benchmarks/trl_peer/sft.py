"""The peer of `sft_vs_trl.py`: TRL's SFTTrainer with LoRA, some steps a turn. Runs in `.venv-trl`.

    python trl_peer/sft.py WORK.json

At its best CPU settings: fp32, no gradient checkpointing, batches of like length, the loss on the assistant's tokens
only with logits on those alone (`chunked_nll`, its default). Batches, untrained adapter and learning rates come with
the work, so that the two sides' losses can be held to each other step by step.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from sides.steps import StepCount
from sides.turns import Turns, peak_bytes, say, versions


class SomeStepsATurn(TrainerCallback):
    """Ends a turn every ``stride`` steps."""

    def __init__(self, turns: Turns, stride: int, tokens_of_steps: list[int]) -> None:
        self.turns = turns
        self.stride = stride
        self.tokens_of_steps = tokens_of_steps
        self.steps = StepCount()
        self.losses: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        # transformers logs a step after the step's own callback: the turn ends here, with its last loss known
        if "loss" not in logs:
            return
        self.losses.append(logs["loss"])
        if state.global_step % self.stride == 0:
            trained = self.tokens_of_steps[state.global_step - self.stride : state.global_step]
            losses, self.losses = self.losses, []
            self.turns.done(optimiser_steps=self.steps.take(), tokens_trained=sum(trained), losses=losses)


class FullPrecisionLosses(SFTTrainer):
    """Logs losses as they are; the library rounds them to four digits."""

    def _maybe_log_save_evaluate(self, tr_loss: torch.Tensor, *rest: Any, **options: Any) -> None:
        self.unrounded = float(tr_loss)
        super()._maybe_log_save_evaluate(tr_loss, *rest, **options)

    def log(self, logs: dict[str, float], *rest: Any) -> None:
        if "loss" in logs:
            logs["loss"] = self.unrounded
        super().log(logs, *rest)


def main() -> None:
    """Train, some steps a turn."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(work["model"])
    tokenizer.pad_token_id = work["pad_id"]
    model = AutoModelForCausalLM.from_pretrained(work["model"], dtype=torch.float32)
    model.config.use_cache = False
    model = PeftModel.from_pretrained(model, work["adapter"], is_trainable=True)
    rows = [row for batch in work["batches"] for row in batch]
    labels = [
        [token if own else -100 for token, own in zip(row["input_ids"], row["loss"], strict=True)] for row in rows
    ]
    dataset = Dataset.from_dict({"input_ids": [row["input_ids"] for row in rows], "labels": labels})
    tokens = [sum(len(row["input_ids"]) for row in batch) for batch in work["batches"]]
    callback = SomeStepsATurn(Turns(work["rounds"]), work["steps_per_turn"], tokens)
    rates = work["rates"]
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1.0, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rates[min(step, len(rates) - 1)])
    with TemporaryDirectory() as folder:
        trainer = FullPrecisionLosses(
            model=model,
            args=_settings(work, folder),
            train_dataset=dataset,
            processing_class=tokenizer,
            optimizers=(optimizer, schedule),
            callbacks=[callback],
        )
        say(ready=True)
        callback.turns.begin()
        trainer.train()
    say(peak_bytes=peak_bytes(), versions=versions("trl"))


def _settings(work: dict[str, Any], folder: str) -> SFTConfig:
    return SFTConfig(
        output_dir=folder,
        per_device_train_batch_size=work["batch_size"],
        num_train_epochs=1,
        max_grad_norm=1.0,
        train_sampling_strategy="sequential",
        max_length=None,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=1,
        disable_tqdm=True,
    )


if __name__ == "__main__":
    main()
