"""Evaluating one model on probe dialogues: how long replies, judged measures and all other figures take.

    python benchmarks/evaluation.py [--dialogues 100] [--turns 6] [--model embedded] [--judge critic] [--rows 64]

The target is 100 dialogues of 6 turns in at most 4 minutes on two cores, everything included. Nothing is kept from call
to call. The last line is one JSON object with seconds by part and in all, and the versions.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import transformers

from personatune.allocator import keep_freed_memory
from personatune.evaluation.overall import read_overall
from personatune.model.generation import Sampling
from personatune.pipeline.benchmark_runs import BenchmarkRunner
from personatune.pipeline.benchmark_sets import read_benchmark, written_by_people
from personatune.pipeline.contenders import load_contender
from personatune.pipeline.judging import find_judges
from personatune.settings import EvaluationConfig
from sides.command import benchmark

TARGET_SECONDS = 240


class Clock:
    """Takes and prints the seconds of each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begin
        print(f"{name:10} {self.seconds[name]:8.1f} s", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialogues", type=int, default=100)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--judge", default="critic")
    parser.add_argument("--rows", type=int, default=64)
    options = parser.parse_args()
    keep_freed_memory()
    clock = Clock()
    defaults = EvaluationConfig(batch_size=options.rows)
    sampling = Sampling(defaults.max_new_tokens, no_repeat_ngram=defaults.no_repeat_ngram)
    with clock.part("loading"):
        benchmark = read_benchmark("probes", None, limit=options.dialogues, turns=options.turns, split="all")
        judges = find_judges(options.judge)
        contender = load_contender(options.model, sampling=sampling)
        human = load_contender("human", human=written_by_people([benchmark]))
    with tempfile.TemporaryDirectory() as folder:
        runner = BenchmarkRunner(Path(folder), defaults, judges)
        with clock.part("replies"):
            runner.replies(contender, benchmark)
        with clock.part("figures"):
            result = runner.run(contender, benchmark)
        with clock.part("ceiling"):
            readings = read_overall([result, runner.run(human, benchmark)])
    total = sum(clock.seconds.values())
    lines = sum(len(script.lines) for script in benchmark.scripts)
    bot = contender.chatbot
    tokens = bot.tokens_generated if bot else 0
    print(
        f"{len(benchmark.items)} dialogues, {lines} replies, {tokens} tokens, {options.rows} rows at most, "
        f"{torch.get_num_threads()} threads, judge {judges.judge.name if judges.judge else judges.why_no_judge}"
    )
    print(f"{'in all':10} {total:8.1f} s   target {TARGET_SECONDS} s")
    for reading in readings:
        print(f"{reading.contender:10} overall {reading.score.value:.3f}   {dict(reading.figures)}")
    print(
        json.dumps(
            {
                "seconds": {name: round(seconds, 1) for name, seconds in clock.seconds.items()},
                "total": round(total, 1),
                "met": total <= TARGET_SECONDS,
                "tokens": tokens,
                "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
            }
        )
    )


if __name__ == "__main__":
    benchmark(main)
