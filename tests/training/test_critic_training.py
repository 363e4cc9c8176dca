"""Training the critic: it learns, resumes to the same weights, and its temperature makes its confidence honest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny_bert import save_tiny_bert

from personatune.data.persona_pairs import Label, SentencePair
from personatune.errors import UserError
from personatune.judging.critic_files import read_weights, save_critic
from personatune.training.critic import CriticSettings, CriticTrainer, fit_temperature, label_ids, logits_of

_WORDS = "[PAD] [UNK] [CLS] [SEP] i have a dog cat bird . no not yes".split()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_bert(tmp_path_factory.mktemp("bert"), _WORDS))


def pairs() -> list[SentencePair]:
    """Whether an animal is had, not had, or another one is spoken of: to be told from both sentences only."""
    made = []
    for animal in ("dog", "cat", "bird"):
        for other in ("dog", "cat", "bird"):
            had: Label = "entailment" if animal == other else "neutral"
            made.append(SentencePair(f"i have a {animal}", f"yes a {other} .", had, "test"))
            denied: Label = "contradiction" if animal == other else "neutral"
            made.append(SentencePair(f"i have a {animal}", f"no not a {other} .", denied, "test"))
    return made * 4


def settings(base: str, epochs: float) -> CriticSettings:
    return CriticSettings(base=base, alone=1, learning_rate=3e-3, head_rate=3e-3, batch_size=8, epochs=epochs)


def test_it_learns_what_only_both_sentences_tell(base: str, tmp_path: Path) -> None:
    network = CriticTrainer(settings(base, 30), pairs(), tmp_path).train()
    right = logits_of(network, pairs()).argmax(dim=1) == label_ids(pairs())
    assert float(right.float().mean()) > 0.9


def test_a_stopped_training_goes_on_to_the_same_weights(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = CriticTrainer(settings(base, 2), pairs(), tmp_path / "straight").train().trained_state()

    interrupted = CriticTrainer(settings(base, 2), pairs(), tmp_path / "stopped")
    step = interrupted._step

    def stop_at_five(batch: list[SentencePair], number: int) -> float:
        if number == 4:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)
        return step(batch, number)

    monkeypatch.setattr(interrupted, "_step", stop_at_five)
    with pytest.raises(KeyboardInterrupt):
        interrupted.train()
    resumed = CriticTrainer(settings(base, 2), pairs(), tmp_path / "stopped").train().trained_state()
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_logits_come_in_the_order_of_the_pairs(base: str, tmp_path: Path) -> None:
    network = CriticTrainer(settings(base, 0.5), pairs(), tmp_path).train()
    some = [pairs()[number] for number in (5, 0, 3)]
    apart = torch.cat([logits_of(network, [pair]) for pair in some])
    torch.testing.assert_close(logits_of(network, some), apart, atol=1e-5, rtol=1e-5)


def test_the_temperature_undoes_overconfidence() -> None:
    torch.manual_seed(0)
    honest = torch.randn(4000, 3) * 2
    labels = torch.multinomial(torch.softmax(honest, dim=1), 1).squeeze(1)
    assert fit_temperature(honest, labels) == pytest.approx(1.0, abs=0.1)
    assert fit_temperature(honest * 3, labels) == pytest.approx(3.0, abs=0.3)


def test_pairs_of_the_second_kind_are_seen_once_and_the_others_in_every_epoch(base: str, tmp_path: Path) -> None:
    once = [SentencePair("i have a dog", f"yes a cat {'. ' * number}", "neutral", "made") for number in range(1, 13)]
    trainer = CriticTrainer(settings(base, 3), pairs()[:18], tmp_path, once=once)
    seen = [pair for step in range(trainer.total_steps) for pair in trainer._batch(step)]
    assert sorted(pair.hypothesis for pair in seen if pair.kind == "made") == sorted(pair.hypothesis for pair in once)
    assert len(seen) == 3 * 18 + 12


def test_the_lower_layers_multiply_in_eight_bits_while_the_upper_ones_learn(base: str, tmp_path: Path) -> None:
    trainer = CriticTrainer(settings(base, 0.5), pairs(), tmp_path)
    network = trainer.train()
    assert not any(isinstance(layer, torch.nn.Linear) for layer in network.lower.modules())
    assert any(isinstance(layer, torch.nn.Linear) for layer in network.upper.modules())
    assert all(name.startswith(("lower.", "upper.")) for name in trainer.spreads)


def test_what_is_kept_can_be_the_mean_of_start_and_trained_weights(base: str, tmp_path: Path) -> None:
    first = CriticTrainer(settings(base, 0.5), pairs(), tmp_path / "first")
    save_critic(tmp_path / "start", first.train().trained_state(), {}, first.spreads)
    start = read_weights(tmp_path / "start" / "critic.safetensors")
    onward = replace(settings(base, 1), start=str(tmp_path / "start"))
    trained = CriticTrainer(onward, pairs(), tmp_path / "a").train().trained_state()
    mean = CriticTrainer(replace(onward, start_share=0.25), pairs(), tmp_path / "b").train().trained_state()
    for name, tensor in mean.items():
        step = float(tensor.abs().max()) / 127
        torch.testing.assert_close(tensor, start[name] * 0.25 + trained[name] * 0.75, atol=step, rtol=0)
    assert any(not torch.allclose(mean[name], trained[name], atol=1e-4) for name in mean)


def test_a_share_of_no_start_is_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"start share 0\.5: of no start"):
        CriticTrainer(replace(settings(base, 1), start_share=0.5), pairs(), tmp_path)
