"""PPO: starts at the reference, improves what is rewarded, keeps its budget, and resumes where it was."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch
from tests.signals import sigterm_after
from torch import Tensor

from personatune.dialogue import Context, Episode
from personatune.errors import UserError
from personatune.model.branches import SplitModel, Trunk
from personatune.settings import AlarmsConfig, BranchConfig, PPOConfig
from personatune.training.ppo import PPOTrainer
from personatune.training.reward import RewardModel
from personatune.training.rollouts import POLICY, branch_logprobs

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

ALL_METRICS = {
    "policy_loss", "value_loss", "clip_fraction", "entropy", "ratio", "score", "kl", "kl_per_token", "kl_coef",
    "explained_variance", "reply_tokens", "finished", "distinct_2", "copy_share", "repetition", "learned_score",
}  # fmt: skip


QUIET = AlarmsConfig.model_validate(  # tiny random models leave every band at once
    {name: {"action": "off"} for name in ("length", "entropy")}
    | {name: {"action": "off", "rise": 1.0} for name in ("repetition", "copying")}
    | {"divergence": {"action": "warn"}}
)


class Watching:
    """A tracker that keeps what it gets, and presses Ctrl-C when an update is logged."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.interrupt_at = interrupt_at
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.shown: list[Mapping[str, str]] = []

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        if "kl" in metrics:
            self.rows.append((step, dict(metrics)))
            if step == self.interrupt_at:
                os.kill(os.getpid(), signal.SIGINT)

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        self.shown += rows

    def close(self) -> None: ...


class LikesHalfTheTokens(RewardModel):
    """The share of a reply's tokens that are liked, less that of the others: computed by hand, in place of a branch.

    Liked are tokens whose embedding points one way, so that a small model can learn to say them.
    """

    def score_trunk(self, trunk: Trunk) -> Tensor:
        liked = self.split.backbone.get_input_embeddings().weight[:, 0] > 0
        replies = trunk.rows.tokens.split(list(trunk.rows.lengths))
        return torch.stack([2 * liked[reply].float().mean() - 1 for reply in replies])


def settings(**changes: Any) -> PPOConfig:
    defaults: dict[str, Any] = {
        "updates": 4, "prompts_per_update": 4, "replies_per_prompt": 2, "epochs": 2, "minibatch_size": 4,
        "policy_learning_rate": 5e-3, "critic_learning_rate": 5e-3, "max_new_tokens": 8, "judge_every": 2,
        "alarms": QUIET,
    }  # fmt: skip
    return PPOConfig(**{**defaults, **changes})


