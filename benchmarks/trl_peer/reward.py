"""The peer of `reward_vs_trl.py`: TRL's RewardTrainer with LoRA, one whole training a turn. Runs in `.venv-trl`.

    python trl_peer/reward.py WORK.json

At its best CPU settings: fp32, no gradient checkpointing, pairs of like length in one batch (the order comes with the
work: it is the length grouping of transformers without its draw), nothing saved, nothing logged but each step's loss.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

from sides.steps import StepCount
from sides.turns import Turns, peak_bytes, say, versions


def main() -> None:
    """Train once a turn."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with TemporaryDirectory() as folder:
        trainer = _trainer(work, work["batches"][:1], folder)
        say(ready=True, loss=_loss(trainer, work))
        turns, steps = Turns(work["rounds"]), StepCount()
        turns.begin()
        for number in range(work["rounds"]):
            if number:
                del trainer
                trainer = _trainer(work, work["batches"], folder)
            trainer.train()
            tokens = int(trainer._total_train_tokens)
            pairs = sum(map(len, work["batches"] if number else work["batches"][:1])) * work["epochs"]
            turns.done(optimiser_steps=steps.take(), pairs=pairs, tokens_trained=tokens)
    say(peak_bytes=peak_bytes(), versions=versions("trl"))


def _trainer(work: dict[str, Any], batches: list[list[int]], folder: str) -> RewardTrainer:
    tokenizer = AutoTokenizer.from_pretrained(work["model"])
    tokenizer.pad_token_id = work["pad_id"]
    model = AutoModelForSequenceClassification.from_pretrained(work["model"], num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = work["pad_id"]
    order = [index for batch in batches for index in batch]
    rows = {key: [work["sequences"][key][index] for index in order] for key in ("chosen_ids", "rejected_ids")}
    return RewardTrainer(
        model=model,
        args=RewardConfig(
            output_dir=folder,
            learning_rate=work["learning_rate"],
            lr_scheduler_type="linear",
            per_device_train_batch_size=work["batch_size"],
            num_train_epochs=work["epochs"],
            train_sampling_strategy="sequential",
            max_length=None,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=work["rank"],
            lora_alpha=work["alpha"],
            target_modules="all-linear",
            modules_to_save=["score"],
            task_type="SEQ_CLS",
        ),
    )


def _loss(trainer: RewardTrainer, work: dict[str, Any]) -> float:
    """Return TRL's own loss of the first pairs under a given head, and put the head back."""
    head = next(weight for name, weight in trainer.model.named_parameters() if "score.modules_to_save" in name)
    before = head.detach().clone()
    rows = [
        {key: work["sequences"][key][index] for key in ("chosen_ids", "rejected_ids")}
        for index in range(work["batch_size"])
    ]
    with torch.no_grad():
        head.copy_(torch.tensor(work["head"])[None])
        loss = float(trainer.compute_loss(trainer.model.eval(), trainer.data_collator(rows)))
        head.copy_(before)
    return loss


if __name__ == "__main__":
    main()
