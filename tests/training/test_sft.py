"""Fine-tuning: it learns, it stops for a reason, and an interrupt changes nothing about where it arrives."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from personatune.costs.meter import StageMeter
from personatune.dialogue import Persona, Perspective, Turn
from personatune.errors import UserError
from personatune.model import likelihood
from personatune.settings import LoraConfig, SFTConfig
from personatune.training.sft import SFTTrainer
from personatune.training.sft_dialogues import encode_dialogues, held_out_loss

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

LORA = LoraConfig(rank=8, alpha=16)


class Watching:
    """A tracker that keeps what it gets, and presses Ctrl-C when a step is logged."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.interrupt_at = interrupt_at
        self.rows: list[tuple[int, str, float]] = []
        self.shown: list[Mapping[str, str]] = []
        self.closed = False

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.rows += [(step, name, value) for name, value in metrics.items()]
        if step == self.interrupt_at and "train_loss" in metrics:
            os.kill(os.getpid(), signal.SIGINT)

    def samples(self, name: str, rows: Sequence[Mapping[str, str]], step: int) -> None:
        self.shown += rows

    def close(self) -> None:
        self.closed = True

    def curve(self, name: str) -> list[tuple[int, float]]:
        return [(step, value) for step, key, value in self.rows if key == name]


def settings(**changes: Any) -> SFTConfig:
    defaults: dict[str, Any] = {
        "learning_rate": 1e-2, "epochs": 2, "batch_size": 4, "evaluations": 4, "samples": 0, "validation_dialogues": 6
    }  # fmt: skip
    return SFTConfig(**{**defaults, **changes})


