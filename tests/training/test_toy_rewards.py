"""PPO reaches the best there is under toy rewards, on the fast path and on the plain one alike.

The optimum has to be one that the model can express. A head of frozen token vectors on states of one length gives a
token at most so much of the probability (the "softmax bottleneck", Yang et al. 2018, arXiv 1711.03953): a random model
with 32 small numbers a token can't end more than a third to a half of its replies at once, whatever PPO does. So
the models here are a little wider, and `within_reach` measures that they can before it is asked of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import pytest
import torch
from torch import Tensor

from personatune.model.branches import SplitModel, Trunk
from personatune.model.prompts import PromptFormat
from personatune.settings import AlarmsConfig, BranchConfig, PPOConfig
from personatune.training.ppo import PPOTrainer
from personatune.training.reward import RewardModel

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels
    from transformers import PreTrainedModel

REPLY_TOKENS = 6
# The optimum is the very thing that alarms are for: replies of one token, or one word again and again.
SILENT = AlarmsConfig.model_validate(
    {name: {"action": "off"} for name in ("length", "entropy", "divergence")}
    | {name: {"action": "off", "rise": 1.0} for name in ("repetition", "copying")}
)
OPTIMUM = 1.0
"""The highest mean score there is under either reward."""


class LikesShortReplies(RewardModel):
    """1 for a reply of one token, which can only be its end, down to 0 for the longest."""

    def score_trunk(self, trunk: Trunk) -> Tensor:
        return 1 - (torch.tensor(trunk.rows.lengths) - 1) / (REPLY_TOKENS - 1)


class LikesAWord(RewardModel):
    """The share of a reply's tokens that are one word, which the untrained model says now and then."""

    word = 0

    def score_trunk(self, trunk: Trunk) -> Tensor:
        replies = trunk.rows.tokens.split(list(trunk.rows.lengths))
        return torch.stack([(reply == self.word).float().mean() for reply in replies])


class Ending:
    """A prompt form whose replies end with a token of choice: an untrained model hardly ever says the real one."""

    def __init__(self, prompts: PromptFormat, stop_ids: Iterable[int]) -> None:
        self._prompts = prompts
        self.stop_ids = tuple(stop_ids)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prompts, name)


Way = Literal["fast", "plain", "short critic"]


class Run(NamedTuple):
    """Mean scores: of the untrained model's replies, of the last ten updates' (learning still), of the result's."""

    first: float
    last: float
    fresh: float


