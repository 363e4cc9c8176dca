"""A hundred PPO updates reach the best there is under toy rewards, on shared prompts and on the plain path alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
import torch
from torch import Tensor

from personatune.config import BranchConfig, PPOConfig
from personatune.model.branches import SplitModel, Trunk
from personatune.model.prompts import PromptFormat
from personatune.training.ppo_update import PPOUpdate
from personatune.training.reward import RewardModel

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

REPLY_TOKENS = 6
CONFIG = PPOConfig(
    updates=100, prompts_per_update=4, replies_per_prompt=4, epochs=2, minibatch_size=16, max_new_tokens=REPLY_TOKENS,
    policy_learning_rate=1e-2, critic_learning_rate=1e-2, kl_coef=0.0, truncation_penalty=0.0,
)  # fmt: skip


class LikesShortReplies(RewardModel):
    """1 for a reply of one token, which can only be its end, down to 0 for the longest."""

    best = 1.0

    def score_trunk(self, trunk: Trunk) -> Tensor:
        return 1 - (torch.tensor(trunk.rows.lengths) - 1) / (REPLY_TOKENS - 1)


class LikesAWord(RewardModel):
    """The share of a reply's tokens that are one word, which the untrained model says now and then."""

    best = 1.0
    word = 0

    def score_trunk(self, trunk: Trunk) -> Tensor:
        replies = trunk.rows.tokens.split(list(trunk.rows.lengths))
        return torch.stack([(reply == self.word).float().mean() for reply in replies])


class Endings:
    """A prompt form in which many tokens end a reply: an untrained model would hardly ever say the one that does."""

    def __init__(self, prompts: PromptFormat, stop_ids: Iterable[int]) -> None:
        self._prompts = prompts
        self.stop_ids = tuple(stop_ids)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prompts, name)


def last_scores(
    tiny: TinyModels,
    dialogues: type[HandMadeDialogues],
    reward: Callable[[SplitModel], RewardModel],
    seed: int,
    *,
    layers: int | Literal["all"],
    shared: bool,
) -> tuple[float, float]:
    """Return the mean score of the first update and of the last ten."""
    split = SplitModel(
        tiny.model(layers=2, spread=0.15, seed=seed),
        BranchConfig(layers=layers, rank=4, alpha=16),
        share_prompts=shared,
    )
    prompts = Endings(tiny.prompts(), range(0, tiny.vocabulary, 10))
    contexts = dialogues.contexts(4, seed=seed)
    step = PPOUpdate(split, cast(PromptFormat, prompts), reward(split), CONFIG, seed=seed)
    scores = [step.update(contexts, number)[1]["score"] for number in range(CONFIG.updates)]
    return scores[0], statistics.fmean(scores[-10:])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("wish", [LikesShortReplies, LikesAWord])
def test_a_hundred_updates_reach_the_optimum_on_the_fast_and_the_plain_path(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], wish: type[LikesShortReplies | LikesAWord], seed: int
) -> None:
    def reward(split: SplitModel) -> RewardModel:
        model = wish(split, tiny.prompts())
        if isinstance(model, LikesAWord):
            model.word = most_likely_word(split, tiny, dialogues, seed)
        return model

    for layers, shared in ((1, True), ("all", False)):
        first, last = last_scores(tiny, dialogues, reward, seed, layers=layers, shared=shared)  # type: ignore[arg-type]
        print(layers, shared, first, last)
        assert first < 0.5 * wish.best
        assert last > 0.95 * wish.best


def most_likely_word(split: SplitModel, tiny: TinyModels, dialogues: type[HandMadeDialogues], seed: int) -> int:
    """The token, those that end a reply left out, that the untrained model says most often first."""
    prompts = tiny.prompts()
    total = torch.zeros(tiny.vocabulary)
    with torch.no_grad():
        for context in dialogues.contexts(4, seed=seed):
            logits = split.backbone(input_ids=torch.tensor([prompts.encode_prompt(context)])).logits[0, -1]
            total += torch.softmax(logits, dim=-1)
    total[::10] = 0  # those end a reply
    return int(total.argmax())