class Bench:
    """Makes trainers on the same tiny model, reward and contexts."""

    def __init__(self, tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> None:
        self.tiny = tiny
        self.contexts = dialogues.contexts(6, seed=1)

    def trainer(
        self,
        directory: Path,
        *,
        family: str = "llama",
        layers: int | Literal["all"] = 1,
        critic_layers: int | None = None,
        reward: type[RewardModel] = RewardModel,
        config: PPOConfig | None = None,
        tracker: Watching | None = None,
        judge: Callable[[], float] = lambda: 0.5,
        contexts: Sequence[Context | Episode] | None = None,
        seed: int = 0,
        spread: float = 0.15,
    ) -> PPOTrainer:
        kept = tracker or Watching()
        branch = BranchConfig(layers=layers, critic_layers=critic_layers, rank=4, alpha=16)
        split = SplitModel(self.tiny.model(family, layers=2, spread=spread), branch)
        model = reward(split, self.tiny.prompts())
        if reward is RewardModel:
            with torch.no_grad():  # a head with an opinion, as training would leave
                generator = torch.Generator().manual_seed(5)
                split.heads["reward"].weight.copy_(torch.randn(1, 32, generator=generator))
        return PPOTrainer(
            split,
            self.tiny.prompts(),
            model,
            self.contexts if contexts is None else contexts,
            config or settings(),
            directory,
            judge=judge,
            seed=seed,
            open_tracker=lambda _step: kept,
        )


@pytest.fixture
def bench(tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> Bench:
    return Bench(tiny, dialogues)


@pytest.mark.parametrize("layers", [1, "all"])
def test_the_first_batch_is_the_references_own(
    bench: Bench, tmp_path: Path, family: str, layers: int | Literal["all"]
) -> None:
    trainer = bench.trainer(
        tmp_path, family=family, layers=layers, config=settings(updates=1, policy_learning_rate=1e-9)
    )
    result = trainer.train()
    assert result.self_checks["kl_of_first_batch"] == 0.0
    assert result.self_checks["sampler_against_trainer"] < 1e-4
    first = result.metrics[0]
    assert first["kl"] == pytest.approx(0.0, abs=1e-3)
    assert first["ratio"] == pytest.approx(1.0, abs=1e-4)
    assert first["clip_fraction"] == 0.0


def test_every_metric_of_an_update_is_finite_and_the_entropy_never_negative(bench: Bench, tmp_path: Path) -> None:
    tracker = Watching()
    result = bench.trainer(tmp_path, tracker=tracker).train()
    assert [step for step, _ in tracker.rows] == [1, 2, 3, 4]
    for metrics in result.metrics:
        assert set(metrics) == ALL_METRICS
        assert all(torch.tensor(value).isfinite() for value in metrics.values())
        assert metrics["entropy"] >= 0
        assert 0 <= metrics["clip_fraction"] <= 1
    assert result.metrics[-1]["kl"] != 0.0
    assert set(tracker.shown[0]) == {"persona", "line", "reply", "score"}


def test_what_an_update_computes_fast_equals_plain_forward_passes(bench: Bench, tmp_path: Path, family: str) -> None:
    trainer = bench.trainer(tmp_path, family=family, config=settings(updates=2))
    trainer.train()  # policy and critic have left their start
    experience = trainer.step.collect(trainer._contexts_of(9), 9)
    rollouts, split = experience.rollouts, trainer.split
    for row in range(len(rollouts)):
        prompt = trainer.step.prompts.encode_prompt(rollouts.contexts[row], trainer.config.max_new_tokens)
        length, start = int(rollouts.mask[row].sum()), len(prompt) - 1
        ids = torch.cat([torch.tensor(prompt), rollouts.tokens[row, :length]])
        found = {}
        for name in (None, POLICY):
            with torch.no_grad(), split.active(name):
                logits = split.backbone(input_ids=ids[None]).logits[0, start:-1]
            found[name] = torch.log_softmax(logits, dim=-1).gather(1, ids[start + 1 :, None]).squeeze(1)
        assert torch.allclose(rollouts.logprobs[row, :length], found[POLICY], atol=1e-3)
        assert torch.allclose(experience.ref_logprobs[row, :length], found[None], atol=1e-3)
        assert not torch.allclose(found[POLICY], found[None], atol=1e-3)
        assert bool(rollouts.finished[row]) == (int(ids[-1]) in trainer.step.prompts.stop_ids)


def test_a_reply_that_was_cut_off_pays_for_it(bench: Bench, tmp_path: Path) -> None:
    free, fined = (
        trainer.step.collect(trainer._contexts_of(0), 0)
        for penalty in (0.0, 3.0)
        for trainer in [bench.trainer(tmp_path, reward=LikesHalfTheTokens, config=settings(truncation_penalty=penalty))]
    )
    assert bool((~free.rollouts.finished).any())
    assert torch.equal(free.scores - fined.scores, 3.0 * (~free.rollouts.finished).float())


def test_all_contexts_are_answered_before_one_comes_again(bench: Bench, tmp_path: Path) -> None:
    trainer = bench.trainer(tmp_path)
    chosen = [context for update in range(6) for context in trainer._contexts_of(update)]
    assert len(chosen) == 24
    for start in range(0, 24, 6):
        assert sorted(map(str, chosen[start : start + 6])) == sorted(map(str, bench.contexts))


def test_the_split_path_and_the_whole_model_make_the_same_first_update(bench: Bench, tmp_path: Path) -> None:
    """Branches on the top layer, once over a trunk and once in a model that computes every layer each time."""
    config = settings(updates=1)
    fast = bench.trainer(tmp_path / "fast", layers=1, config=config)
    plain = bench.trainer(tmp_path / "plain", layers=1, config=config)
    trunk_layers = plain.split.trunk_layers
    assert trunk_layers == 1
    plain.split.top_layers = plain.split.total_layers  # the adapters stay where they are, the trunk is empty
    assert plain.split.trunk_layers == 0
    plain.step.critic_below = 0
    mine, theirs = fast.train(), plain.train()
    assert mine.metrics[0] == pytest.approx(theirs.metrics[0], rel=1e-3, abs=1e-3)
    expected = plain.split.branch_tensors(POLICY)
    for name, tensor in fast.split.branch_tensors(POLICY).items():
        assert torch.allclose(tensor, expected[name], atol=1e-3), name


def test_micro_batches_of_one_epoch_add_up_whatever_their_size(bench: Bench, tmp_path: Path) -> None:
    """Before the first step every reply has the same policy, so sums over any batching agree."""
    trainer = bench.trainer(tmp_path, config=settings(policy_learning_rate=1e-9, critic_learning_rate=1e-9))
    experience = trainer.step.collect(trainer._contexts_of(0), 0)
    counts = experience.rollouts.mask.sum(dim=1)
    everything = trainer.step.minibatch(experience, list(range(8)))
    for name in ("policy_loss", "value_loss", "entropy"):
        parts = [trainer.step.minibatch(experience, index.tolist())[name] for index in torch.arange(8).split(3)]
        tokens = [float(counts[index].sum()) for index in torch.arange(8).split(3)]
        weighted = sum(part * count for part, count in zip(parts, tokens, strict=True)) / sum(tokens)
        assert weighted == pytest.approx(everything[name], abs=1e-4)


# Learns fast and may go far from the reference.
KEEN: dict[str, Any] = {
    "updates": 20, "prompts_per_update": 8, "minibatch_size": 8, "max_new_tokens": 6, "kl_coef": 0.0,
    "kl_budget": 500.0, "truncation_penalty": 0.0, "policy_learning_rate": 1e-2, "judge_every": 20,
}  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_to_say_what_is_rewarded_and_says_so_when_the_judge_falls_meanwhile(
    bench: Bench, tmp_path: Path, seed: int
) -> None:
    figures = iter([0.8, 0.3])
    trainer = bench.trainer(
        tmp_path, reward=LikesHalfTheTokens, config=settings(**KEEN), seed=seed, judge=lambda: next(figures)
    )
    result = trainer.train()
    scores = [row["score"] for row in result.metrics]
    assert statistics.fmean(scores[-5:]) > statistics.fmean(scores[:2]) + 0.15
    assert result.metrics[-1]["kl"] > 0.5
    [warning] = result.warnings
    assert warning.startswith("update 20: the learned reward rose by")
    assert warning.endswith("while the independent judge fell by 50 points")


@pytest.mark.parametrize("interrupt_at", [1, 2, 4])  # between two looks of the judge, at one, at the last
def test_an_interrupted_run_arrives_where_an_uninterrupted_one_does(
    bench: Bench, tmp_path: Path, interrupt_at: int
) -> None:
    def rising() -> Callable[[], float]:
        figures = iter([0.1, 0.2, 0.3, 0.4])
        return lambda: next(figures)

    whole = bench.trainer(tmp_path / "whole", judge=rising())
    expected = whole.train()
    judge, later = rising(), Watching()
    with pytest.raises(KeyboardInterrupt):
        bench.trainer(tmp_path / "parts", judge=judge, tracker=Watching(interrupt_at)).train()
    torch.manual_seed(99)
    resumed = bench.trainer(tmp_path / "parts", judge=judge, tracker=later)
    result = resumed.train()
    assert [step for step, _ in later.rows] == list(range(interrupt_at + 1, 5))
    assert result == expected
    for branch in ("policy", "critic"):
        for name, tensor in whole.split.branch_tensors(branch).items():
            if branch == "policy" or interrupt_at < 4:
                assert torch.equal(resumed.split.branch_tensors(branch)[name], tensor), name


def test_a_run_whose_critic_has_layers_of_its_own_resumes_exactly_and_only_with_as_many(
    bench: Bench, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"layers": "all", "critic_layers": 1}
    whole = bench.trainer(tmp_path / "whole", **options)
    expected = whole.train()
    with pytest.raises(KeyboardInterrupt):
        bench.trainer(tmp_path / "parts", tracker=Watching(1), **options).train()
    with pytest.raises(UserError, match="critic_layers: 1, expected None"):
        bench.trainer(tmp_path / "parts", layers="all").train()
    torch.manual_seed(99)
    resumed = bench.trainer(tmp_path / "parts", **options)
    assert resumed.train() == expected
    for branch in ("policy", "critic"):
        for name, tensor in whole.split.branch_tensors(branch).items():
            assert torch.equal(resumed.split.branch_tensors(branch)[name], tensor), name


def test_the_kl_weight_comes_back_with_a_resume(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        bench.trainer(tmp_path, tracker=Watching(3)).train()
    resumed = bench.trainer(tmp_path)
    before = resumed.step.kl.coef
    result = resumed.train()
    assert result.metrics[2]["kl_coef"] != before
    assert result.metrics[3]["kl_coef"] == pytest.approx(resumed.step.kl.coef)


def test_a_spent_kl_budget_stops_the_run_and_stays_spent(bench: Bench, tmp_path: Path) -> None:
    config = settings(updates=30, policy_learning_rate=0.05, kl_budget=0.5, kl_coef=0.0)
    result = bench.trainer(tmp_path, config=config).train()
    updates = len(result.metrics)
    assert updates < 30
    assert result.stopped is not None
    assert result.stopped.startswith(f"KL {result.metrics[-1]['kl']:.2f} nats a reply at update {updates}")
    assert all(row["kl"] <= 0.5 for row in result.metrics[:-1])
    assert result.judged[-1]["update"] == updates
    again = bench.trainer(tmp_path, config=config).train()
    assert again == result


def test_the_best_judged_update_is_what_is_left(bench: Bench, tmp_path: Path) -> None:
    figures = iter([0.9, 0.2, 0.6, 0.4])  # update 0 is the SFT model and can't be the result
    config = settings(updates=6)
    trainer = bench.trainer(tmp_path, config=config, judge=lambda: next(figures))
    result = trainer.train()
    assert result.judged == [
        {"update": 0, "judge": 0.9},
        {"update": 2, "judge": 0.2},
        {"update": 4, "judge": 0.6},
        {"update": 6, "judge": 0.4},
    ]
    assert result.best_update == 4
    four = bench.trainer(tmp_path / "four", config=settings(updates=4))
    four.train()
    for name, tensor in trainer.split.branch_tensors(POLICY).items():
        assert torch.equal(tensor, four.split.branch_tensors(POLICY)[name]), name


def test_a_sampler_that_disagrees_with_the_trainer_is_noticed_before_the_first_step(
    bench: Bench, tmp_path: Path
) -> None:
    trainer = bench.trainer(tmp_path)
    with torch.no_grad():
        for name, weight in trainer.split.branch_tensors(POLICY).items():
            if "lora_B" in name:
                weight.add_(0.1)  # a policy that doesn't start at the reference
    with pytest.raises(RuntimeError, match="self-check failed before the first step"):
        trainer.train()


def test_reference_and_reward_are_untouched_by_training(bench: Bench, tmp_path: Path) -> None:
    trainer = bench.trainer(tmp_path)
    reward = {name: tensor.clone() for name, tensor in trainer.split.branch_tensors("reward").items()}
    own = [w.detach().clone() for name, w in trainer.split.backbone.named_parameters() if ".lora_" not in name]
    trainer.train()
    after = [w for name, w in trainer.split.backbone.named_parameters() if ".lora_" not in name]
    assert all(torch.equal(before, now) for before, now in zip(own, after, strict=True))
    assert all(torch.equal(tensor, reward[name]) for name, tensor in trainer.split.branch_tensors("reward").items())
    experience = trainer.step.collect(trainer._contexts_of(0), 0)
    [numbers] = experience.rollouts.trunk.buckets()
    with torch.no_grad():
        reference, _ = branch_logprobs(trainer.split, experience.rollouts.trunk.batch(numbers), None)
    mask = experience.rollouts.mask[numbers]
    assert torch.equal(reference, experience.ref_logprobs[numbers][mask])


def test_without_contexts_there_is_nothing_to_answer(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="PPO needs contexts to answer, found none; run the stage preferences first"):
        bench.trainer(tmp_path, contexts=[])


def test_the_missions_names_are_there() -> None:
    context = PPOTrainer.parse_prompt("[PERSONA] I cook. [DIALOGUE] Hi! [RESPONSE]")
    assert context.persona.traits == ("I cook.",)
    rewards = PPOTrainer.compute_rewards(torch.ones(1), torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2), 0.1)
    assert rewards.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(("method", "call"), [("collect", 3), ("minibatch", 2), ("minibatch", 7), ("minibatch", 16)])
def test_an_update_is_cut_off_at_once_and_done_again_to_the_last_bit(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, call: int
) -> None:
    """Half its steps have moved the weights by then: what is saved is the update before."""
    whole = bench.trainer(tmp_path / "whole")
    expected = whole.train()
    first, second = Watching(), Watching()
    broken = bench.trainer(tmp_path / "parts", tracker=first)
    calls = sigterm_after(monkeypatch, broken.step, method, call)
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    assert calls == [call]
    resumed = bench.trainer(tmp_path / "parts", tracker=second)
    assert resumed.train() == expected
    assert [step for step, _ in (*first.rows, *second.rows)] == [1, 2, 3, 4]
    for branch in ("policy", "critic"):
        for name, tensor in whole.split.branch_tensors(branch).items():
            assert torch.equal(resumed.split.branch_tensors(branch)[name], tensor), name


@pytest.mark.parametrize("look", [1, 2, 3])
def test_the_judge_is_cut_off_at_once_and_looks_again(bench: Bench, tmp_path: Path, look: int) -> None:
    looks = [0]

    def judge() -> float:
        looks[0] += 1
        if looks[0] == look:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.5

    expected = bench.trainer(tmp_path / "whole").train()
    with pytest.raises(KeyboardInterrupt):
        bench.trainer(tmp_path / "parts", judge=judge).train()
    again = Watching()
    assert bench.trainer(tmp_path / "parts", judge=judge, tracker=again).train() == expected
    assert [step for step, _ in again.rows] == list(range(2 * (look - 1) + 1, 5))
    assert looks == [4]