class Toys:
    """Runs PPO on tiny random models, with the whole trainer and nothing of it replaced but the reward."""

    def __init__(self, tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> None:
        self.tiny = tiny
        self.dialogues = dialogues

    def model(self, seed: int, hidden: int = 64, spread: float = 0.25) -> PreTrainedModel:
        return self.tiny.model(layers=2, hidden=hidden, spread=spread, seed=seed)

    def likely_words(self, seed: int) -> list[int]:
        """Return the tokens by how often the untrained model says them first, likeliest first."""
        model, prompts = self.model(seed), self.tiny.prompts()
        total = torch.zeros(self.tiny.vocabulary)
        with torch.no_grad():
            for context in self.dialogues.contexts(4, seed=seed):
                logits = model(input_ids=torch.tensor([prompts.encode_prompt(context)])).logits[0, -1]
                total += torch.softmax(logits, dim=-1)
        return total.argsort(descending=True).tolist()

    def run(self, wish: type[RewardModel], folder: Path, *, seed: int, updates: int, path: Way) -> Run:
        """Train on the fast path (adapters on one layer, cached trunk, shared prompts) or on the textbook's.

        With a short critic the policy has both layers, the critic one.
        """
        layers: int | Literal["all"] = 1 if path == "fast" else "all"
        critic = 1 if path == "short critic" else None
        branch = BranchConfig(layers=layers, critic_layers=critic, rank=4, alpha=16)
        split = SplitModel(self.model(seed), branch, share_prompts=path != "plain")
        assert split.shares_prompts == (path != "plain")
        end, word = self.likely_words(seed)[:2]
        prompts = cast("PromptFormat", Ending(self.tiny.prompts(), [end]))
        reward = wish(split, prompts)
        if isinstance(reward, LikesAWord):
            reward.word = word
        config = PPOConfig(
            updates=updates, prompts_per_update=4, replies_per_prompt=8, epochs=2, minibatch_size=16,
            max_new_tokens=REPLY_TOKENS, policy_learning_rate=1e-2, critic_learning_rate=1e-2, judge_every=updates,
            kl_coef=0.0, kl_budget=1e3, truncation_penalty=0.0,  # else the reward's optimum isn't the objective's
            alarms=SILENT,
        )  # fmt: skip
        contexts = self.dialogues.contexts(4, seed=seed)
        trainer = PPOTrainer(split, prompts, reward, contexts, config, folder, judge=lambda: 0.5, seed=seed)
        result = trainer.train()
        assert len(result.metrics) == updates
        assert result.best_update == updates
        scores = [row["score"] for row in result.metrics]
        fresh = [float(trainer.step.collect(contexts, updates + 1 + extra).scores.mean()) for extra in range(10)]
        return Run(scores[0], statistics.fmean(scores[-10:]), statistics.fmean(fresh))


@pytest.fixture(scope="module")
def toys(tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> Toys:
    return Toys(tiny, dialogues)


def within_reach(model: PreTrainedModel, token: int) -> float:
    """Return the largest probability that any final state, normalised as the model does it, gives to a token."""
    head = model.get_output_embeddings().weight.detach()
    state = head[token].clone().requires_grad_()
    optimizer = torch.optim.Adam([state], lr=0.05)
    for _ in range(300):
        logits = model.get_decoder().norm(state[None]) @ head.T
        loss = -torch.log_softmax(logits, dim=-1)[0, token]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(torch.exp(-loss.detach()))


def test_only_a_model_that_is_wide_enough_can_say_one_word_all_the_time(toys: Toys) -> None:
    for seed in range(3):
        word = toys.likely_words(seed)[1]
        assert within_reach(toys.model(seed, hidden=32, spread=0.15), word) < 0.5
        assert within_reach(toys.model(seed), word) > 0.99


@pytest.mark.parametrize(
    ("wish", "path"), [(LikesShortReplies, "fast"), (LikesAWord, "fast"), (LikesAWord, "short critic")]
)
def test_some_updates_go_most_of_the_way(toys: Toys, tmp_path: Path, wish: type[RewardModel], path: Way) -> None:
    run = toys.run(wish, tmp_path, seed=0, updates=30, path=path)
    assert run.first < 0.3 * OPTIMUM
    assert run.fresh > 0.8 * OPTIMUM


# Its policy settles on two tokens (0.80) before it tries one: what is missing is exploration, not the path.
STUCK = pytest.mark.xfail(reason="the plain path ends at 0.80 of 1 with this seed", strict=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wish", "seed"),
    [
        (LikesShortReplies, 0),
        (LikesShortReplies, 1),
        pytest.param(LikesShortReplies, 2, marks=STUCK),
        (LikesAWord, 0),
        (LikesAWord, 1),
        (LikesAWord, 2),
    ],
)
def test_a_hundred_updates_reach_the_optimum_on_the_fast_and_the_plain_path(
    toys: Toys, tmp_path: Path, wish: type[RewardModel], seed: int
) -> None:
    fast = toys.run(wish, tmp_path / "fast", seed=seed, updates=100, path="fast")
    plain = toys.run(wish, tmp_path / "plain", seed=seed, updates=100, path="plain")
    print(f"{wish.__name__}, seed {seed}: fast {fast}, plain {plain}")
    assert fast.first == pytest.approx(plain.first, abs=1e-6)  # the same model says the same
    assert fast.first < 0.5 * OPTIMUM
    assert min(fast.fresh, plain.fresh) > 0.95 * OPTIMUM
