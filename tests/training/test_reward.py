"""The reward model: learns a preference, reports on itself, and can't lose its head unnoticed."""

from __future__ import annotations

import math
import operator
import os
import random
import signal
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.signals import sigterm_after

from personatune.dialogue import Context, Persona, PreferencePair, Turn
from personatune.errors import UserError
from personatune.model.branches import SplitModel
from personatune.settings import BranchConfig, RewardConfig, RewardTargets
from personatune.training.length_line import LengthLine
from personatune.training.reward import RewardModel, RewardModelTrainer
from personatune.training.reward_report import calibration_error, checks, report, swap_personas

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

BRANCH = BranchConfig(layers=2, rank=4, alpha=8)
SETTINGS = RewardConfig(learning_rate=1e-2, epochs=3, batch_size=4)


class CtrlC:
    """A tracker that presses Ctrl-C when a step is logged."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.losses: list[tuple[int, float]] = []

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.losses.append((step, metrics["loss"]))
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None: ...

    def close(self) -> None: ...


def model(tiny: TinyModels, family: str = "llama", seed: int = 0) -> RewardModel:
    return RewardModel(SplitModel(tiny.model(family, layers=3, spread=0.1), BRANCH), tiny.prompts(), seed=seed)


def loves_dogs(dialogues: type[HandMadeDialogues], count: int, seed: int) -> list[PreferencePair]:
    """Pairs in which the better reply speaks of dogs and the other, as long, of cats."""
    rng = random.Random(seed)
    pairs = []
    for context in dialogues.contexts(count, seed):
        form = rng.choice(("I love {} so much.", "My {} are here.", "We talk about {} all day.", "All {} are nice."))
        pairs.append(PreferencePair(context, form.format("dogs"), form.format("cats"), "generic", "made"))
    return pairs


def test_it_learns_a_preference_and_ranks_new_pairs_by_it(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    reward = model(tiny)
    trainer = RewardModelTrainer(reward, SETTINGS, tmp_path)
    test = loves_dogs(dialogues, 20, seed=2)
    assert trainer.evaluate(test, 100)["accuracy"]["all"]["value"] == 0.0  # all scores are 0 and a tie is wrong
    trainer.train(loves_dogs(dialogues, 24, seed=1))
    figures = trainer.evaluate(test, 100)
    assert figures["accuracy"]["all"]["value"] >= 0.9
    assert figures["n"] == 20
    scores = torch.tensor(
        reward.score([p.context for p in test] * 2, [p.chosen for p in test] + [p.rejected for p in test])
    )
    assert reward.normalise(scores).mean() == pytest.approx(0, abs=1e-4)
    assert reward.normalise(scores).std() == pytest.approx(1, abs=1e-3)


def test_the_first_loss_is_that_of_equal_scores(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    tracker = CtrlC()
    RewardModelTrainer(model(tiny), SETTINGS, tmp_path, open_tracker=lambda _step: tracker).train(
        loves_dogs(dialogues, 10, seed=1)
    )
    assert [step for step, _ in tracker.losses] == list(range(1, 10))  # three epochs of three batches
    assert tracker.losses[0][1] == pytest.approx(math.log(2))


@pytest.mark.parametrize("interrupt_at", [3, 4])  # at the end of an epoch, and within one
def test_an_interrupted_training_arrives_where_an_uninterrupted_one_does(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path, interrupt_at: int
) -> None:
    pairs = loves_dogs(dialogues, 10, seed=1)
    whole = model(tiny)
    RewardModelTrainer(whole, SETTINGS, tmp_path / "whole").train(pairs)
    tracker = CtrlC(interrupt_at)
    broken = RewardModelTrainer(model(tiny), SETTINGS, tmp_path / "parts", open_tracker=lambda _step: tracker)
    with pytest.raises(KeyboardInterrupt):
        broken.train(pairs)
    resumed = model(tiny)
    later = CtrlC()
    RewardModelTrainer(resumed, SETTINGS, tmp_path / "parts", open_tracker=lambda _step: later).train(pairs)
    assert [step for step, _ in later.losses] == list(range(interrupt_at + 1, 10))
    expected = whole.split.branch_tensors("reward")
    for name, tensor in resumed.split.branch_tensors("reward").items():
        assert torch.equal(tensor, expected[name]), name


def test_a_score_doesnt_depend_on_the_batch(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path, family: str
) -> None:
    reward = model(tiny, family)
    pairs = loves_dogs(dialogues, 10, seed=1)
    RewardModelTrainer(reward, SETTINGS.model_copy(update={"epochs": 1}), tmp_path).train(pairs)
    contexts = [pair.context for pair in pairs]
    replies = ["Yes.", *(pair.chosen for pair in pairs[1:])]
    together = reward.score(contexts, replies)
    assert together == pytest.approx(reward.score(contexts, replies, batch_tokens=1), abs=1e-3)
    assert len(set(together)) > 5


def test_the_score_is_read_at_the_end_marker_of_the_reply(tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> None:
    reward = model(tiny)
    context = dialogues.contexts(1)[0]
    prompt, reply = reward.encode(context, "I have two dogs.")
    assert reply[-1] == reward.prompts.stop_ids[0]
    assert (prompt, reply) == (reward.prompts.encode_prompt(context), reward.prompts.encode_reply("I have two dogs."))


def test_a_context_that_is_too_long_makes_room_for_the_reply(tiny: TinyModels) -> None:
    reward = model(tiny)
    reward.prompts.max_length = 160
    turns = tuple(Turn("partner" if i % 2 == 0 else "self", f"Line {i} of a story.") for i in range(21))
    prompt, reply = reward.encode(Context(Persona(("I cook.",)), turns), "A rather long reply about many things, " * 2)
    assert len(prompt) + len(reply) <= 160


def trained(tiny: TinyModels, dialogues: type[HandMadeDialogues], folder: Path) -> dict[str, Any]:
    reward = model(tiny)
    trainer = RewardModelTrainer(reward, SETTINGS, folder)
    trainer.train(loves_dogs(dialogues, 10, seed=1))
    figures = trainer.evaluate(loves_dogs(dialogues, 10, seed=2), 100)
    reward.save(folder / "branch")
    return figures


def test_a_saved_model_scores_as_before(tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path) -> None:
    figures = trained(tiny, dialogues, tmp_path)
    reward = model(tiny, seed=8)
    reward.load(tmp_path / "branch", figures)
    check = figures["check"]
    assert reward.score([Context.from_json(check["context"])], [check["reply"]]) == pytest.approx([check["score"]])
    assert (reward.mean, reward.scale) == (figures["score_mean"], figures["score_scale"])
    assert reward.scale > 0


@pytest.mark.parametrize("change", [lambda weight: weight * 0, lambda weight: weight + 0.3])
def test_a_head_that_was_tampered_with_is_noticed(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path, change: Any
) -> None:
    figures = trained(tiny, dialogues, tmp_path)
    file = tmp_path / "branch" / "head.safetensors"
    head = load_file(file)
    save_file({**head, "weight": change(head["weight"])}, file)
    with pytest.raises(UserError, match="the loaded reward model scores its check reply") as caught:
        model(tiny).load(tmp_path / "branch", figures)
    assert "\n" not in str(caught.value)


def test_no_pairs_are_a_users_error(tiny: TinyModels, tmp_path: Path) -> None:
    trainer = RewardModelTrainer(model(tiny), SETTINGS, tmp_path)
    with pytest.raises(UserError, match="needs preference pairs, found none; run the stage preferences first"):
        trainer.train([])
    with pytest.raises(UserError, match="needs held-out pairs, found none"):
        trainer.evaluate([])


def pair(kind: str, chosen: str, rejected: str, trait: str = "I cook.") -> PreferencePair:
    return PreferencePair(Context(Persona((trait,)), (Turn("partner", "Hi!"),)), chosen, rejected, kind, "made")


def test_the_report_is_what_counting_by_hand_gives() -> None:
    pairs = [
        pair("generic", "one two three", "one"),
        pair("generic", "one two", "one two"),
        pair("off_topic", "one", "one two three four"),
        pair("off_topic", "one two", "one two three"),
    ]
    chosen, rejected, swapped = [3.0, 1.0, 0.5, 2.0], [1.0, 2.0, 0.5, 1.0], [2.0, 1.0, 1.0, 0.0]
    figures = report(pairs, chosen, rejected, swapped, 200, 0)
    assert figures["n"] == 4
    assert {kind: (row["value"], row["n"]) for kind, row in figures["accuracy"].items()} == {
        "all": (0.5, 4),  # right, wrong, a tie (wrong), right
        "generic": (0.5, 2),
        "off_topic": (0.5, 2),
    }
    assert all(row["low"] <= row["value"] <= row["high"] for row in figures["accuracy"].values())
    assert figures["persona_sensitivity"]["value"] == 0.5  # falls, stays (no fall), rises, falls
    lengths, scores = [3, 2, 1, 2, 1, 2, 4, 3], [*chosen, *rejected]
    mean_length, mean_score = sum(lengths) / 8, sum(scores) / 8
    covariance = sum((a - mean_length) * (b - mean_score) for a, b in zip(lengths, scores, strict=True))
    spread = math.sqrt(sum((a - mean_length) ** 2 for a in lengths) * sum((b - mean_score) ** 2 for b in scores))
    assert figures["length_correlation"]["value"] == pytest.approx(covariance / spread)
    for name in ("length_correlation", "calibration_error"):
        assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"]
        assert figures[name]["n"] == 4


def test_replies_of_one_length_have_no_correlation_with_it() -> None:
    figures = report([pair("generic", "a b", "c d")] * 2, [1.0, 2.0], [0.0, 3.0], [0.0, 0.0], 100, 0)
    assert figures["length_correlation"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 2}


def test_the_calibration_error_is_the_gap_between_confidence_and_being_right() -> None:
    certain = math.log(0.9 / 0.1)  # confidence 0.9
    doubtful = math.log(0.62 / 0.38)
    margins = [certain] * 9 + [-certain] + [doubtful, -doubtful]
    expected = 10 / 12 * abs(0.9 - 0.9) + 2 / 12 * abs(0.5 - 0.62)
    assert calibration_error(margins) == pytest.approx(expected, abs=1e-9)
    assert calibration_error([50.0, 60.0]) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error([-50.0, -60.0]) == pytest.approx(1.0, abs=1e-6)


def test_every_context_gets_a_persona_that_shares_nothing_with_its_own() -> None:
    contexts = [
        Context(Persona(traits), (Turn("partner", f"Hi {number}!"),))
        for number, traits in enumerate([("a", "b"), ("b", "c"), ("d",), ("a", "b")])
    ]
    swapped = swap_personas(contexts)
    assert [context.persona.traits for context in swapped] == [("d",), ("d",), ("a", "b"), ("d",)]
    assert [context.history for context in swapped] == [context.history for context in contexts]


def test_one_persona_alone_cant_be_swapped() -> None:
    contexts = [pair("generic", "a", "b").context] * 3
    with pytest.raises(UserError, match="at least two different personas"):
        swap_personas(contexts)


def test_a_line_over_length_is_taken_out_of_scores() -> None:
    tokens = torch.tensor([3, 5, 8, 12, 20, 4, 9, 15])
    quality = torch.tensor([0.5, -0.5] * 4)
    line = LengthLine.fit(tokens, 2.0 * quality + 0.3 * tokens)
    assert line.slope == pytest.approx(0.3, abs=0.1)
    assert float(line(torch.tensor(line.mean))) == pytest.approx(0)
    beyond = line(torch.tensor([20.0, 200.0]))  # nothing is known there
    assert beyond.tolist() == pytest.approx([line.slope * (line.high - line.mean)] * 2)
    assert LengthLine.fit(torch.tensor([7, 7]), torch.tensor([1.0, 2.0])).slope == 0.0  # one length says nothing


def test_a_model_that_learnt_to_like_length_scores_without_it_after_training(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    pairs = [
        PreferencePair(context, "I like that very much and I do it all day long.", "I do.", "generic", "made")
        for context in dialogues.contexts(16, seed=1)
    ]
    margins = {}
    for control in ("none", "residual"):
        reward = model(tiny)
        config = SETTINGS.model_copy(update={"length_control": control})
        RewardModelTrainer(reward, config, tmp_path / control).train(pairs)
        contexts = [pair.context for pair in pairs]
        better = reward.score(contexts, [pair.chosen for pair in pairs])
        worse = reward.score(contexts, [pair.rejected for pair in pairs])
        margins[control] = statistics.fmean(map(operator.sub, better, worse))
    assert margins["none"] > 0.5
    assert margins["residual"] == pytest.approx(0, abs=1e-3)  # all there was to learn was length


def test_the_length_slope_is_saved_with_the_model_and_found_again_after_a_resume(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    figures = trained(tiny, dialogues, tmp_path)
    assert figures["length"]["slope"] != 0.0
    loaded = model(tiny, seed=8)
    loaded.load(tmp_path / "branch", figures)
    assert asdict(loaded.length) == figures["length"]
    resumed = model(tiny)
    RewardModelTrainer(resumed, SETTINGS, tmp_path).train(loves_dogs(dialogues, 10, seed=1))  # all steps are done
    assert asdict(resumed.length) == pytest.approx(figures["length"], rel=1e-5)


def figures_of(everything: float, generic: float, length: float, sensitivity: float) -> dict[str, Any]:
    def share(value: float) -> dict[str, float]:
        return {"value": value, "low": value, "high": value, "n": 40}

    return {
        "n": 40,
        "accuracy": {"all": share(everything), "generic": share(generic)},
        "length_correlation": length,
        "persona_sensitivity": share(sensitivity),
    }


def test_every_target_is_a_check_and_a_figure_on_the_target_meets_it() -> None:
    assert all(check.met for check in checks(figures_of(0.8, 0.65, -0.2, 0.85), RewardTargets()))
    missed = [check for check in checks(figures_of(0.79, 0.6, -0.33, 0.67), RewardTargets()) if not check.met]
    assert [str(check) for check in missed] == [
        "accuracy 79 % (target ≥ 80 %, n = 40)",
        "accuracy of generic 60 % (target ≥ 65 %, n = 40)",
        "|correlation of score and length| 0.33 (target ≤ 0.20, n = 80)",
        "persona sensitivity 67 % (target ≥ 85 %, n = 40)",
    ]
    assert len(checks(figures_of(0.0, 0.0, 0.0, 0.0), RewardTargets(accuracy=0))) == 4


@pytest.mark.parametrize(("votes", "held"), [(3, False), (30, True)])
def test_votes_are_held_to_a_target_only_where_there_are_enough_of_them(votes: int, held: bool) -> None:
    figures = figures_of(0.9, 0.9, 0.0, 0.9)
    figures["accuracy"]["vote"] = {"value": 0.3, "low": 0.1, "high": 0.6, "n": votes}
    assert any(not check.met for check in checks(figures, RewardTargets())) == held


@pytest.mark.parametrize(("method", "call"), [("_encode", 1), ("gradients", 1), ("gradients", 5)])
def test_computing_is_cut_off_at_once_and_done_again_to_the_last_bit(
    tiny: TinyModels,
    dialogues: type[HandMadeDialogues],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    call: int,
) -> None:
    pairs = loves_dogs(dialogues, 10, seed=1)
    whole = model(tiny)
    RewardModelTrainer(whole, SETTINGS, tmp_path / "whole").train(pairs)
    broken = RewardModelTrainer(model(tiny), SETTINGS, tmp_path / "parts")
    calls = sigterm_after(monkeypatch, broken, method, call)
    with pytest.raises(KeyboardInterrupt):
        broken.train(pairs)
    assert calls == [call]
    resumed, later = model(tiny), CtrlC()
    RewardModelTrainer(resumed, SETTINGS, tmp_path / "parts", open_tracker=lambda _step: later).train(pairs)
    assert [step for step, _ in later.losses] == list(range(call, 10))
    expected = whole.split.branch_tensors("reward")
    for name, tensor in resumed.split.branch_tensors("reward").items():
        assert torch.equal(tensor, expected[name]), name
