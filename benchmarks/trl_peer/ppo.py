"""The peer of `ppo_vs_trl.py`: TRL's PPOTrainer with a LoRA policy, one update a turn. Runs in `.venv-trl`.

    python trl_peer/ppo.py WORK.json

At its best CPU settings: fp32 (bf16 runs at half its speed on such CPUs), no gradient checkpointing, no sample tables,
no checkpoints. Value and reward model are models of their own, as its trainer wants them; the reference is the policy
with its adapter switched off, which saves it a fourth model.
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
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from sides.steps import StepCount
from sides.turns import Turns, peak_bytes, say, versions


class OneUpdateATurn(TrainerCallback):
    """Ends a turn after each update and says what was done in it."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.steps = StepCount()
        self.generated: list[tuple[int, int]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        rows = sum(rows for rows, _ in self.generated)
        tokens = sum(rows * tokens for rows, tokens in self.generated)
        self.generated.clear()
        self.turns.done(replies=rows, tokens=tokens, optimiser_steps=self.steps.take())


def main() -> None:
    """Train, one update a turn."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(work["model"])
    tokenizer.pad_token_id = work["pad_id"]
    rows = [ids for ids in work["prompts"] for _ in range(work["replies_per_prompt"])]
    callback = OneUpdateATurn(Turns(work["rounds"]))
    generation = ppo_trainer.batch_generation

    def counted(model: Any, queries: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        sequences, logits = generation(model, queries, *rest)
        callback.generated.append((len(sequences), sequences.shape[1] - queries.shape[1]))
        return sequences, logits

    ppo_trainer.batch_generation = counted
    with TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            args=_settings(work, len(rows), folder),
            processing_class=tokenizer,
            model=AutoModelForCausalLM.from_pretrained(work["model"], dtype=torch.float32),
            ref_model=None,
            reward_model=_scorer(work),
            value_model=_scorer(work),
            train_dataset=Dataset.from_dict({"input_ids": rows * (work["rounds"] + 1)}),
            eval_dataset=Dataset.from_dict({"input_ids": rows[:1]}),  # it makes a loader for it even when unused
            peft_config=LoraConfig(
                r=work["rank"], lora_alpha=work["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            # It shuffles its rows, and steps after every micro-batch once it has seen the last of them: every update
            # gets the same prompts here, and the last of the rows is never reached.
            data_collator=lambda _rows: {"input_ids": torch.tensor(rows)},
            callbacks=[callback],
        )
        say(ready=True)
        callback.turns.begin()
        trainer.train()
    say(peak_bytes=peak_bytes(), versions=versions("trl"))


def _settings(work: dict[str, Any], batch: int, folder: str) -> PPOConfig:
    micro = work["peer_micro_batch"]
    return PPOConfig(
        output_dir=folder,
        learning_rate=work["learning_rate"],
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=batch // micro,
        num_mini_batches=1,
        total_episodes=batch * work["rounds"],
        local_rollout_forward_batch_size=work["peer_rollout_batch"],
        num_ppo_epochs=work["epochs"],
        response_length=work["reply_tokens"],
        temperature=1.0,
        kl_coef=0.05,
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )


def _scorer(work: dict[str, Any]) -> Any:
    model = AutoModelForSequenceClassification.from_pretrained(work["model"], num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = work["pad_id"]
    return model


if __name__ == "__main__":
    main()
