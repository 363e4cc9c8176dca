"""A loss that is NaN or explodes: never taken, taken back once to the last sound checkpoint, then told and stopped."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from personatune.dialogue import PreferencePair
from personatune.errors import UserError
from personatune.model.branches import SplitModel
from personatune.settings import BranchConfig, DPOConfig, LoraConfig, PPOConfig, RewardConfig, SFTConfig
from personatune.training.checkpoints import CheckpointManager
from personatune.training.divergence import DivergedError, Refused, Stability, check_losses, told_rows
from personatune.training.dpo import DPOTrainer
from personatune.training.ppo import PPOTrainer
from personatune.training.reward import RewardModel, RewardModelTrainer
from personatune.training.sft import SFTTrainer

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

NAN = math.nan


class Watching:
    """A tracker that keeps the steps it is told of, and presses Ctrl-C, or dies, when one is."""

    def __init__(self, interrupt_at: int | None = None, die_at: int | None = None) -> None:
        self.interrupt_at, self.die_at = interrupt_at, die_at
        self.steps: list[int] = []

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        if metrics.keys().isdisjoint(("train_loss", "loss", "kl")):  # a look, not a step
            return
        self.steps.append(step)
        if step == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        if step == self.die_at and self.steps.count(step) == 2:
            raise RuntimeError("killed")

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None: ...

    def close(self) -> None: ...


def spoil(trainer: Any, steps: Mapping[int, float], *, value: float = NAN) -> None:
    """Make the gradients of some steps (0, 1, …) bad, while the learning rate is above a share of the full one."""
    holder = trainer.gradient_step if isinstance(trainer, SFTTrainer) else trainer
    real_step, real_gradients = trainer._step, getattr(holder, "_gradients", None) or trainer.gradients
    name = "_gradients" if isinstance(trainer, SFTTrainer) else "gradients"
    now = [-1]

    def step(*given: Any) -> Any:
        now[0] = given[1] if isinstance(trainer, (SFTTrainer, DPOTrainer)) else given[2]
        return real_step(*given)

    def gradients(*given: Any) -> Any:
        found = real_gradients(*given)
        if trainer.stability.factor > steps.get(now[0], math.inf):
            next(weight for weight in trainer.parameters if weight.grad is not None).grad.fill_(value)
        return found

    trainer._step = step
    setattr(holder, name, gradients)


class Bench:
    """Makes trainers of every kind on the same tiny model."""

    def __init__(self, tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> None:
        self.tiny, self.dialogues = tiny, dialogues

    def sft(self, folder: Path, tracker: Watching | None = None, **changes: Any) -> SFTTrainer:
        """Eight steps, looked at every second one."""
        defaults: dict[str, Any] = {
            "learning_rate": 1e-2, "epochs": 2, "batch_size": 4, "evaluations": 4, "samples": 0, "compile": "off"
        }  # fmt: skip
        kept = tracker or Watching()
        return SFTTrainer(
            self.tiny.model(layers=1, spread=0.05),
            self.tiny.prompts(),
            self.dialogues.perspectives(16, seed=1),
            self.dialogues.perspectives(4, seed=2),
            SFTConfig(**{**defaults, **changes}),
            LoraConfig(rank=4, alpha=8),
            folder,
            open_tracker=lambda _step: kept,
        )

    def pairs(self, count: int, seed: int) -> list[PreferencePair]:
        return [
            PreferencePair(context, "I love dogs.", "My cats are here.", "generic", f"pair {place}")
            for place, context in enumerate(self.dialogues.contexts(count, seed))
        ]

    def split(self) -> SplitModel:
        return SplitModel(self.tiny.model(layers=2, spread=0.15), BranchConfig(layers=1, rank=4, alpha=8))

    def reward(self, folder: Path, tracker: Watching) -> tuple[RewardModelTrainer, Callable[[], Any]]:
        config = RewardConfig(learning_rate=1e-2, epochs=2, batch_size=4)
        model = RewardModel(self.split(), self.tiny.prompts())
        trainer = RewardModelTrainer(model, config, folder, open_tracker=lambda _step: tracker)
        return trainer, lambda: trainer.train(self.pairs(12, 1))

    def dpo(self, folder: Path, tracker: Watching) -> tuple[DPOTrainer, Callable[[], Any]]:
        config = DPOConfig(learning_rate=5e-3, epochs=2, batch_size=4, evaluations=2)
        trainer = DPOTrainer(self.split(), self.tiny.prompts(), config, folder, open_tracker=lambda _step: tracker)
        return trainer, lambda: trainer.train(self.pairs(12, 1), self.pairs(4, 2))

    def ppo(self, folder: Path, tracker: Watching | None = None, **changes: Any) -> PPOTrainer:
        defaults: dict[str, Any] = {
            "updates": 6, "prompts_per_update": 2, "replies_per_prompt": 2, "epochs": 1, "minibatch_size": 4,
            "max_new_tokens": 4, "judge_every": 2, "kl_budget": 1000.0,
            "alarms": {name: {"action": "off"} for name in ("length", "repetition", "copying", "entropy")},
        }  # fmt: skip
        kept = tracker or Watching()
        split = self.split()
        return PPOTrainer(
            split,
            self.tiny.prompts(),
            RewardModel(split, self.tiny.prompts()),
            self.dialogues.contexts(6, seed=1),
            PPOConfig.model_validate({**defaults, **changes}),
            folder,
            judge=lambda: 0.5,
            open_tracker=lambda _step: kept,
        )


@pytest.fixture
def bench(tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> Bench:
    return Bench(tiny, dialogues)


def weights(trainer: SFTTrainer) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in trainer._weights().items()}


@pytest.mark.parametrize("value", [NAN, math.inf, 3e38])
def test_fine_tuning_goes_back_once_and_on_with_a_quarter_of_the_rate(
    bench: Bench, tmp_path: Path, value: float
) -> None:
    tracker = Watching()
    trainer = bench.sft(tmp_path, tracker)
    spoil(trainer, {5: 0.5}, value=value)
    result = trainer.train()
    assert [(row["step"], row["back_to"], row["factor"]) for row in result.rollbacks] == [(5, 4, 0.25)]
    assert "gradient norm" in result.rollbacks[0]["what"]
    assert tracker.steps == [1, 2, 3, 4, 5, 5, 6, 7, 8]
    assert [point.step for point in result.curve] == [0, 2, 4, 6, 8]
    assert result.to_json()["rollbacks"] == result.rollbacks
    last = trainer.checkpoints.load_last()
    assert last is not None
    assert last.state["optimizer"]["param_groups"][0]["lr"] < 0.25 * 1e-2
    assert all(weight.isfinite().all() for weight in weights(trainer).values())


def test_a_second_time_stops_with_one_line_of_diagnosis(bench: Bench, tmp_path: Path) -> None:
    trainer = bench.sft(tmp_path)
    spoil(trainer, {5: 0.1})
    names = [trainer.names[place] for place in trainer._places(5)]
    with pytest.raises(DivergedError) as caught:
        trainer.train()
    told = str(caught.value)
    assert isinstance(caught.value, UserError)
    assert "\n" not in told
    assert "SFT diverged again, after going back from step 5 to 4 with 0.25 of the learning rate" in told
    assert "gradient norm nan after step 5" in told
    assert sum(name in told for name in names) == 3
    assert "and 1 more" in told
    assert "lower sft.learning_rate 0.01 and start over with --redo" in told
    assert all(weight.isfinite().all() for weight in weights(trainer).values())


@pytest.mark.parametrize("die", [False, True])
def test_a_resumed_run_goes_back_to_where_an_unbroken_one_does(bench: Bench, tmp_path: Path, die: bool) -> None:
    """Interrupted at a step of which the checkpoint isn't sound, or killed right after it went back."""
    whole = bench.sft(tmp_path / "whole")
    spoil(whole, {5: 0.5})
    expected = whole.train()
    broken = bench.sft(tmp_path / "parts", Watching(die_at=5) if die else Watching(interrupt_at=5))
    spoil(broken, {5: 0.5})
    with pytest.raises(RuntimeError if die else KeyboardInterrupt):
        broken.train()
    resumed = bench.sft(tmp_path / "parts")
    spoil(resumed, {5: 0.5})
    result = resumed.train()
    assert result.rollbacks == expected.rollbacks
    assert [point.loss for point in result.curve] == [point.loss for point in expected.curve]
    for name, weight in weights(resumed).items():
        assert torch.equal(weight, weights(whole)[name]), name


