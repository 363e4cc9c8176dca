"""PPO over conversations: own replies stay in the history, later scores may pay earlier ones; terms; alarms."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from personatune.dialogue import Context, Episode
from personatune.errors import UserError
from personatune.model.branches import SplitModel, Trunk
from personatune.settings import AlarmsConfig, BranchConfig, PPOConfig
from personatune.training.ppo import PPOTrainer
from personatune.training.ppo_result import PPOResult
from personatune.training.reward import RewardModel
from personatune.training.rl_math import turn_returns
from personatune.training.rollouts import POLICY

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

LINES = ("And what do you do for fun?", "Where is home for you?", "Nice to meet you.")
OFF: dict[str, Any] = {
    "window": 1,
    "length": {"action": "off"},
    "repetition": {"action": "off", "rise": 1.0},
    "copying": {"action": "off", "rise": 1.0},
    "entropy": {"action": "off"},
    "divergence": {"action": "off"},
}


class CountsTokens(RewardModel):
    """Scores a reply by its tokens: known by hand, in place of a branch."""

    def score_trunk(self, trunk: Trunk) -> Tensor:
        return torch.tensor(trunk.rows.lengths, dtype=torch.float32)


class CtrlC:
    """A tracker that keeps the rows, and presses Ctrl-C at one update."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.rows: list[dict[str, float]] = []

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        if "kl" in metrics:
            self.rows.append(dict(metrics))
            if step == self.at:
                os.kill(os.getpid(), signal.SIGINT)

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None: ...

    def close(self) -> None: ...


Make = Callable[..., PPOTrainer]


@pytest.fixture
def make(tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path) -> Make:
    """Makes trainers on the same tiny model and four openings; keywords are settings of PPO."""
    openings = dialogues.contexts(4, seed=1)

    def made(
        lines: Sequence[Sequence[str]] | None = None,
        *,
        folder: str = "ppo",
        tracker: CtrlC | None = None,
        judge: Callable[[], float] = lambda: 0.5,
        family: str = "llama",
        **changes: Any,
    ) -> PPOTrainer:
        settings: dict[str, Any] = {
            "updates": 3, "prompts_per_update": 4, "replies_per_prompt": 2, "epochs": 1, "minibatch_size": 8,
            "policy_learning_rate": 5e-3, "critic_learning_rate": 5e-3, "max_new_tokens": 6, "judge_every": 9,
            "truncation_penalty": 0.0, "alarms": OFF,
        }  # fmt: skip
        split = SplitModel(tiny.model(family, layers=2, spread=0.15), BranchConfig(layers=1, rank=4, alpha=16))
        contexts: list[Context | Episode] = list(openings)
        if lines is not None:
            contexts = [Episode(context, tuple(later)) for context, later in zip(openings, lines, strict=True)]
        kept = tracker or CtrlC()
        return PPOTrainer(
            split,
            tiny.prompts(),
            CountsTokens(split, tiny.prompts()),
            contexts,
            PPOConfig.model_validate({**settings, **changes}),
            tmp_path / folder,
            judge=judge,
            open_tracker=lambda _step: kept,
        )

    return made


def test_episodes_without_lines_are_what_contexts_are(make: Make) -> None:
    alone = make(folder="contexts").train()
    episodes = make([()] * 4, folder="episodes").train()
    assert episodes == alone
    assert make([LINES] * 4, folder="one turn each", turns_per_episode=1).train() == alone


def test_the_bots_own_replies_and_the_partners_lines_stay_in_the_history(make: Make) -> None:
    trainer = make([LINES, LINES[:1], (), LINES], turns_per_episode=3)
    rollouts = trainer.step.collect(trainer.contexts, 0).rollouts
    assert rollouts.turns == [0] * 8 + [1] * 6 + [2] * 4  # 2 replies to 4 openings, then 3 and 2 of them go on
    for number, later in enumerate(rollouts.following):
        context = rollouts.contexts[number]
        if later < 0:
            continue
        place = rollouts.turns[number]
        said = [(turn.speaker, turn.text) for turn in rollouts.contexts[later].history]
        before = [(turn.speaker, turn.text) for turn in context.history]
        assert said == [*before, ("self", rollouts.texts[number]), ("partner", LINES[place])]
        assert rollouts.contexts[later].persona == context.persona
    assert len({later for later in rollouts.following if later >= 0}) == 10  # each leads a conversation of its own
    assert len(set(rollouts.texts[8:14])) > 1


