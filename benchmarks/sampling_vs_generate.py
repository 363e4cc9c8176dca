"""Sampling several replies to each prompt: personatune against `generate` of transformers, tokens a second and memory.

    python benchmarks/sampling_vs_generate.py [--quick] [--rows 16 64] [--replies 4] [--rounds 5] [--model embedded]

Both sides sample from the model's own distribution (temperature 1, no top-k, no top-p), as many rows and tokens, in
float32, nothing ends early. Each has a process of its own, so that its peak memory is its own; the two take turns and
medians are compared. The library's side is its plain call: `generate` with `do_sample`, the prompts left-padded,
`num_return_sequences` replies to each, its default cache and attention, no log-probabilities asked for; ours returns
them. Whether both sample from one distribution is tested in tests/model/test_generation.py; here the log-probabilities
that our side returns are compared with a plain forward pass.

``--quick`` measures 16 rows only. The last line is one JSON object: `time_ratio` and `memory_ratio` (generate over
ours; the smallest of the row counts), `same_work`, figures by row count, and the versions.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "200000")  # threads spin for a moment, then sleep: see sides/paired.py

import torch
import transformers

from personatune.allocator import keep_freed_memory
from personatune.dialogue import Context, Turn
from personatune.errors import UserError
from personatune.model.backbone import load_base_model, load_tokenizer
from personatune.model.generation import Sampling, generate_replies
from personatune.model.prompts import prompt_format
from personatune.pipeline.benchmark_sets import read_benchmark
from sides.command import benchmark

TARGET = 3.0
PROMPT_TOKENS = 240
NEW_TOKENS = 28
_TOLERANCE = 1e-3  # nats between our log-probabilities and those of a plain forward pass
_CHECKED = 4  # replies compared with it

Sample = Callable[[int], tuple[list[list[int]], list[list[float]]]]


def prompts_of(source: str, count: int) -> list[list[int]]:
    """Return prompts of 240 tokens: personas of the probes with as much of their dialogues as that takes."""
    form = prompt_format(load_tokenizer(source), "auto", 2048)
    prompts = []
    for script in read_benchmark("probes", None, limit=count, turns=6, split="all").scripts:
        lines = [line for line, _ in script.lines]
        turns = [
            turn
            for line, trait in zip(lines * 4, list(script.persona.traits) * 8, strict=False)
            for turn in (Turn("partner", line), Turn("self", trait))
        ]
        prompts.append(form.encode_prompt(Context(script.persona, tuple(turns)))[:PROMPT_TOKENS])
    if len(prompts) < count or any(len(prompt) < PROMPT_TOKENS for prompt in prompts):
        raise UserError(f"found {len(prompts)} prompts of {PROMPT_TOKENS} tokens, expected {count}")
    return prompts


def generate_side(model: Any, prompts: list[list[int]], replies: int) -> Sample:
    """Return the library's call."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
    settings = transformers.GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=NEW_TOKENS,
        num_return_sequences=replies,
        pad_token_id=0,
        eos_token_id=None,
    )
    model.generation_config = settings

    def sample(seed: int) -> tuple[list[list[int]], list[list[float]]]:
        torch.manual_seed(seed)
        out = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
        return out[:, width:].tolist(), []

    return sample


def own_side(model: Any, prompts: list[list[int]], replies: int) -> Sample:
    """Return personatune's call."""

    def sample(seed: int) -> tuple[list[list[int]], list[list[float]]]:
        generator = torch.Generator().manual_seed(seed)
        sampling = Sampling(NEW_TOKENS, temperature=1.0)
        groups = generate_replies(model, prompts, [], sampling, replies_per_prompt=replies, generator=generator)
        flat = [reply for group in groups for reply in group]
        return [reply.ids for reply in flat], [reply.logprobs for reply in flat]

    return sample