def test_what_was_taken_back_is_remembered_by_a_run_that_is_resumed_later(bench: Bench, tmp_path: Path) -> None:
    broken = bench.sft(tmp_path, Watching(interrupt_at=7))
    spoil(broken, {5: 0.5})
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = bench.sft(tmp_path)
    spoil(resumed, {7: 0.1})
    with pytest.raises(DivergedError, match="again, after going back from step 5 to 4"):
        resumed.train()


def test_a_learning_rate_that_explodes_is_told(bench: Bench, tmp_path: Path) -> None:
    """Nothing is injected here: the rate is beyond all numbers, and so is a quarter of it."""
    trainer = bench.sft(tmp_path, learning_rate=0.99, b_rate_ratio=1e38, epochs=5, warmup_share=0.0)
    with pytest.raises(DivergedError, match=r"SFT diverged again.*after step \d+"):
        trainer.train()


def test_a_model_without_a_finite_loss_is_told_before_the_first_step(bench: Bench, tmp_path: Path) -> None:
    trainer = bench.sft(tmp_path)
    with torch.no_grad():
        trainer.base.get_input_embeddings().weight.fill_(NAN)
    with pytest.raises(DivergedError, match=r"held-out loss nan after step 0.*the model itself"):
        trainer.train()


@pytest.mark.parametrize(("kind", "back_to"), [("reward", 3), ("dpo", 3)])
def test_learning_from_pairs_goes_back_once_and_then_names_the_pairs(
    bench: Bench, tmp_path: Path, kind: str, back_to: int
) -> None:
    tracker = Watching()
    make = getattr(bench, kind)
    trainer, train = make(tmp_path / "once", tracker)
    spoil(trainer, {4: 0.5})
    train()
    assert tracker.steps == [1, 2, 3, 4, 4, 5, 6]
    assert [(row["step"], row["back_to"]) for row in trainer.stability.rollbacks] == [(4, back_to)]
    trainer, train = make(tmp_path / "twice", Watching())
    spoil(trainer, {4: 0.1})
    with pytest.raises(DivergedError, match=rf"diverged again.*the pairs pair \d+, .*lower {kind}.learning_rate"):
        train()