def test_later_replies_have_the_log_probabilities_of_a_plain_forward_pass(make: Make, family: str) -> None:
    trainer = make([LINES] * 4, turns_per_episode=2, family=family)
    trainer.train()  # the policy has left its start
    experience = trainer.step.collect(trainer.contexts, 9)
    rollouts, split = experience.rollouts, trainer.split
    for number in range(8, len(rollouts)):
        prompt = trainer.step.prompts.encode_prompt(rollouts.contexts[number], trainer.config.max_new_tokens)
        length, start = int(rollouts.mask[number].sum()), len(prompt) - 1
        ids = torch.cat([torch.tensor(prompt), rollouts.tokens[number, :length]])
        for name, found in ((POLICY, rollouts.logprobs), (None, experience.ref_logprobs)):
            with torch.no_grad(), split.active(name):
                logits = split.backbone(input_ids=ids[None]).logits[0, start:-1]
            plain = torch.log_softmax(logits, dim=-1).gather(1, ids[start + 1 :, None]).squeeze(1)
            assert torch.allclose(found[number, :length], plain, atol=1e-3)


def test_replies_to_one_opening_share_its_row_in_the_trunk(make: Make) -> None:
    rollouts = make([LINES] * 4, turns_per_episode=2).step.collect(make([LINES] * 4).contexts, 0).rollouts
    first = {id(rollouts.trunk.piece_of[number]) for number in range(8)}
    later = {id(rollouts.trunk.piece_of[number]) for number in range(8, 16)}
    assert (len(first), len(later)) == (4, 8)


def test_a_discounted_return_is_what_adding_up_by_hand_gives() -> None:
    scores = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0], dtype=torch.float64)
    following = (2, 3, 4, -1, -1)  # conversations 0-2-4 and 1-3
    expected = [1 + 0.5 * (4 + 0.5 * 16), 2 + 0.5 * 8, 4 + 0.5 * 16, 8, 16]
    assert turn_returns(scores, following, 0.5).tolist() == expected
    assert turn_returns(scores, following, 0.0).tolist() == scores.tolist()
    assert scores.tolist() == [1, 2, 4, 8, 16]


def test_credit_decides_what_an_earlier_reply_is_paid_for(make: Make) -> None:
    own, shared = (
        make([LINES] * 4, folder=credit, turns_per_episode=2, turn_credit=credit, turn_discount=0.5, kl_coef=0.0)
        for credit in ("own", "discounted")
    )
    plain, paid = own.step.collect(own.contexts, 0), shared.step.collect(shared.contexts, 0)
    assert plain.rollouts.texts == paid.rollouts.texts
    assert torch.equal(plain.scores, paid.scores)
    added = torch.stack([(paid.returns - plain.returns)[row].max() for row in range(16)])
    later = plain.scores[torch.tensor(plain.rollouts.following[:8])]
    # The critic is 0 at first, so the return at a reply's last token is what it is paid.
    ends = plain.rollouts.mask.sum(dim=1) - 1
    gained = (paid.returns - plain.returns)[torch.arange(16), ends]
    assert torch.allclose(gained[:8], 0.5 * later)
    assert torch.equal(added[8:], torch.zeros(8))


def test_scores_are_logged_by_turn(make: Make) -> None:
    tracker = CtrlC()
    make([LINES] * 4, turns_per_episode=3, updates=1, tracker=tracker).train()
    [row] = tracker.rows
    by_turn = [row[f"score_turn_{turn}"] for turn in (1, 2, 3)]
    assert sum(by_turn) / 3 == pytest.approx(row["score"])
    assert "score_turn_1" not in make(folder="single", updates=1).train().metrics[0]


def test_several_turns_without_lines_are_a_users_error(make: Make) -> None:
    with pytest.raises(UserError, match=r"turns_per_episode = 2, but no prompt has a later line .* stage preferences"):
        make(turns_per_episode=2)


@pytest.mark.parametrize("interrupt_at", [1, 2])
def test_an_interrupted_run_of_conversations_arrives_where_an_uninterrupted_one_does(
    make: Make, interrupt_at: int
) -> None:
    settings: dict[str, Any] = {"turns_per_episode": 2, "turn_credit": "discounted", "reward_terms": {"length": 0.5}}
    whole = make([LINES] * 4, folder="whole", **settings)
    expected = whole.train()
    with pytest.raises(KeyboardInterrupt):
        make([LINES] * 4, folder="parts", tracker=CtrlC(interrupt_at), **settings).train()
    resumed = make([LINES] * 4, folder="parts", **settings)
    assert resumed.train() == expected
    for name, tensor in whole.split.branch_tensors(POLICY).items():
        assert torch.equal(resumed.split.branch_tensors(POLICY)[name], tensor), name