def side(name: str, source: str, prompts: list[list[int]], replies: int, pipe: Connection) -> None:
    """Serve rounds in a process of its own: a seed comes in, seconds, tokens and peak bytes go out; None ends it."""
    if name == "personatune":
        keep_freed_memory()
    model = load_base_model(source)
    loaded = _peak_bytes()
    sample = (generate_side if name == "generate" else own_side)(model, prompts, replies)
    while (seed := pipe.recv()) is not None:
        begin = time.perf_counter()
        ids, logprobs = sample(seed)
        seconds = time.perf_counter() - begin
        pipe.send((seconds, [len(row) for row in ids], _peak_bytes(), loaded))
    worst = _largest_difference(model, prompts, replies, ids, logprobs) if logprobs else None
    pipe.send(worst)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _largest_difference(
    model: Any, prompts: list[list[int]], replies: int, ids: list[list[int]], logprobs: list[list[float]]
) -> float:
    worst = 0.0
    for row in range(0, len(ids), max(1, len(ids) // _CHECKED)):
        prompt = prompts[row // replies]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*prompt, *ids[row]]])).logits[0, len(prompt) - 1 : -1]
        plain = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(ids[row])[:, None]).squeeze(1)
        worst = max(worst, float((plain - torch.tensor(logprobs[row])).abs().max()))
    return worst


def compare(source: str, rows: int, replies: int, rounds: int) -> dict[str, Any]:
    """Measure one number of rows, print a table, and return its figures."""
    prompts = prompts_of(source, rows // replies)
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    workers = []
    for name in ("generate", "personatune"):
        pipes[name], theirs = context.Pipe()
        worker = context.Process(target=side, args=(name, source, prompts, replies, theirs), daemon=True)
        worker.start()
        workers.append(worker)
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    peaks: dict[str, tuple[int, int]] = {}
    lengths: dict[str, set[int]] = {name: set() for name in pipes}
    for number in range(rounds + 1):  # the first one warms up
        for name, pipe in pipes.items():
            pipe.send(number)
            took, tokens, peak, loaded = pipe.recv()
            peaks[name] = (peak, loaded)
            lengths[name] |= {len(tokens), *tokens}
            if number:
                seconds[name].append(took)
    worst = {}
    for name, pipe in pipes.items():
        pipe.send(None)
        worst[name] = pipe.recv()
    for worker in workers:
        worker.join()
    medians = {name: statistics.median(took) for name, took in seconds.items()}
    print(
        f"{rows} rows: {rows // replies} prompts of {PROMPT_TOKENS} tokens, {replies} replies of {NEW_TOKENS} to each"
    )
    for name, took in seconds.items():
        peak, loaded = peaks[name]
        print(
            f"  {name:12} median {medians[name]:6.2f} s {rows * NEW_TOKENS / medians[name]:7.1f} tokens/s   "
            f"peak {peak / 2**20:6.0f} MB, {(peak - loaded) / 2**20:6.0f} of it above the loaded model   "
            f"{[round(one, 2) for one in took]}"
        )
    ratio = medians["generate"] / medians["personatune"]
    print(f"  {ratio:.2f} times as fast (target {TARGET}); log-probabilities within {worst['personatune']:.1e}")
    return {
        "time_ratio": round(ratio, 2),
        "memory_ratio": round(peaks["generate"][0] / peaks["personatune"][0], 2),
        "memory_above_model_ratio": round(
            (peaks["generate"][0] - peaks["generate"][1]) / max(1, peaks["personatune"][0] - peaks["personatune"][1]), 2
        ),
        "tokens_per_second": {name: round(rows * NEW_TOKENS / one, 1) for name, one in medians.items()},
        "same_work": lengths["generate"] == lengths["personatune"] == {rows, NEW_TOKENS}
        and worst["personatune"] < _TOLERANCE,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--replies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--quick", action="store_true", help="16 rows only")
    options = parser.parse_args()
    results = {
        rows: compare(options.model, rows, options.replies, options.rounds)
        for rows in ([16] if options.quick else options.rows)
    }
    print(
        json.dumps(
            {
                "time_ratio": min(result["time_ratio"] for result in results.values()),
                "memory_ratio": min(result["memory_ratio"] for result in results.values()),
                "same_work": all(result["same_work"] for result in results.values()),
                "target": TARGET,
                "rows": {str(rows): result for rows, result in results.items()},
                "threads": torch.get_num_threads(),
                "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
            }
        )
    )


if __name__ == "__main__":
    benchmark(main)
