"""PPO's experience: prompts, sampled replies and everything that is computed once about them.

Replies of several turns: the partner's lines are given, one after the other, and the speaker's own sampled replies
stay in the history. All replies to one opening are asked for together; from then on each leads a conversation of its
own, so later prompts are nobody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from personatune.dialogue import Context, Turn
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
        following: for each reply the number of the next one in the same conversation, -1 at its end. First replies come
            first, then second ones, and so on; within a turn those of one opening stand together.
    """

    trunk: TrunkCache
    tokens: Tensor
    mask: Tensor
    logprobs: Tensor
    texts: list[str]
    finished: Tensor
    contexts: list[Context]
    following: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def turns(self) -> list[int]:
        """The place of each reply in its conversation, from 0 on."""
        places = [0] * len(self)
        for number, later in enumerate(self.following):
            if later >= 0:
                places[later] = places[number] + 1
        return places


@dataclass(slots=True)
class _Said:
    """A sampled reply: what it answers, as context and tokens, and where the conversation goes on."""

    context: Context
    prompt: list[int]
    reply: Reply
    lines: Sequence[str]
    seed: int
    following: int = -1


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
    lines: Sequence[Sequence[str]] | None = None,
) -> Rollouts:
    """Sample replies from the policy branch and run the shared layers once over prompts and replies.

    Args:
        lines: what the partner says after the first reply to each context, after the second, and so on; None or no
            line: one reply.
        seeds: of each context's draws, so that the same replies come whoever answers and whatever is decoded together.
        processes: each answers the prompts it owns.
        folder: where the shared layers' output goes when there is too much of it for the memory.
    """
    later = lines or [()] * len(contexts)
    openings = list(zip(contexts, later, seeds, strict=True))
    said: list[_Said] = []
    begun = 0
    with split.active(POLICY):
        said += _answers(split, prompts, openings, replies_per_prompt, sampling, processes)
        while any(one.lines for one in said[begun:]):
            going_on = [number for number in range(begun, len(said)) if said[number].lines]
            begun = len(said)
            asked = [_asked_next(said[number], prompts, place) for place, number in enumerate(going_on)]
            for place, number in enumerate(going_on):
                said[number].following = begun + place
            said += _answers(split, prompts, asked, 1, sampling, processes)
    own = [number for number in range(len(said)) if (number // replies_per_prompt) % processes.count == processes.rank]
    tokens, mask = pad_batch([one.reply.ids for one in said], prompts.pad_id, split.device)
    items = [(one.prompt, one.reply.ids) for one in said]
    return Rollouts(
        trunk=TrunkCache(split, items, prompts.pad_id, own=own, folder=folder),
        tokens=tokens,
        mask=mask.bool(),
        logprobs=_padded_logprobs([one.reply for one in said], tokens.shape[1]).to(split.device),
        texts=[prompts.decode_reply(one.reply.ids) for one in said],
        finished=torch.tensor([one.reply.finished for one in said]),
        contexts=[one.context for one in said],
        following=tuple(one.following for one in said),
    )


def _answers(
    split: SplitModel,
    prompts: PromptFormat,
    asked: Sequence[tuple[Context, Sequence[str], int]],
    replies_per_prompt: int,
    sampling: Sampling,
    processes: Processes,
) -> list[_Said]:
    """Sample replies to contexts, each with the partner's later lines and a seed; those to one context together."""
    encoded = [prompts.encode_prompt(context, sampling.max_new_tokens) for context, _, _ in asked]
    own = processes.own(encoded)
    own_seeds = processes.own([seed for _, _, seed in asked])
    found: list[list[Reply]] = []
    if own:  # in later turns there may be fewer conversations than processes
        found = generate_replies(
            split.backbone,
            own,
            prompts.stop_ids,
            sampling,
            replies_per_prompt=replies_per_prompt,
            generator=Draws(own_seeds, replies_per_prompt, sampling.max_new_tokens),
        )
    groups = processes.in_order(found)
    return [
        _Said(context, prompt, reply, lines, seed)
        for (context, lines, seed), prompt, group in zip(asked, encoded, groups, strict=True)
        for reply in group
    ]


def _asked_next(one: _Said, prompts: PromptFormat, place: int) -> tuple[Context, Sequence[str], int]:
    """Return the context after a reply and the partner's next line, the lines that are left, and a seed."""
    turns = (Turn("self", prompts.decode_reply(one.reply.ids)), Turn("partner", one.lines[0]))
    context = Context(one.context.persona, (*one.context.history, *turns))
    return context, one.lines[1:], hash((one.seed, place)) & 0x7FFFFFFF


def branch_logprobs(split: SplitModel, trunk: Trunk, branch: str | None) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of the replies' tokens under a branch (None: the reference policy), and entropies.

    Both M, reply by reply; the entropies, of the distributions the tokens were drawn from, have no gradients.
    """
    with split.active(branch):
        hidden_M_H = split.predicting(trunk)
    return head_logprobs(hidden_M_H, split.backbone.get_output_embeddings(), trunk.rows.tokens)


def reference_logprobs(split: SplitModel, trunk: Trunk, below: int) -> tuple[Tensor, Trunk]:
    """Return log-probabilities of the replies' tokens under the reference, M, reply by reply.

    The same pass gives the rows as they are above ``below`` layers, for a branch that begins there.
    """
    with split.raising(trunk, below) as raised:
        logprobs_M, _ = branch_logprobs(split, trunk, None)
    return logprobs_M, raised[0]


def branch_values(split: SplitModel, trunk: Trunk) -> Tensor:
    """Return the critic's value before each reply token, M, reply by reply."""
    with split.active(CRITIC):
        return split.scalar(CRITIC, split.predicting(trunk))


def place(target_N_R: Tensor, numbers: Sequence[int], trunk: Trunk, values_M: Tensor) -> None:
    """Write values of a batch's reply tokens, M, to the rows of its replies ``numbers``, in place."""
    rows = trunk.rows.by_reply(values_M)
    target_N_R[torch.tensor(numbers, device=rows.device), : rows.shape[1]] = rows.to(target_N_R)


def covers(trunk: Trunk, tokens_N_R: Tensor, mask_N_R: Tensor) -> bool:
    """Say whether a batch reads exactly the replies: each token behind its state, the last one at the reply's end."""
    rows = trunk.rows
    flat = rows.input_ids.flatten()
    return (
        rows.tokens.tolist() == tokens_N_R[mask_N_R].tolist()
        and list(rows.lengths) == mask_N_R.sum(dim=1).tolist()
        and [int(flat[end]) for end in rows.ends]
        == [int(row[own][-1]) for row, own in zip(tokens_N_R, mask_N_R, strict=True)]
    )


def _padded_logprobs(replies: Sequence[Reply], width: int) -> Tensor:
    padded = torch.zeros(len(replies), width)
    for row, reply in enumerate(replies):
        padded[row, : len(reply.logprobs)] = torch.tensor(reply.logprobs)
    return padded
