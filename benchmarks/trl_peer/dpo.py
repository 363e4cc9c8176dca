"""TRL's own DPO losses of a batch, to check ours against. Runs in `.venv-trl`.

    python trl_peer/dpo.py WORK.json

The work names two folders of models, ``policy`` and ``reference``, pairs as tokens, and ``losses``: options of TRL's
DPOConfig. Prints one loss for each; of ``one_by_one`` the mean over the pairs, each a batch of its own (TRL's "sft"
term is a mean over a batch's tokens, RPO's and ours one over pairs).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from sides.turns import say, versions


def main() -> None:
    """Compute every loss."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    losses = {}
    for name, options in work["losses"].items():
        with TemporaryDirectory() as folder:
            trainer = _trainer(work, {key: value for key, value in options.items() if key != "one_by_one"}, folder)
            batches = [[row] for row in work["pairs"]] if options.get("one_by_one") else [work["pairs"]]
            with torch.no_grad():
                found = [trainer.compute_loss(trainer.model.eval(), trainer.data_collator(batch)) for batch in batches]
            losses[name] = fmean(map(float, found))
    say(losses=losses, versions=versions("trl"))


def _trainer(work: dict[str, Any], options: dict[str, Any], folder: str) -> DPOTrainer:
    tokenizer = AutoTokenizer.from_pretrained(work["reference"])
    tokenizer.pad_token_id = work["pad_id"]
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(work[side], dtype=torch.float32) for side in ("policy", "reference")
    )
    args = DPOConfig(
        output_dir=folder,
        max_length=None,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **options,
    )
    unused = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])  # the tokens come with the work
    return DPOTrainer(policy, reference, args=args, train_dataset=unused, processing_class=tokenizer)


if __name__ == "__main__":
    main()
