"""PPO's experience: prompts, sampled replies and everything that is computed once about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from personatune.dialogue import Context
from personatune.model.branches import SplitModel, Trunk, pad_batch
from personatune.model.generation import Reply, Sampling, generate_replies
from personatune.model.prompts import PromptFormat
from personatune.training.rl_math import token_logprobs

POLICY = "policy"
CRITIC = "critic"


@dataclass(frozen=True)
class Rollouts:
    """A batch of sampled replies. B replies, R the longest of them, T the longest sequence.

    Attributes:
        trunk: prompts with their replies through the shared layers, computed once.
        starts: B; index of the hidden state that predicts a reply's first token.
        tokens, mask: B × R; the replies' tokens, right-padded.
        logprobs: B × R; under the policy that sampled them (the sampler doesn't alter its distribution).
        texts, finished: of each reply; an unfinished one was cut at the token limit.
        contexts: of each reply.
    """

    trunk: Trunk
    starts: Tensor
    tokens: Tensor
    mask: Tensor
    logprobs: Tensor
    texts: list[str]
    finished: Tensor
    contexts: list[Context]

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, index: Tensor) -> Rollouts:
        """Return the replies ``index``."""
        chosen = index.tolist()
        return replace(
            self,
            trunk=self.trunk.rows(index),
            starts=self.starts[index],
            tokens=self.tokens[index],
            mask=self.mask[index],
            logprobs=self.logprobs[index],
            texts=[self.texts[i] for i in chosen],
            finished=self.finished[index],
            contexts=[self.contexts[i] for i in chosen],
        )


def sample_rollouts(
    split: SplitModel,
    prompts: PromptFormat,
    contexts: Sequence[Context],
    *,
    replies_per_prompt: int,
    sampling: Sampling,
    generator: torch.Generator,
) -> Rollouts:
    """Sample replies from the policy branch and run the shared layers once over prompts and replies."""
    encoded = [prompts.encode_prompt(context, sampling.max_new_tokens) for context in contexts]
    with split.active(POLICY):
        groups = generate_replies(
            split.backbone,
            encoded,
            prompts.stop_ids,
            sampling,
            replies_per_prompt=replies_per_prompt,
            generator=generator,
        )
    rows = [(prompt, reply) for prompt, group in zip(encoded, groups, strict=True) for reply in group]
    ids, attention = pad_batch([[*prompt, *reply.ids] for prompt, reply in rows], prompts.pad_id, split.device)
    tokens, mask = pad_batch([reply.ids for _, reply in rows], prompts.pad_id, split.device)
    return Rollouts(
        trunk=split.trunk(ids, attention),
        starts=torch.tensor([len(prompt) - 1 for prompt, _ in rows], device=split.device),
        tokens=tokens,
        mask=mask.bool(),
        logprobs=_padded_logprobs([reply for _, reply in rows], tokens.shape[1]).to(split.device),
        texts=[prompts.decode_reply(reply.ids) for _, reply in rows],
        finished=torch.tensor([reply.finished for _, reply in rows]),
        contexts=[context for context in contexts for _ in range(replies_per_prompt)],
    )


def reply_hidden(split: SplitModel, rollouts: Rollouts) -> Tensor:
    """Return the active branch's hidden states that predict the replies' tokens, B × R × H."""
    hidden_B_T_H = split.top(rollouts.trunk)
    offsets_R = torch.arange(rollouts.tokens.shape[1], device=hidden_B_T_H.device)
    index_B_R = (rollouts.starts[:, None] + offsets_R).clamp(max=hidden_B_T_H.shape[1] - 1)
    rows_B_1 = torch.arange(len(rollouts), device=hidden_B_T_H.device)[:, None]
    return hidden_B_T_H[rows_B_1, index_B_R]


def branch_logits(split: SplitModel, rollouts: Rollouts, branch: str | None) -> Tensor:
    """Return next-token logits at the replies' tokens, B × R × V, of a branch (None: the reference policy)."""
    with split.active(branch):
        return split.logits(reply_hidden(split, rollouts))


@torch.no_grad()
def branch_logprobs(split: SplitModel, rollouts: Rollouts, branch: str | None) -> Tensor:
    """Return log-probabilities of the replies' tokens under a branch, B × R, 0 outside the mask."""
    return token_logprobs(branch_logits(split, rollouts, branch), rollouts.tokens) * rollouts.mask


def branch_values(split: SplitModel, rollouts: Rollouts) -> Tensor:
    """Return the critic's value before each reply token, B × R, 0 outside the mask."""
    with split.active(CRITIC):
        return split.scalar(CRITIC, reply_hidden(split, rollouts)) * rollouts.mask


def _padded_logprobs(replies: Sequence[Reply], width: int) -> Tensor:
    padded = torch.zeros(len(replies), width)
    for row, reply in enumerate(replies):
        padded[row, : len(reply.logprobs)] = torch.tensor(reply.logprobs)
    return padded
