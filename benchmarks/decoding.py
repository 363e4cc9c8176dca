"""Decoding a batch of dialogues: personatune against `generate` of transformers, same model, same greedy replies.

    python benchmarks/decoding.py [--rows 16] [--turns 4] [--rounds 5]

Both sides answer the same dialogues turn by turn; the two alternate and medians are compared. The last line is one JSON
object with `time_ratio` (generate over ours), `same_work` and `versions`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import transformers

from personatune.dialogue import Context, Persona, Respond, Turn
from personatune.model.backbone import load_base_model, load_tokenizer
from personatune.model.generation import Chatbot, Sampling
from personatune.model.prompts import PromptFormat, prompt_format
from sides.command import benchmark

LINES = ("Hi! How are you?", "Do you have any pets?", "What do you do for a living?", "Where do you live?", "Nice!")
NEW_TOKENS = 28


def plain_generate(model: transformers.PreTrainedModel, prompts: PromptFormat) -> Respond:
    """Answer with the library's own `generate`: the whole prompt again at every turn, left-padded."""

    def respond(contexts: Sequence[Context]) -> list[str]:
        encoded = [prompts.encode_prompt(context, NEW_TOKENS) for context in contexts]
        width = max(map(len, encoded))
        ids = torch.tensor([[prompts.pad_id] * (width - len(row)) + row for row in encoded])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in encoded])
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=list(prompts.stop_ids),
            pad_token_id=prompts.pad_id,
        )
        return [prompts.decode_reply(row[width:].tolist()) for row in out]

    return respond


def hold(respond: Respond, personas: Sequence[Persona], turns: int) -> tuple[float, list[str]]:
    """Hold one dialogue a persona in lock-step; returns seconds and all replies."""
    histories: list[tuple[Turn, ...]] = [() for _ in personas]
    replies: list[str] = []
    begin = time.perf_counter()
    for line in LINES[:turns]:
        histories = [(*history, Turn("partner", line)) for history in histories]
        said = respond([Context(persona, history) for persona, history in zip(personas, histories, strict=True)])
        histories = [(*history, Turn("self", reply)) for history, reply in zip(histories, said, strict=True)]
        replies += said
    return time.perf_counter() - begin, replies


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--turns", type=int, default=4, choices=range(1, len(LINES) + 1))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = load_base_model()
    prompts = prompt_format(load_tokenizer(), "auto", 512)
    jobs = ("chef", "nurse", "pilot", "farmer", "teacher", "plumber", "lawyer", "singer")
    personas = [
        Persona((f"I have {row + 2} dogs.", f"I am a {jobs[row % len(jobs)]}.", "I live in Ohio."))
        for row in range(options.rows)
    ]
    sides: dict[str, list[float]] = {"generate": [], "personatune": []}
    texts: dict[str, list[str]] = {}
    for _ in range(options.rounds):
        bot = Chatbot(model, prompts, Sampling(NEW_TOKENS), batch_size=options.rows)
        for name, respond in (("generate", plain_generate(model, prompts)), ("personatune", bot.in_dialogues())):
            seconds, texts[name] = hold(respond, personas, options.turns)
            sides[name].append(seconds)
    same = sum(a == b for a, b in zip(texts["generate"], texts["personatune"], strict=True)) / len(texts["generate"])
    print(f"{options.rows} dialogues of {options.turns} turns, {NEW_TOKENS} new tokens at most, greedy, fp32")
    for name, seconds in sides.items():
        print(f"{name:12} median {statistics.median(seconds):7.2f} s   {[round(one, 2) for one in seconds]}")
    ratio = statistics.median(sides["generate"]) / statistics.median(sides["personatune"])
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps({"time_ratio": round(ratio, 3), "same_work": same, "versions": versions}))


if __name__ == "__main__":
    benchmark(main)