def test_terms_are_added_with_their_weights_and_logged_by_name(make: Make) -> None:
    plain, more = make(folder="plain"), make(folder="more", reward_terms={"length": 2.0, "distinct_words": 0.0})
    without, with_terms = (trainer.step.collect(trainer._contexts_of(0), 0) for trainer in (plain, more))
    values = more.step.terms.values(with_terms.rollouts.contexts, with_terms.rollouts.texts)
    assert torch.allclose(with_terms.scores - without.scores, 2.0 * torch.tensor(values["length"]))
    assert with_terms.means["learned_score"] == without.means["learned_score"]
    row = more.train().metrics[0]
    assert row["term_length"] == pytest.approx(sum(values["length"]) / 8)
    assert 0 < row["term_distinct_words"] <= 1


def test_an_unknown_term_is_told_before_training(make: Make) -> None:
    with pytest.raises(UserError, match=r"no term 'lenght'; did you mean 'length'\?"):
        make(reward_terms={"lenght": 1.0})


def alarmed(**alarms: Any) -> AlarmsConfig:
    return AlarmsConfig.model_validate({**OFF, **alarms})


def rates(trainer: PPOTrainer) -> list[float]:
    optimizers = (trainer.step.policy_optimizer, trainer.step.critic_optimizer)
    return [group["lr"] for optimizer in optimizers if optimizer is not None for group in optimizer.param_groups]


ALWAYS = {"action": "cool", "low": 50.0, "high": 60.0}  # no reply is fifty times as long as the reference's


def check_cooled_then_stopped(trainer: PPOTrainer, result: PPOResult) -> None:
    assert [(alarm["update"], alarm["name"], alarm["action"]) for alarm in result.alarms] == [
        (2, "length", "cool"),
        (3, "length", "stop"),
    ]
    assert len(result.metrics) == 3
    assert result.stopped is not None
    assert result.stopped.startswith("length alarm at update 3: replies have ")
    assert result.warnings[0].endswith("; learning rates halved, KL weight raised")
    assert result.judged[-1]["update"] == 3
    assert rates(trainer) == [2.5e-3, 2.5e-3]


def test_an_alarm_cools_the_run_once_and_then_stops_it(make: Make) -> None:
    trainer = make(updates=9, alarms=alarmed(length=ALWAYS), kl_coef=0.0, kl_budget=500.0)
    result = trainer.train()
    check_cooled_then_stopped(trainer, result)
    assert trainer.step.kl.coef > 0
    assert result.to_json()["alarms"] == result.alarms


@pytest.mark.parametrize("interrupt_at", [1, 2])  # before the cooling, and right after it
def test_alarms_survive_a_resume(make: Make, interrupt_at: int) -> None:
    settings: dict[str, Any] = {"updates": 9, "alarms": alarmed(length=ALWAYS)}
    whole = make(folder="whole", **settings)
    expected = whole.train()
    with pytest.raises(KeyboardInterrupt):
        make(folder="parts", tracker=CtrlC(interrupt_at), **settings).train()
    resumed = make(folder="parts", **settings)
    assert resumed.train() == expected
    check_cooled_then_stopped(resumed, expected)
    assert resumed.step.kl.coef == whole.step.kl.coef
    for name, tensor in whole.split.branch_tensors(POLICY).items():
        assert torch.equal(resumed.split.branch_tensors(POLICY)[name], tensor), name


def test_a_warning_changes_nothing_but_the_list_of_warnings(make: Make) -> None:
    quiet = make(folder="quiet").train()
    warned = make(folder="warned", alarms=alarmed(length={**ALWAYS, "action": "warn"})).train()
    assert [alarm["action"] for alarm in warned.alarms] == ["warn"]
    assert warned.metrics == quiet.metrics


def test_a_judge_that_falls_while_the_reward_rises_stops_the_run_where_that_is_asked_for(make: Make) -> None:
    class Rising(CountsTokens):
        calls = 0

        def score_trunk(self, trunk: Trunk) -> Tensor:
            type(self).calls += 1
            return torch.full((len(trunk.rows.lengths),), float(type(self).calls))

    figures = iter([0.8, 0.6, 0.3])
    trainer = make(updates=9, judge_every=2, judge=lambda: next(figures), alarms=alarmed(divergence={"action": "stop"}))
    trainer.step.reward = Rising.__new__(Rising)
    trainer.step.reward.__dict__.update(make(folder="other").step.reward.__dict__)
    result = trainer.train()
    assert result.stopped is not None
    assert result.stopped.startswith("divergence alarm at update 2: the learned reward rose by ")
    assert [look["update"] for look in result.judged] == [0, 2]