class Bench:
    """Makes trainers on the same tiny model and the same dialogues."""

    def __init__(self, tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> None:
        self.tiny = tiny
        self.train = dialogues.perspectives(16, seed=1)
        self.validation = dialogues.perspectives(6, seed=2)

    def trainer(
        self,
        directory: Path,
        *,
        family: str = "llama",
        lora: LoraConfig | None = LORA,
        tracker: Watching | None = None,
        config: SFTConfig | None = None,
        **options: Any,
    ) -> SFTTrainer:
        kept = tracker or Watching()
        return options.pop("kind", SFTTrainer)(
            options.pop("base", None) or self.tiny.model(family, layers=2, spread=0.05),
            self.tiny.prompts(),
            options.pop("train", self.train),
            options.pop("validation", self.validation),
            config or settings(),
            lora,
            directory,
            open_tracker=lambda _step: kept,
            **options,
        )


@pytest.fixture
def bench(tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> Bench:
    return Bench(tiny, dialogues)


def weights(trainer: SFTTrainer) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def test_the_held_out_loss_falls_and_the_best_weights_are_left(bench: Bench, tmp_path: Path) -> None:
    trainer = bench.trainer(tmp_path, config=settings(epochs=6))
    result = trainer.train()
    losses = [point.loss for point in result.curve]
    assert losses[-1] < losses[0] - 0.5
    assert [point.step for point in result.curve] == [0, 6, 12, 18, 24]
    assert result.stopped == "all steps done"
    left = held_out_loss(trainer.base, trainer.validation_set, trainer.prompts.pad_id)
    assert left == pytest.approx(result.best.loss, abs=1e-5)
    assert not trainer.model.training


def test_time_and_tokens_grow_along_the_curve(bench: Bench, tmp_path: Path) -> None:
    trainer = bench.trainer(tmp_path)
    result = trainer.train()
    assert [point.tokens for point in result.curve] == sorted({point.tokens for point in result.curve})
    assert result.curve[-1].tokens == 2 * sum(len(dialogue.input_ids) for dialogue in trainer.train_set)
    assert [point.seconds for point in result.curve] == sorted({point.seconds for point in result.curve})
    assert [point.cpu_seconds for point in result.curve] == sorted({point.cpu_seconds for point in result.curve})


@pytest.mark.parametrize(  # at a step, at an evaluation, at the end; GPT-2 draws dropout, its generator is resumed too
    ("family", "interrupt_at"), [("llama", 1), ("llama", 4), ("llama", 8), ("gpt2", 3), ("gpt2", 7)]
)
def test_an_interrupted_run_arrives_at_the_weights_of_an_uninterrupted_one_bit_for_bit(
    bench: Bench, tmp_path: Path, family: str, interrupt_at: int
) -> None:
    torch.manual_seed(3)
    whole = bench.trainer(tmp_path / "whole", family=family)
    expected = whole.train()
    torch.manual_seed(3)
    with pytest.raises(KeyboardInterrupt):
        bench.trainer(tmp_path / "parts", family=family, tracker=Watching(interrupt_at)).train()
    torch.manual_seed(99)  # another process draws something else
    resumed = bench.trainer(tmp_path / "parts", family=family)
    result = resumed.train()
    for name, weight in weights(resumed).items():
        assert torch.equal(weight, weights(whole)[name]), name
    assert [(p.step, p.tokens, p.loss) for p in result.curve] == [(p.step, p.tokens, p.loss) for p in expected.curve]
    assert result.curve[-1].seconds > 0


@pytest.mark.slow
def test_a_compiled_run_gives_the_losses_of_an_uncompiled_one_and_resumes_bit_for_bit(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from personatune.model import compiled

    if compiled._missing_compiler():
        pytest.skip("no compiler on this machine")
    monkeypatch.setenv("PERSONATUNE_CACHE", str(tmp_path / "cache"))
    plain = bench.trainer(tmp_path / "plain", config=settings(compile="off")).train()
    whole = bench.trainer(tmp_path / "whole", config=settings(compile="on"))
    expected = whole.train()
    assert expected.compiled == "yes: sft.compile = on"
    assert [p.loss for p in expected.curve] == pytest.approx([p.loss for p in plain.curve], abs=2e-3)
    with pytest.raises(KeyboardInterrupt):
        bench.trainer(tmp_path / "parts", config=settings(compile="on"), tracker=Watching(3)).train()
    resumed = bench.trainer(tmp_path / "parts", config=settings(compile="on"))
    resumed.train()
    for name, weight in weights(resumed).items():
        assert torch.equal(weight, weights(whole)[name]), name


def test_the_operations_along_the_curve_are_those_of_the_batches(bench: Bench, tmp_path: Path) -> None:
    meter = StageMeter()
    trainer = bench.trainer(tmp_path, meter=meter)
    result = trainer.train()
    once = trainer._flops(trainer.train_set)
    assert result.curve[-1].flops == pytest.approx(2 * once)
    lengths = [len(dialogue.input_ids) for dialogue in trainer.validation_set]
    asked = sum(sum(weight > 0 for weight in dialogue.loss_weights[1:]) for dialogue in trainer.validation_set)
    assert meter.flops == pytest.approx(2 * once + 5 * trainer.work.forward(lengths, asked))


def test_a_resumed_run_repeats_no_step(bench: Bench, tmp_path: Path) -> None:
    first, second = Watching(3), Watching()
    with pytest.raises(KeyboardInterrupt):
        bench.trainer(tmp_path, tracker=first).train()
    bench.trainer(tmp_path, tracker=second).train()
    assert [step for step, _ in first.curve("train_loss")] == [1, 2, 3]
    assert [step for step, _ in second.curve("train_loss")] == [4, 5, 6, 7, 8]
    assert first.closed
    assert second.closed


def test_a_finished_run_trains_nothing_when_it_is_called_again(bench: Bench, tmp_path: Path) -> None:
    done = bench.trainer(tmp_path)
    expected = done.train()
    again = Watching()
    trainer = bench.trainer(tmp_path, tracker=again)
    assert trainer.train().curve == expected.curve
    assert again.rows == []
    assert all(torch.equal(weight, weights(done)[name]) for name, weight in weights(trainer).items())


def test_it_stops_when_the_held_out_loss_stops_falling_and_keeps_the_best(bench: Bench, tmp_path: Path) -> None:
    other = [
        Perspective(view.id, view.persona, tuple(Turn(t.speaker, t.text[::-1].upper()) for t in view.turns))
        for view in bench.validation
    ]
    config = settings(learning_rate=5e-2, epochs=20, evaluations=20, patience=2)
    trainer = bench.trainer(tmp_path, config=config, validation=other)
    result = trainer.train()
    losses = [point.loss for point in result.curve]
    assert result.stopped == "no better held-out loss in 2 evaluations"
    assert result.curve[-1].step < trainer.total_steps
    assert len(losses) - 1 - losses.index(min(losses)) == 2
    left = held_out_loss(trainer.base, trainer.validation_set, trainer.prompts.pad_id)
    assert left == pytest.approx(result.best.loss, abs=1e-5)


def test_where_training_only_harms_the_untrained_weights_are_left(bench: Bench, tmp_path: Path) -> None:
    taught = bench.trainer(tmp_path / "a", lora=None, config=settings(epochs=20), train=bench.validation)
    taught.train()
    config = settings(learning_rate=0.5, epochs=4, patience=2)
    trainer = bench.trainer(tmp_path / "b", config=config, base=taught.base)
    before = held_out_loss(trainer.base, trainer.validation_set, trainer.prompts.pad_id)
    result = trainer.train()
    assert min(point.loss for point in result.curve[1:]) > before
    assert result.best.step == 0
    left = held_out_loss(trainer.base, trainer.validation_set, trainer.prompts.pad_id)
    assert left == pytest.approx(before, abs=1e-6)


def test_it_stops_at_the_first_evaluation_that_reaches_the_target(bench: Bench, tmp_path: Path) -> None:
    free = bench.trainer(tmp_path / "free", config=settings(epochs=6)).train()
    target = free.curve[2].loss
    assert free.curve[1].loss > target
    trainer = bench.trainer(tmp_path / "aimed", config=settings(epochs=6), target_loss=target)
    result = trainer.train()
    assert [point.step for point in result.curve] == [point.step for point in free.curve[:3]]
    assert result.stopped == f"held-out loss {target:.4f} reached the target {target:.4f}"


def test_max_steps_ends_it_earlier(bench: Bench, tmp_path: Path) -> None:
    result = bench.trainer(tmp_path, config=settings(max_steps=3)).train()
    assert result.curve[-1].step == 3


def test_lora_changes_its_own_weights_only(bench: Bench, tmp_path: Path) -> None:
    trainer = bench.trainer(tmp_path)
    before = weights(trainer)
    result = trainer.train()
    changed = {name for name, weight in weights(trainer).items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if ".lora_" in name}
    assert result.trainable_parameters == sum(before[name].numel() for name in changed)


def test_full_fine_tuning_changes_every_weight(bench: Bench, tmp_path: Path, family: str) -> None:
    trainer = bench.trainer(tmp_path, family=family, lora=None, config=settings(learning_rate=1e-3))
    before = weights(trainer)
    result = trainer.train()
    after = weights(trainer)
    assert [name for name in before if torch.equal(after[name], before[name])] == []
    assert result.trainable_parameters == sum(weight.numel() for weight in before.values())
    assert result.curve[-1].loss < result.curve[0].loss


def test_both_ways_see_the_same_batches_in_the_same_order(bench: Bench, tmp_path: Path) -> None:
    first, second = bench.trainer(tmp_path / "lora"), bench.trainer(tmp_path / "full", lora=None)
    steps = range(first.total_steps)
    assert [first._batch(step) for step in steps] == [second._batch(step) for step in steps]
    seen = [tuple(dialogue.input_ids) for step in range(first.steps_per_epoch) for dialogue in first._batch(step)]
    assert sorted(seen) == sorted(tuple(dialogue.input_ids) for dialogue in first.train_set)
    epochs = [[first._batch(step) for step in steps[start : start + 4]] for start in (0, 4)]
    assert epochs[0] != epochs[1]


def test_turns_that_draw_on_the_persona_weigh_more(tiny: TinyModels) -> None:
    view = Perspective(
        "made",
        Persona(("I work as a chef.", "I have two dogs.")),
        (
            Turn("partner", "How are you?"),
            Turn("self", "Doing well, thank you."),
            Turn("partner", "What do you do for a living?"),
            Turn("self", "I am a chef."),
        ),
    )
    [encoded] = encode_dialogues(tiny.prompts(), [view], settings(persona_turn_weight=1.0, other_turn_weight=0.25))
    assert list(dict.fromkeys(encoded.loss_weights)) == [0.0, 0.25, 1.0]
    [strict] = encode_dialogues(tiny.prompts(), [view], settings(other_turn_weight=0.0))
    learnt = [token for token, weight in zip(strict.input_ids, strict.loss_weights, strict=True) if weight]
    assert tiny.prompts().decode_reply(learnt) == "I am a chef."


def test_a_copied_persona_sentence_has_a_weight_of_its_own(tiny: TinyModels) -> None:
    texts = ("Any pets?", "Yes, I have two dogs.", "And your job?", "I am a chef by trade.")
    persona = Persona(("I have two dogs.", "I work as a chef."))
    view = Perspective("made", persona, tuple(Turn(("partner", "self")[i % 2], text) for i, text in enumerate(texts)))
    prompts = tiny.prompts()

    def learnt(copied: float | None) -> dict[float, str]:
        [encoded] = encode_dialogues(prompts, [view], settings(persona_turn_weight=1.0, copied_turn_weight=copied))
        weighed = list(zip(encoded.input_ids, encoded.loss_weights, strict=True))
        return {
            weight: prompts.decode_reply([token for token, own in weighed if own == weight])
            for weight in set(encoded.loss_weights) - {0.0}
        }

    assert learnt(0.0) == {1.0: "I am a chef by trade."}
    assert learnt(0.5)[0.5] == "Yes, I have two dogs."
    assert learnt(None)[1.0].startswith("Yes, I have two dogs.")


def test_replies_to_held_out_lines_are_shown_at_every_evaluation(bench: Bench, tmp_path: Path) -> None:
    tracker = Watching()
    bench.trainer(tmp_path, tracker=tracker, config=settings(samples=2)).train()
    assert len(tracker.shown) == 2 * 5
    assert tracker.shown[0]["line"] == bench.validation[0].turns[0].text
    assert tracker.shown[0]["person"] == bench.validation[0].turns[1].text


def test_a_held_out_dialogue_that_answers_nobody_is_no_sample(bench: Bench, tmp_path: Path) -> None:
    lonely = Perspective("made", Persona(("I cook.",)), (Turn("self", "Hello there!"), Turn("partner", "Bye.")))
    tracker = Watching()
    trainer = bench.trainer(
        tmp_path, tracker=tracker, config=settings(samples=1, max_steps=1), validation=[lonely, *bench.validation]
    )
    trainer.train()
    assert tracker.shown[0]["line"] == bench.validation[0].turns[0].text


@pytest.mark.parametrize("part", ["train", "validation"])
def test_without_dialogues_there_is_nothing_to_train(bench: Bench, tmp_path: Path, part: str) -> None:
    parts: dict[str, Any] = {part: []}
    with pytest.raises(UserError, match="SFT needs training and held-out dialogues"):
        bench.trainer(tmp_path, **parts)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_without_a_turn_that_has_a_loss_there_is_nothing_to_train(bench: Bench, tmp_path: Path, part: str) -> None:
    small_talk = Perspective(
        "made", Persona(("I cook.",)), (Turn("partner", "How are you?"), Turn("self", "Well, thank you."))
    )
    parts: dict[str, Any] = {part: [small_talk]}
    with pytest.raises(UserError, match="dialogues with a turn that has a loss, found"):
        bench.trainer(tmp_path, config=settings(other_turn_weight=0.0), **parts)


class _CtrlC:
    """Presses Ctrl-C in the middle of a call, the ``number``-th one."""

    def __init__(self, act: Callable[..., Any], number: int) -> None:
        self.act, self.number = act, number
        self.calls = 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        found = self.act(*args, **options)
        self.calls += 1
        if self.calls == self.number:
            os.kill(os.getpid(), signal.SIGINT)
        return found


@pytest.mark.parametrize(
    ("place", "number", "reached"),
    [
        ("gradient_step", 1, 0),  # in the first step
        ("gradient_step", 6, 5),  # in the sixth
        ("sft_dialogues", 1, 0),  # in the evaluation before the first step
        ("sft_dialogues", 5, 4),  # in the one after the fourth
        ("sft_dialogues", 10, 8),  # in the last one
    ],
)
def test_computing_is_cut_off_at_once_and_done_again_to_the_last_bit(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, number: int, reached: int
) -> None:
    lora = LORA.model_copy(update={"dropout": 0.2})  # which draws from torch's own generator
    whole = bench.trainer(tmp_path / "whole", lora=lora)
    expected = whole.train()
    pressing = _CtrlC(likelihood.dialogue_losses, number)
    monkeypatch.setattr(f"personatune.training.{place}.dialogue_losses", pressing)
    first, second = Watching(), Watching()
    with pytest.raises(KeyboardInterrupt):
        bench.trainer(tmp_path / "parts", lora=lora, tracker=first).train()
    assert pressing.calls == number
    monkeypatch.undo()
    torch.manual_seed(99)
    resumed = bench.trainer(tmp_path / "parts", lora=lora, tracker=second)
    result = resumed.train()
    assert [step for step, _ in first.curve("train_loss")] == list(range(1, reached + 1))
    assert [step for step, _ in second.curve("train_loss")] == list(range(reached + 1, 9))
    for tensor, other in zip(weights(resumed).values(), weights(whole).values(), strict=True):
        assert torch.equal(tensor, other)
    assert [(p.step, p.tokens, p.loss) for p in result.curve] == [(p.step, p.tokens, p.loss) for p in expected.curve]


def test_resumed_before_the_first_step_the_curve_and_the_replies_begin_anew(bench: Bench, tmp_path: Path) -> None:
    config = settings(samples=2)
    first, second = Watching(), Watching()

    class KilledAtTheFirstStep(SFTTrainer):
        def _step(self, *_: Any) -> float:
            raise SystemExit

    with pytest.raises(SystemExit):
        bench.trainer(tmp_path, config=config, tracker=first, kind=KilledAtTheFirstStep).train()
    bench.trainer(tmp_path, config=config, tracker=second).train()
    assert [step for step, _ in second.curve("held_out_loss")] == [0, 2, 4, 6, 8]
    assert second.shown[:2] == first.shown
    assert len(second.shown) == 10


def test_other_settings_or_another_model_dont_go_on_with_an_interrupted_training(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        bench.trainer(tmp_path, tracker=Watching(3)).train()
    other = bench.tiny.model(layers=2, spread=0.05, seed=8)
    for options, difference in (
        ({"config": settings(learning_rate=5e-3)}, "settings.sft.learning_rate: 0.01, expected 0.005"),
        ({"lora": LORA.model_copy(update={"rank": 4})}, "settings.lora.rank: 8, expected 4"),
        ({"base": other}, "model: "),
        ({"train": bench.train[:8]}, "data: "),
    ):
        with pytest.raises(UserError, match=r"checkpoint-000003: of another training") as caught:
            bench.trainer(tmp_path, **options).train()
        assert difference in str(caught.value)
        assert "\n" not in str(caught.value)
    bench.trainer(tmp_path, config=settings(micro_batch_size=2)).train()  # a matter of memory alone


def test_a_kill_costs_no_more_than_some_minutes(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personatune.training.checkpoints.SAVE_EVERY", 0.0)
    trainer = bench.trainer(tmp_path, config=settings(evaluations=1))
    saved: list[int] = []
    save = trainer.checkpoints.save

    def noted(step: int, *args: Any, **options: Any) -> Path:
        saved.append(step)
        return save(step, *args, **options)

    monkeypatch.setattr(trainer.checkpoints, "save", noted)
    trainer.train()
    assert sorted(set(saved)) == list(range(9))
