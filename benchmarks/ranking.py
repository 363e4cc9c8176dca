"""Ranking 31 replies a record: personatune's one row a record against a plain loop, one forward pass a reply.

    python benchmarks/ranking.py [--data FILE] [--records 12] [--plain 3] [--model embedded] [--write FILE]
                                 [--convai2 FILE]

The records are made from persona dialogues (Synthetic-Persona-Chat by default) in the dialogue-NLI form: the gold
reply, ten that contradict the persona, ten that agree with it, ten of others. ``--write`` keeps them as a file for
`personatune rank`; ``--convai2`` takes the first turns of a ConvAI2 candidates file instead. The two sides alternate
record by record, so whatever else runs on the machine slows both; the plain loop takes many times as long and gets the
first ``--plain`` records only. Our records a second stand beside the share of the machine's measured matmul peak that
they reach: the operations counted are those of the layers' matrices for every token that is read and of the head for
every token that is predicted, without attention. The last line is one JSON object with `time_ratio` (plain over ours),
records a second of both, and the largest difference between the scores of the same reply.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import transformers

from personatune.allocator import keep_freed_memory
from personatune.costs.meter import measure_matmul_peak
from personatune.data.contradictions import contradict
from personatune.data.ranking_files import read_ranking_file
from personatune.data.sources import DatasetLoader
from personatune.dialogue import Perspective, RankingTask
from personatune.evaluation.ranking import RankingEvaluator
from personatune.model.backbone import load_base_model, load_tokenizer
from personatune.model.candidates import CandidateScorer
from personatune.model.prompts import PromptFormat, prompt_format
from sides.command import benchmark

_SHARED = Path(os.environ.get("PERSONATUNE_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
GROUP = 10
TARGET = 1.5  # records a second


def analogue_records(source: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return up to ``count`` records in the dialogue-NLI form, made from persona dialogues by rule."""
    rng = random.Random(seed)
    views = [view for dialogue in DatasetLoader(source, seed=seed).load().dialogues for view in dialogue.perspectives()]
    rng.shuffle(views)
    said_by_others = [turn.text for view in views[-400:] for turn in view.turns if turn.speaker == "self"]
    records: list[dict[str, Any]] = []
    for view in views[:-400]:
        record = _record(view, said_by_others, rng)
        if record is not None:
            records.append(record)
        if len(records) == count:
            break
    return records


def _record(view: Perspective, others: list[str], rng: random.Random) -> dict[str, Any] | None:
    replies = list(view.replies())[1:]
    if not replies:
        return None
    context, gold = rng.choice(replies)
    own = [turn.text for turn in view.turns if turn.speaker == "self" and turn.text != gold]
    stated = [*view.persona.traits, *own]
    edits = {edit.text: None for text in stated * 4 if (edit := contradict(text, view.persona.traits, rng))}
    if len(edits) < GROUP or len(stated) < GROUP:
        return None
    prefix = [turn.text for turn in context.history]
    return {
        "persona": list(view.persona.traits),
        "prefix": prefix,
        "triple": None,
        "candidates": {
            "label": [gold],
            "neg": rng.sample(list(edits), GROUP),
            "similar": stated[:GROUP],
            "rand": rng.sample(others, GROUP),
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=str(_SHARED / "synthetic-persona-chat" / "spc_train_04.jsonl"))
    parser.add_argument("--convai2", type=Path, default=None)
    parser.add_argument("--records", type=int, default=12)
    parser.add_argument("--plain", type=int, default=3, help="records that the plain loop gets")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--write", type=Path, default=Path("runs/rank/analogue.jsonl"))
    options = parser.parse_args()
    file = options.convai2
    if file is None:
        file = options.write
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = analogue_records(options.data, options.records)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tasks = read_ranking_file(file).tasks[: options.records]
    keep_freed_memory()
    print(json.dumps(measure(options.model, tasks, options.plain)))


def measure(source: str, tasks: list[RankingTask], plain: int) -> dict[str, Any]:
    """Score the tasks both ways, the first ``plain`` of them by the plain loop, print a table, return the figures."""
    model = load_base_model(source)
    prompts = prompt_format(load_tokenizer(source), "auto", 512)
    sides = {
        "plain loop": CandidateScorer(model, prompts, share_contexts=False),
        "personatune": CandidateScorer(model, prompts),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    scores: dict[str, list[list[float]]] = {name: [] for name in sides}
    sides["personatune"](tasks[-1:])  # the first pass allocates
    for number, task in enumerate(tasks):
        for name, scorer in sides.items():
            if name == "plain loop" and number >= plain:
                continue
            begin = time.perf_counter()
            scores[name] += scorer([task])
            seconds[name].append(time.perf_counter() - begin)
    replies = sum(len(task.candidates) for task in tasks)
    print(f"{len(tasks)} records, {replies / len(tasks):.1f} replies each, {torch.get_num_threads()} threads, fp32")
    for name, took in seconds.items():
        figures = RankingEvaluator().evaluate(tasks[: len(took)], scores[name])
        shown = "  ".join(f"{rate} {estimate.value:.1f}" for rate, estimate in figures.items())
        mean = sum(took) / len(took)
        print(f"{name:12} n {len(took):3}  {mean:7.3f} s a record   {1 / mean:6.2f} records/s   {shown}")
    pairs = list(zip(scores["plain loop"], scores["personatune"], strict=False))
    difference = max(abs(one - other) for own, ours in pairs for one, other in zip(own, ours, strict=True))
    flops, tokens = _work(model, prompts, tasks)
    peak = measure_matmul_peak()
    total = sum(seconds["personatune"])
    print(
        f"{tokens / len(tasks):.0f} tokens and {flops / len(tasks) / 1e9:.0f} GFLOP a record; "
        f"{flops / total / 1e9:.0f} GFLOP/s, {flops / total / peak:.0%} of the matmul peak of {peak / 1e9:.0f}; "
        "at the peak "
        f"{peak * len(tasks) / flops:.2f} records/s   target {TARGET}"
    )
    return {
        "time_ratio": round(sum(seconds["plain loop"]) / sum(seconds["personatune"][: len(pairs)]), 2),
        "records_per_second": {name: round(len(took) / sum(took), 3) for name, took in seconds.items()},
        "peak_share": round(flops / total / peak, 3),
        "records_per_second_at_peak": round(peak * len(tasks) / flops, 3),
        "largest_difference": difference,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def _work(model: transformers.PreTrainedModel, prompts: PromptFormat, tasks: list[RankingTask]) -> tuple[float, int]:
    """Return the operations of the layers' and the head's matrices that our side needs, and the tokens it reads."""
    head = model.get_output_embeddings().weight.numel()
    layers = sum(weight.numel() for weight in model.get_decoder().layers.parameters() if weight.dim() > 1)
    flops, tokens = 0.0, 0
    before: list[int] = []
    for task in tasks:
        replies = {tuple(prompts.encode_reply(text)) for text in task.candidates}
        prompt = prompts.encode_prompt(task.context, reserve=max(map(len, replies)))
        inner = len({reply[:length] for reply in replies for length in range(1, len(reply))})
        same = next((at for at, (old, new) in enumerate(zip(before, prompt, strict=False)) if old != new), 0)
        read = len(prompt) - same + inner
        flops += 2.0 * layers * read + 2.0 * head * (inner + 1)
        tokens += read
        before = prompt
    return flops, tokens


if __name__ == "__main__":
    benchmark(main)
