"""The conventional side of `growth.py`: textbook PPO with four models, one update a turn (see `sides.turns`).

python conventional/one_update.py WORK.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from conventional.ppo import Models, train_ppo
from conventional.reward import load_scorer
from personatune.settings import PPOConfig
from sides.turns import Turns, peak_bytes, say, versions


def main() -> None:
    """Run one update a turn; replies never end early, as on our side."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    policy, reference = (AutoModelForCausalLM.from_pretrained(work["model"], dtype=torch.float32) for _ in range(2))
    policy.generation_config.eos_token_id = None
    value, reward = (load_scorer(work["model"], work["pad_id"]) for _ in range(2))
    config = PPOConfig(
        updates=1,
        prompts_per_update=len(work["prompts"]),
        replies_per_prompt=work["replies_per_prompt"],
        epochs=work["epochs"],
        minibatch_size=len(work["prompts"]) * work["replies_per_prompt"],
        max_new_tokens=work["reply_tokens"],
    )
    say(ready=True)
    turns = Turns(work["rounds"])
    turns.begin()
    for _ in range(work["rounds"]):
        run = train_ppo(
            Models(policy, reference, value, reward),
            lambda _update: work["prompts"],
            config,
            policy_learning_rate=1e-5,
            value_learning_rate=1e-5,
            stop_ids=(),
            pad_id=work["pad_id"],
        )
        turns.done(tokens=run.tokens_generated, optimiser_steps=run.steps)
    say(peak_bytes=peak_bytes(), versions=versions())


if __name__ == "__main__":
    main()
