"""DPO: starts at the reference, learns an order, has the gradients of the textbook, and resumes where it was."""

from __future__ import annotations

import math
import os
import random
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tests.signals import sigterm_after

from personatune.dialogue import PreferencePair
from personatune.errors import UserError
from personatune.model.branches import SplitModel
from personatune.settings import BranchConfig, DPOConfig
from personatune.training.budget import Budget
from personatune.training.dpo import DPOTrainer
from personatune.training.dpo_losses import FIGURES
from personatune.training.preference_math import chosen_losses, implicit_rewards, preference_losses
from personatune.training.preference_report import PairLikelihood, report
from personatune.training.rollouts import POLICY

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

BRANCH = BranchConfig(layers=2, rank=4, alpha=8)


class Watching:
    """A tracker that keeps what it gets, and presses Ctrl-C when a step is logged."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.interrupt_at = interrupt_at
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        if "loss" in metrics:
            self.rows.append((step, dict(metrics)))
            if step == self.interrupt_at:
                os.kill(os.getpid(), signal.SIGINT)

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None: ...

    def close(self) -> None: ...


def settings(**changes: Any) -> DPOConfig:
    return DPOConfig(**{"learning_rate": 5e-3, "epochs": 3, "batch_size": 4, "evaluations": 3, **changes})


def loves_dogs(dialogues: type[HandMadeDialogues], count: int, seed: int) -> list[PreferencePair]:
    """Pairs in which the better reply speaks of dogs and the other, a word longer, of cats."""
    rng = random.Random(seed)
    pairs = []
    for context in dialogues.contexts(count, seed):
        form = rng.choice(("I love {} so much.", "My {} are here.", "We talk about {} all day.", "All {} are nice."))
        pairs.append(PreferencePair(context, form.format("dogs"), form.format("big cats"), "generic", "made"))
    return pairs


def trainer(tiny: TinyModels, folder: Path, config: DPOConfig, family: str = "llama", **options: Any) -> DPOTrainer:
    layers = options.pop("layers", 2)
    split = SplitModel(tiny.model(family, layers=3, spread=0.1), BRANCH.model_copy(update={"layers": layers}))
    return DPOTrainer(split, tiny.prompts(), config, folder, **options)


@pytest.mark.parametrize(
    "changes", [{}, {"length_normalised": False, "beta": 0.3}, {"reference": False, "margin": 0.5}]
)
def test_it_learns_an_order_and_finds_it_in_new_pairs(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path, changes: dict[str, Any]
) -> None:
    learner = trainer(tiny, tmp_path, settings(**changes))
    test = loves_dogs(dialogues, 20, seed=2)
    result = learner.train(loves_dogs(dialogues, 24, seed=1), test)
    figures = learner.evaluate(test, 100)
    assert figures["likelihood_accuracy"]["all"]["value"] >= 0.9
    assert figures["accuracy"]["generic"]["n"] == 20
    assert result.looks[-1]["loss"] < result.looks[0]["loss"]
    assert [look["step"] for look in result.looks] == [0, 6, 12, 18]
    assert not list(tmp_path.rglob("trunk*"))


def test_the_first_loss_is_that_of_the_reference_itself(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    tracker = Watching()
    learner = trainer(tiny, tmp_path, settings(epochs=1), open_tracker=lambda _step: tracker)
    learner.train(loves_dogs(dialogues, 10, seed=1), loves_dogs(dialogues, 4, seed=2))
    step, first = tracker.rows[0]
    assert step == 1
    assert set(first) == set(FIGURES)
    assert first["preference_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["lead"] == pytest.approx(0, abs=1e-5)
    assert first["loss"] == pytest.approx(math.log(2) - first["chosen_logprob"], abs=1e-5)


@pytest.mark.parametrize(
    ("family", "layers", "changes"),
    [
        ("llama", 1, {"sft_weight": 0.0, "length_normalised": False, "beta": 0.1}),
        ("llama", "all", {"sft_weight": 0.7, "label_smoothing": 0.2}),
        ("qwen2", 1, {"reference": False, "margin": 0.4}),
        ("mistral", 1, {"sft_weight": 0.7, "label_smoothing": 0.2}),
        ("gpt2", "all", {"reference": False, "margin": 0.4}),
    ],
)
def test_the_gradients_are_those_of_plain_forward_passes(
    tiny: TinyModels,
    dialogues: type[HandMadeDialogues],
    tmp_path: Path,
    family: str,
    layers: Any,
    changes: dict[str, Any],
) -> None:
    """Against the formula written down anew, one reply at a time through the whole model."""
    pairs = loves_dogs(dialogues, 5, seed=1)
    learner = trainer(tiny, tmp_path, settings(epochs=1, **changes), family, layers=layers)
    learner.train(pairs, pairs)  # the policy has left its start
    split, config = learner.split, learner.config
    learner.gradients(learner._encode(pairs, "trunk"), [0, 3, 4])
    fast = [weight.grad.clone() for weight in learner.parameters if weight.grad is not None]
    learner.optimizer.zero_grad()

    def reply_logprobs(pair: PreferencePair, text: str) -> torch.Tensor:
        reply = learner.prompts.encode_reply(text)
        longest = max(len(learner.prompts.encode_reply(both)) for both in (pair.chosen, pair.rejected))
        prompt = learner.prompts.encode_prompt(pair.context, reserve=longest)
        ids = torch.tensor([*prompt, *reply])
        logits = split.backbone(input_ids=ids[None]).logits[0, len(prompt) - 1 : -1]
        return torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(reply)[:, None]).squeeze(1)

    loss = torch.zeros(())
    for pair in (pairs[0], pairs[3], pairs[4]):
        with torch.no_grad(), split.active(None):
            before = [reply_logprobs(pair, text) for text in (pair.chosen, pair.rejected)]
        with split.active(POLICY):
            now = [reply_logprobs(pair, text) for text in (pair.chosen, pair.rejected)]
        gains = [own - ref if config.reference else own for own, ref in zip(now, before, strict=True)]
        sums = [gain.mean() if config.length_normalised else gain.sum() for gain in gains]
        lead = config.beta * (sums[0] - sums[1]) - config.margin
        smooth = config.label_smoothing
        loss = loss - (1 - smooth) * torch.log(torch.sigmoid(lead)) - smooth * torch.log(torch.sigmoid(-lead))
        loss = loss - config.sft_weight * now[0].mean()
    (loss / 3).backward()
    plain = [weight.grad for weight in learner.parameters if weight.grad is not None]
    assert len(fast) == len(plain) > 0
    for own, expected in zip(fast, plain, strict=True):
        assert torch.allclose(own, expected, atol=2e-5), (own - expected).abs().max()


def test_a_step_doesnt_depend_on_what_goes_through_the_layers_together(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    pairs = loves_dogs(dialogues, 8, seed=1)
    weights = []
    for place, tokens in (("one", 1), ("all", 100_000)):
        learner = trainer(tiny, tmp_path / place, settings(epochs=1), batch_tokens=tokens)
        learner.train(pairs, pairs)
        weights.append(learner.split.branch_tensors(POLICY))
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-4), name


@pytest.mark.parametrize("interrupt_at", [3, 4])  # at a look, and between two
def test_an_interrupted_training_arrives_where_an_uninterrupted_one_does(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path, interrupt_at: int
) -> None:
    pairs, test = loves_dogs(dialogues, 10, seed=1), loves_dogs(dialogues, 5, seed=2)
    whole = trainer(tiny, tmp_path / "whole", settings())
    expected = whole.train(pairs, test)
    tracker = Watching(interrupt_at)
    with pytest.raises(KeyboardInterrupt):
        trainer(tiny, tmp_path / "parts", settings(), open_tracker=lambda _: tracker).train(pairs, test)
    later = Watching()
    resumed = trainer(tiny, tmp_path / "parts", settings(), open_tracker=lambda _: later)
    found = resumed.train(pairs, test)
    assert [step for step, _ in later.rows] == list(range(interrupt_at + 1, 10))
    assert [{**look, "seconds": 0} for look in found.looks] == [{**look, "seconds": 0} for look in expected.looks]
    assert found.best_step == expected.best_step
    assert found.seconds > found.looks[1]["seconds"] > 0
    for name, tensor in resumed.split.branch_tensors(POLICY).items():
        assert torch.equal(tensor, whole.split.branch_tensors(POLICY)[name]), name


def test_other_pairs_dont_go_on_with_an_interrupted_training(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    pairs = loves_dogs(dialogues, 10, seed=1)
    tracker = Watching(4)
    with pytest.raises(KeyboardInterrupt):
        trainer(tiny, tmp_path, settings(), open_tracker=lambda _: tracker).train(pairs, pairs)
    with pytest.raises(UserError, match="an interrupted DPO on other preference pairs") as caught:
        trainer(tiny, tmp_path, settings()).train(pairs[1:], pairs)
    assert "\n" not in str(caught.value)


def test_the_branch_ends_at_the_look_with_the_lowest_held_out_loss(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    """Held out are the same pairs the wrong way round, so learning makes it worse from the first look on."""
    pairs = loves_dogs(dialogues, 8, seed=1)
    turned = [
        PreferencePair(p.context, p.rejected, p.chosen, p.kind, p.origin) for p in pairs
    ]  # learning makes it worse
    learner = trainer(tiny, tmp_path, settings())
    result = learner.train(pairs, turned)
    losses = {look["step"]: look["loss"] for look in result.looks[1:]}
    assert result.best_step == min(losses, key=losses.__getitem__) < result.steps
    own = learner._judge(learner._encode(turned, "again"))
    assert sum(pair.loss for pair in own) / len(own) == pytest.approx(losses[result.best_step], abs=1e-5)


def test_it_stops_when_its_seconds_are_spent_and_judges_what_it_has(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    pairs = loves_dogs(dialogues, 8, seed=1)
    result = trainer(tiny, tmp_path, settings(epochs=500), budget=Budget(1.0)).train(pairs, pairs)
    assert 0 < result.steps < 1000
    assert result.stopped == f"its 1 seconds were spent at step {result.steps}"
    assert result.looks[-1]["step"] == result.steps
    assert 1.0 <= result.seconds < 30


def test_no_pairs_are_a_users_error(tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path) -> None:
    pairs = loves_dogs(dialogues, 2, seed=1)
    with pytest.raises(UserError, match="DPO needs preference pairs, found none; run the stage preferences first"):
        trainer(tiny, tmp_path, settings()).train([], pairs)
    with pytest.raises(UserError, match="DPO needs held-out pairs, found none"):
        trainer(tiny, tmp_path, settings()).train(pairs, [])


def test_the_losses_are_what_the_formulas_give_by_hand() -> None:
    logprobs, reference, lengths = (torch.tensor(row) for row in ([-4.0, -9.0], [-6.0, -6.0], [2.0, 3.0]))
    both = {"length_normalised": False, "reference": True}
    assert implicit_rewards(logprobs, reference, lengths, **both).tolist() == [2.0, -3.0]
    normalised = implicit_rewards(logprobs, reference, lengths, length_normalised=True, reference=True)
    assert normalised.tolist() == [1.0, -1.0]
    free = implicit_rewards(logprobs, reference, lengths, length_normalised=True, reference=False)
    assert free.tolist() == [-2.0, -3.0]
    better, worse = torch.tensor([1.0]), torch.tensor([-1.0])
    assert float(preference_losses(better, worse, beta=0.5)) == pytest.approx(-math.log(1 / (1 + math.exp(-1))))
    assert float(preference_losses(better, worse, beta=0.5, margin=1.0)) == pytest.approx(math.log(2))
    smoothed = -0.9 * math.log(1 / (1 + math.exp(-1))) - 0.1 * math.log(1 / (1 + math.exp(1)))
    assert float(preference_losses(better, worse, beta=0.5, label_smoothing=0.1)) == pytest.approx(smoothed)
    assert chosen_losses(torch.tensor([-4.0]), torch.tensor([2.0])).tolist() == [2.0]


def test_the_report_is_what_counting_by_hand_gives(dialogues: type[HandMadeDialogues]) -> None:
    pairs = [*loves_dogs(dialogues, 2, seed=1)]
    pairs[1] = PreferencePair(pairs[1].context, "a", "b", "off_topic", "made")
    found = [
        PairLikelihood(loss=0.1, lead=1.0, chosen=-3.0, rejected=-2.0, ref_chosen=-4.0, ref_rejected=-2.0),
        PairLikelihood(loss=0.9, lead=0.0, chosen=-1.0, rejected=-2.0, ref_chosen=-1.5, ref_rejected=-1.0),
    ]
    figures = report(pairs, found, 200, 0)
    assert {kind: row["value"] for kind, row in figures["accuracy"].items()} == {
        "all": 0.5, "generic": 1.0, "off_topic": 0.0,  # a tie is wrong
    }  # fmt: skip
    assert figures["likelihood_accuracy"]["off_topic"]["value"] == 1.0
    assert figures["likelihood_accuracy"]["all"]["value"] == 0.5
    assert figures["reference_likelihood_accuracy"]["all"]["value"] == 0.0
    assert figures["chosen_change"]["value"] == pytest.approx(0.75)
    assert figures["rejected_change"]["value"] == pytest.approx(-0.5)


@pytest.mark.parametrize(("method", "call"), [("_encode", 2), ("_judge", 1), ("gradients", 5), ("_judge", 2)])
def test_computing_is_cut_off_at_once_and_done_again_to_the_last_bit(
    tiny: TinyModels,
    dialogues: type[HandMadeDialogues],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    call: int,
) -> None:
    pairs, test = loves_dogs(dialogues, 10, seed=1), loves_dogs(dialogues, 5, seed=2)
    first, second = Watching(), Watching()
    whole = trainer(tiny, tmp_path / "whole", settings())
    expected = whole.train(pairs, test)
    broken = trainer(tiny, tmp_path / "parts", settings(), open_tracker=lambda _: first)
    calls = sigterm_after(monkeypatch, broken, method, call)
    with pytest.raises(KeyboardInterrupt):
        broken.train(pairs, test)
    assert calls == [call]
    resumed = trainer(tiny, tmp_path / "parts", settings(), open_tracker=lambda _: second)
    found = resumed.train(pairs, test)
    assert [step for step, _ in (*first.rows, *second.rows)] == list(range(1, 10))
    assert [{**look, "seconds": 0} for look in found.looks] == [{**look, "seconds": 0} for look in expected.looks]
    for name, tensor in resumed.split.branch_tensors(POLICY).items():
        assert torch.equal(tensor, whole.split.branch_tensors(POLICY)[name]), name
