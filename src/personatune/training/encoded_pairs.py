"""Preference pairs as DPO reads them: behind the shared layers, with what the reference says of both replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from personatune.dialogue import PreferencePair
from personatune.model.branches import SplitModel, Trunk
from personatune.model.prompts import PromptFormat
from personatune.model.shared_replies import BATCH_TOKENS
from personatune.model.trunk_cache import TrunkCache
from personatune.progress import Progress
from personatune.training.distributed import Processes
from personatune.training.rollouts import POLICY, branch_logprobs

SELF_CHECK_TOLERANCE = 1e-2  # nats a token between the fresh policy and the reference, batched differently


@dataclass(frozen=True)
class EncodedPairs:
    """Pairs behind the shared layers; the chosen reply of pair p has the number p, the rejected one count + p."""

    data: TrunkCache
    reference: Tensor  # 2 · count; summed log-probabilities, of this process's replies
    count: int

    def units(self, pairs: Sequence[int]) -> list[tuple[int, int]]:
        return [(pair, self.count + pair) for pair in pairs if pair in self.data.piece_of]


def encode_pairs(
    split: SplitModel,
    prompts: PromptFormat,
    pairs: Sequence[PreferencePair],
    processes: Processes,
    folder: Path,
    progress: Progress,
    batch_tokens: int = BATCH_TOKENS,
) -> EncodedPairs:
    """Run the shared layers and the reference over this process's pairs.

    Args:
        folder: where the layers' output goes when it outgrows the memory it may take.
    """
    items: list[tuple[list[int], list[int]]] = []
    replies = [[prompts.encode_reply(text) for text in (pair.chosen, pair.rejected)] for pair in pairs]
    contexts = [  # room for the longer reply: both stand behind the same prompt
        prompts.encode_prompt(pair.context, reserve=max(map(len, both)))
        for pair, both in zip(pairs, replies, strict=True)
    ]
    for place in (0, 1):
        items += [(context, both[place]) for context, both in zip(contexts, replies, strict=True)]
    own = processes.own(range(len(pairs)))
    own += [len(pairs) + pair for pair in own]
    with progress.task("DPO: shared layers and reference", 2 * len(own)) as task, processes.whole(split.backbone):
        data = TrunkCache(split, items, prompts.pad_id, own=own, folder=folder, advance=task.advance)
        reference = torch.zeros(len(items))
        with torch.no_grad():
            for numbers in data.buckets(tokens=batch_tokens):
                reference[numbers] = reply_likelihoods(split, data.batch(numbers), None)[0].cpu()
                task.advance(len(numbers))
    return EncodedPairs(data, reference, len(pairs))


def reply_likelihoods(split: SplitModel, trunk: Trunk, branch: str | None = POLICY) -> tuple[Tensor, Tensor]:
    """Return the replies' summed log-probabilities, N, and their tokens, N; with gradients where they are on."""
    logprobs_M, _ = branch_logprobs(split, trunk, branch)
    lengths_N = torch.tensor(trunk.rows.lengths, dtype=logprobs_M.dtype, device=logprobs_M.device)
    return trunk.rows.by_reply(logprobs_M).sum(dim=1), lengths_N


@torch.no_grad()
def check_start(split: SplitModel, pairs: EncodedPairs, batch_tokens: int, processes: Processes) -> None:
    """Check that before the first step the policy is the reference.

    Raises:
        RuntimeError: it isn't (a defect of the program or an unsupported model).
    """
    with processes.whole(split.backbone):
        [numbers, *_] = pairs.data.buckets(pairs.units(range(pairs.count)), batch_tokens)
        sums_N, lengths_N = reply_likelihoods(split, pairs.data.batch(numbers))
    apart = float(((sums_N.cpu() - pairs.reference[numbers]) / lengths_N.cpu()).abs().max())
    if not apart <= SELF_CHECK_TOLERANCE:
        raise RuntimeError(f"DPO's self-check failed before the first step: policy and reference {apart} nats apart")
