"""What one PPO update costs, step by step: 4 prompts of 240 tokens, 4 replies of 28 tokens each, 4 epochs.

    python benchmarks/ppo_update.py [--layers 4 8 10 15 30] [--critic-layers 2 4] [--rounds 5] [--plain] [--profile]

Every number of branch layers takes turns with the others, each with as many for its critic, or with each of
``--critic-layers`` that isn't more (0: as many); a line shows medians over the rounds after a small update
that warms up. Phases and their sum, ``cpu``, are processor time of all threads, which other programs on the machine
disturb less than the clock; ``update`` is what the clock says. ``--plain`` adds the layout that reads a prompt once for
every reply; ``--profile`` prints the operators of one update instead. The last line is a JSON object. Peak memory is of
the whole process: run one number of layers alone to compare it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from personatune.dialogue import Context, Persona, Turn
from personatune.model.backbone import EMBEDDED, load_base_model, load_tokenizer
from personatune.model.branches import SplitModel
from personatune.model.prompts import PromptFormat, prompt_format
from personatune.model.shared_replies import BATCH_TOKENS
from personatune.settings import BranchConfig, PPOConfig
from personatune.training import rollouts
from personatune.training.ppo_update import PPOUpdate
from personatune.training.reward import BRANCH, RewardModel
from sides.command import benchmark

PHASES = ("sampling", "trunk", "reading", "epochs")
COLUMNS = (*PHASES, "cpu", "update")


class FixedLength:
    """A prompt form with prompts of one length, cut from real ones, and replies that never stop before theirs."""

    stop_ids = (-1,)

    def __init__(self, prompts: PromptFormat, tokens: int) -> None:
        self._prompts = prompts
        self._tokens = tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prompts, name)

    def encode_prompt(self, context: Context, reserve: int = 0) -> list[int]:
        return self._prompts.encode_prompt(context, reserve)[-self._tokens :]


def contexts(count: int) -> list[Context]:
    """Return contexts that are longer than the prompts wanted, each with words of its own."""
    made = []
    for number in range(count):
        persona = Persona(
            tuple(f"I have {number + 2} cats and trait number {trait} of mine is quiet." for trait in range(5))
        )
        lines = [f"Line {line} of talk {number}: tell me something about your day and your cats." for line in range(13)]
        turns = tuple(Turn("partner" if line % 2 == 0 else "self", text) for line, text in enumerate(lines))
        made.append(Context(persona, turns))
    return made


@contextmanager
def timed(spent: dict[str, float], module: Any, name: str, phase: str) -> Iterator[None]:
    """Add the processor time that a function of a module takes to a phase."""
    plain = getattr(module, name)

    def measured(*args: Any, **options: Any) -> Any:
        begin = time.process_time()
        try:
            return plain(*args, **options)
        finally:
            spent[phase] += time.process_time() - begin

    setattr(module, name, measured)
    try:
        yield
    finally:
        setattr(module, name, plain)


def build(model: str, layers: int, critic: int, options: argparse.Namespace, *, shared: bool) -> PPOUpdate:
    backbone = load_base_model(model)
    whole = layers >= backbone.config.num_hidden_layers
    branch = BranchConfig(layers="all" if whole else layers, critic_layers=critic or None)
    split = SplitModel(backbone, branch, share_prompts=shared)
    prompts: Any = FixedLength(prompt_format(load_tokenizer(model), "auto", 1024), options.prompt_tokens)
    reward = RewardModel(split, prompts)
    nn.init.normal_(split.heads[BRANCH].weight, generator=torch.Generator().manual_seed(1))
    config = PPOConfig(
        prompts_per_update=options.prompts,
        replies_per_prompt=options.replies,
        epochs=options.epochs,
        minibatch_size=options.prompts * options.replies,
        max_new_tokens=options.reply_tokens,
    )
    return PPOUpdate(split, prompts, reward, config, batch_tokens=options.batch_tokens)


def one_update(update: PPOUpdate, number: int, prompts: int) -> dict[str, float]:
    """Return the processor seconds of each phase of one update and of all, and the seconds on the clock."""
    spent = dict.fromkeys(PHASES, 0.0)
    begin, cpu = time.perf_counter(), time.process_time()
    with (
        timed(spent, rollouts, "generate_replies", "sampling"),
        timed(spent, rollouts, "TrunkCache", "trunk"),
        timed(spent, update, "_read", "reading"),
        timed(spent, update, "improve", "epochs"),
    ):
        update.update(contexts(prompts), number)
    return {**spent, "update": time.perf_counter() - begin, "cpu": time.process_time() - cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 8, 10, 15, 30])
    parser.add_argument("--critic-layers", type=int, nargs="+", default=[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--replies", type=int, default=4)
    parser.add_argument("--prompt-tokens", type=int, default=240)
    parser.add_argument("--reply-tokens", type=int, default=28)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-tokens", type=int, default=BATCH_TOKENS, help="tokens that go through together")
    parser.add_argument("--plain", action="store_true", help="add one reply a row, at the first number of layers")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    sides = {
        f"k = {layers}" + (f", critic {critic}" if critic else ""): build(
            options.model, layers, critic, options, shared=True
        )
        for layers in options.layers
        for critic in options.critic_layers
        if critic <= layers
    }
    if options.plain:
        layers = options.layers[0]
        sides[f"k = {layers}, plain"] = build(options.model, layers, 0, options, shared=False)
    for update in sides.values():
        one_update(update, 0, 1)
    if options.profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            print(one_update(next(iter(sides.values())), 1, options.prompts))
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=40))
        return
    times: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(1, options.rounds + 1):
        for name, update in sides.items():
            times[name].append(one_update(update, number, options.prompts))
    medians = {
        name: {phase: statistics.median(row[phase] for row in rows) for phase in COLUMNS}
        for name, rows in times.items()
    }
    print(f"{'seconds':16}" + "".join(f"{phase:>10}" for phase in COLUMNS))
    for name, row in medians.items():
        print(f"{name:16}" + "".join(f"{row[phase]:10.2f}" for phase in COLUMNS))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": medians, "peak_bytes": peak, "torch": torch.__version__, "settings": vars(options)}))


if __name__ == "__main__":
    benchmark(main)
