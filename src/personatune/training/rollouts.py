"""PPO's experience: prompts, sampled replies and everything that is computed once about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from personatune.dialogue import Context
from personatune.model.branches import SplitModel, Trunk, pad_batch
from personatune.model.draws import Draws
from personatune.model.generation import Reply, Sampling, generate_replies
from personatune.model.prompts import PromptFormat
from personatune.model.trunk_cache import TrunkCache
from personatune.training.distributed import Processes
from personatune.training.rl_math import head_logprobs

POLICY = "policy"
CRITIC = "critic"


@dataclass(frozen=True)
class Rollouts:
    """A batch of sampled replies: N replies, R the longest of them.

    Attributes:
        trunk: prompts with their replies through the shared layers, computed once; a prompt once for its replies.
            It holds the replies that this process owns, all else is of everybody's.
        tokens, mask: N × R; the replies' tokens, right-padded.
        logprobs: N × R; under the policy that sampled them (the sampler doesn't alter its distribution).
        texts, finished: of each reply; an unfinished one was cut at the token limit.
        contexts: of each reply.
    """

    trunk: TrunkCache
    tokens: Tensor
    mask: Tensor
    logprobs: Tensor
    texts: list[str]
    finished: Tensor
    contexts: list[Context]

    def __len__(self) -> int:
        return len(self.texts)


def sample_rollouts(
    split: SplitModel,
    prompts: PromptFormat,
    contexts: Sequence[Context],
    *,
    replies_per_prompt: int,
    sampling: Sampling,
    seeds: Sequence[int],
    processes: Processes,
    folder: Path | None = None,
) -> Rollouts:
    """Sample replies from the policy branch and run the shared layers once over prompts and replies.

    Args:
        seeds: of each context's draws, so that the same replies come whoever answers and whatever is decoded together.
        processes: each answers the prompts it owns.
        folder: where the shared layers' output goes when there is too much of it for the memory.
    """
    encoded = [prompts.encode_prompt(context, sampling.max_new_tokens) for context in contexts]
    with split.active(POLICY):
        own_groups = generate_replies(
            split.backbone,
            processes.own(encoded),
            prompts.stop_ids,
            sampling,
            replies_per_prompt=replies_per_prompt,
            generator=Draws(processes.own(seeds), replies_per_prompt, sampling.max_new_tokens),
        )
    groups = processes.in_order(own_groups)
    own = [
        number
        for number in range(len(groups) * replies_per_prompt)
        if (number // replies_per_prompt) % processes.count == processes.rank
    ]
    rows = [(prompt, reply) for prompt, group in zip(encoded, groups, strict=True) for reply in group]
    tokens, mask = pad_batch([reply.ids for _, reply in rows], prompts.pad_id, split.device)
    items = [(prompt, reply.ids) for prompt, reply in rows]
    return Rollouts(
        trunk=TrunkCache(split, items, prompts.pad_id, own=own, folder=folder),
        tokens=tokens,
        mask=mask.bool(),
        logprobs=_padded_logprobs([reply for _, reply in rows], tokens.shape[1]).to(split.device),
        texts=[prompts.decode_reply(reply.ids) for _, reply in rows],
        finished=torch.tensor([reply.finished for _, reply in rows]),
        contexts=[context for context in contexts for _ in range(replies_per_prompt)],
    )


def branch_logprobs(split: SplitModel, trunk: Trunk, branch: str | None) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of the replies' tokens under a branch (None: the reference policy), and entropies.

    Both M, reply by reply; the entropies, of the distributions the tokens were drawn from, have no gradients.
    """
    with split.active(branch):
        hidden_M_H = split.predicting(trunk)
    return head_logprobs(hidden_M_H, split.backbone.get_output_embeddings(), trunk.rows.tokens)


def branch_values(split: SplitModel, trunk: Trunk) -> Tensor:
    """Return the critic's value before each reply token, M, reply by reply."""
    with split.active(CRITIC):
        return split.scalar(CRITIC, split.predicting(trunk))


def place(target_N_R: Tensor, numbers: Sequence[int], trunk: Trunk, values_M: Tensor) -> None:
    """Write values of a batch's reply tokens, M, to the rows of its replies ``numbers``, in place."""
    rows = trunk.rows.by_reply(values_M)
    target_N_R[torch.tensor(numbers, device=rows.device), : rows.shape[1]] = rows.to(target_N_R)


def _padded_logprobs(replies: Sequence[Reply], width: int) -> Tensor:
    padded = torch.zeros(len(replies), width)
    for row, reply in enumerate(replies):
        padded[row, : len(reply.logprobs)] = torch.tensor(reply.logprobs)
    return padded