def test_ppo_goes_back_with_a_quarter_of_both_rates_and_stops_the_second_time(bench: Bench, tmp_path: Path) -> None:
    tracker = Watching()
    trainer = bench.ppo(tmp_path / "once", tracker)
    real, calls = trainer.step.gradients, [0]

    def gradients(*given: Any) -> Any:
        found = real(*given)
        calls[0] += 1
        if calls[0] == 4:  # one a minibatch: the fourth update
            found["value_loss"] = NAN
        return found

    trainer.step.gradients = gradients  # type: ignore[method-assign,assignment]
    result = trainer.train()
    assert [(row["step"], row["back_to"]) for row in result.rollbacks] == [(3, 2)]
    assert "value_loss nan" in result.rollbacks[0]["what"]
    assert tracker.steps == [1, 2, 3, 3, 4, 5, 6]
    assert [row["update"] for row in result.judged] == [0, 2, 4, 6]
    assert len(result.metrics) == 6
    rates = [trainer.step.policy_optimizer.param_groups[0]["lr"]]
    assert trainer.step.critic_optimizer is not None
    rates.append(trainer.step.critic_optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx(
        [0.25 * trainer.config.policy_learning_rate, 0.25 * trainer.config.critic_learning_rate]
    )

    again = bench.ppo(tmp_path / "twice")
    with torch.no_grad():
        again.step.split.heads["reward"].weight.fill_(NAN)
    with pytest.raises(DivergedError, match=r"PPO diverged again.*numbers of the scores.*replies to '"):
        again.train()


def test_one_odd_batch_is_no_explosion_and_a_lasting_rise_is() -> None:
    watch = Stability("SFT", "sft.learning_rate 1")
    for loss in (2.0, 2.2, 1.8, 2.0, 1.5, 14.0, 1.5, 1.5):
        watch.check(loss, 1.0)
    assert watch.limit == pytest.approx(8.0)
    watch.check(12.0)
    with pytest.raises(Refused, match=r"loss 20, a mean of 8.75 over 4 where 8 is the limit"):
        watch.check(20.0)


def test_a_loss_below_that_of_guessing_is_no_explosion() -> None:
    watch = Stability("SFT", "sft.learning_rate 1", floor=math.log(1000))
    for loss in (0.01, 0.01, 6.0, 6.8):
        watch.check(loss)
    with pytest.raises(Refused):
        watch.check(60.0)


def test_ppos_losses_are_measured_by_the_returns() -> None:
    figures = {"policy_loss": 0.1, "value_loss": 800.0, "entropy": 2.0}
    check_losses(figures, {"policy": 1.0}, torch.tensor([3.0, -3.0]))
    with pytest.raises(Refused, match="value_loss 800 where 100 is the limit"):
        check_losses(figures, {"policy": 1.0}, torch.tensor([0.5, -0.5]))
    with pytest.raises(Refused, match="gradient norm of the critic inf"):
        check_losses({"policy_loss": 0.1}, {"critic": math.inf}, torch.ones(2))


def test_rows_without_a_finite_loss_are_named_first() -> None:
    assert told_rows(["a", "b", "c", "d"], [1.0, 3.0, NAN, 2.0]) == "c (loss nan), b (loss 3), d (loss 2) and 1 more"


def test_the_sound_checkpoint_outlives_newer_ones_and_those_can_be_dropped(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    for step, sound in ((2, True), (4, True), (5, False), (6, False)):
        manager.save(step, {"a": {"x": torch.full((2,), float(step))}}, {}, sound=sound)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == [
        "checkpoint-000004",
        "checkpoint-000005",
        "checkpoint-000006",
    ]
    found = manager.load_sound()
    assert found is not None
    assert found.step == 4
    manager.drop_after(4)
    assert [folder.name for folder in tmp_path.iterdir()] == ["checkpoint-000004"]
    assert CheckpointManager(tmp_path / "empty").load_sound() is None
