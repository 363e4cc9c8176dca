"""What one pass through policy and critic costs in PPO's epochs, by the critic's number of layers.

    python benchmarks/branch_passes.py [--layers 8] [--critic-layers 8 4 2] [--rounds 5] [--model embedded]

Four random prompts of 240 tokens with four random replies of 28 each, their trunk output and every critic's input kept
as in PPO. Policy and critics take turns, forward and backward, so that whatever else runs on the machine slows all of
them; times are processor seconds, medians of the rounds after a first one. An epoch is a policy's pass and a critic's.
The last line is a JSON object. `ppo_update.py` measures whole updates.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from personatune.model.backbone import EMBEDDED, load_base_model
from personatune.model.branches import SplitModel
from personatune.model.trunk_cache import TrunkCache
from personatune.settings import BranchConfig
from personatune.training.rollouts import POLICY, branch_logprobs, reference_logprobs
from sides.command import benchmark

PROMPTS, REPLIES, PROMPT_TOKENS, REPLY_TOKENS = 4, 4, 240, 28


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--critic-layers", type=int, nargs="+", default=[8, 4, 2])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    split = SplitModel(load_base_model(options.model), BranchConfig(layers=options.layers))
    critics = {f"critic {layers}": layers for layers in options.critic_layers}
    split.add_branch(POLICY, head=False, seed=1)
    for name, layers in critics.items():
        split.add_branch(name, head=True, seed=2, layers=layers)
    cache = TrunkCache(split, random_replies(split.backbone.config.vocab_size), 0)
    parts = cache.buckets()
    for below in {split.below(name) for name in critics}:
        with torch.no_grad():
            for part in parts:
                cache.keep(part, reference_logprobs(split, cache.batch(part), below)[1])

    def values(name: str, part: list[int]) -> Tensor:
        with split.active(name):
            return split.scalar(name, split.predicting(cache.batch(part, split.below(name))))

    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds + 1):
        with timed(seconds[POLICY], split):
            for part in parts:
                branch_logprobs(split, cache.batch(part), POLICY)[0].sum().backward()
        for name in critics:
            with timed(seconds[name], split):
                for part in parts:
                    values(name, part).square().sum().backward()
    medians = {name: statistics.median(found[1:]) for name, found in seconds.items()}
    for name, found in medians.items():
        print(f"{name:10} {found:6.2f} s" + (f"   epoch {medians[POLICY] + found:6.2f} s" if name in critics else ""))
    threads = torch.get_num_threads()
    print(json.dumps({"seconds": medians, "threads": threads, "torch": torch.__version__, "settings": vars(options)}))


def random_replies(vocabulary: int) -> list[tuple[list[int], list[int]]]:
    """Return prompts and replies as tokens."""
    draw = random.Random(0)

    def tokens(count: int) -> list[int]:
        return [draw.randrange(vocabulary) for _ in range(count)]

    prompts = [tokens(PROMPT_TOKENS) for _ in range(PROMPTS)]
    return [(prompt, tokens(REPLY_TOKENS)) for prompt in prompts for _ in range(REPLIES)]


@contextmanager
def timed(seconds: list[float], split: SplitModel) -> Iterator[None]:
    """Add the processor seconds of the block; gradients are taken away."""
    begin = time.process_time()
    yield
    seconds.append(time.process_time() - begin)
    for weight in [
        *split.backbone.parameters(),
        *(weight for head in split.heads.values() for weight in head.parameters()),
    ]:
        weight.grad = None


if __name__ == "__main__":
    benchmark(main)
