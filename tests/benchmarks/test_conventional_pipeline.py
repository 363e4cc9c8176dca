"""The conventional pipeline is plain, but right: losses, log-probabilities and values are those of the definition."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

    from personatune.model.prompts import EncodedDialogue

PAD = 0


@pytest.fixture
def encoded(tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path) -> list[EncodedDialogue]:
    """Sixteen dialogues as tokens, every own turn weighing the same."""
    from personatune.data.sources import DatasetLoader
    from personatune.settings import SFTConfig
    from personatune.training.sft_dialogues import encode_dialogues

    dialogues.write(tmp_path / "made.jsonl", 16)
    views = [
        view for one in DatasetLoader(str(tmp_path / "made.jsonl")).load().dialogues for view in one.perspectives()
    ]
    config = SFTConfig(other_turn_weight=1.0)
    return encode_dialogues(tiny.prompts(), views, config)[:16]


def test_its_loss_is_the_loss_of_our_trainer(tiny: TinyModels, encoded: list[EncodedDialogue]) -> None:
    from conventional.sft import loss_of
    from personatune.model.likelihood import dialogue_losses

    model = tiny.model()
    batch = [encoded[0], encoded[5], encoded[9]]
    sums = dialogue_losses(model, batch, PAD)
    ours = sum(float(row.weighted.detach()) for row in sums) / sum(row.weights for row in sums)
    assert float(loss_of(model, batch, PAD).detach()) == pytest.approx(ours, abs=1e-5)


def test_fine_tuning_changes_every_weight_and_learns(tiny: TinyModels, encoded: list[EncodedDialogue]) -> None:
    from conventional.sft import fine_tune

    model = tiny.model(spread=0.05)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    trained = fine_tune(model, encoded * 6, learning_rate=1e-2, batch_size=4, pad_id=PAD)
    assert trained.steps == 24
    assert trained.tokens == 6 * sum(len(dialogue.input_ids) for dialogue in encoded)
    assert sum(trained.losses[-4:]) < 0.8 * sum(trained.losses[:4])
    assert all(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_an_early_choice_takes_the_first_steps_of_the_same_epoch(
    tiny: TinyModels, encoded: list[EncodedDialogue]
) -> None:
    from conventional.sft import fine_tune

    def losses(first_steps: int | None) -> list[float]:
        return fine_tune(
            tiny.model(), encoded, learning_rate=1e-3, batch_size=4, pad_id=PAD, first_steps=first_steps
        ).losses

    assert losses(2) == pytest.approx(losses(None)[:2], abs=1e-6)


def test_the_reward_model_learns_to_rank(tiny: TinyModels, tmp_path: Path) -> None:
    from conventional.reward import load_scorer, score_all, train_reward

    tiny.save(tmp_path / "model", spread=0.05)
    model = load_scorer(tmp_path / "model", PAD)
    draw = random.Random(0)
    good, bad = (
        [[*(draw.randrange(5, 200) for _ in range(draw.randrange(4, 9))), ending, 2] for _ in range(24)]
        for ending in (300, 400)
    )
    train_reward(model, list(zip(good, bad, strict=True))[:16], learning_rate=3e-3, batch_size=4, epochs=20, pad_id=PAD)
    better, worse = score_all(model, good[16:], PAD), score_all(model, bad[16:], PAD)
    assert all(one > other for one, other in zip(better, worse, strict=True))


def test_padding_changes_no_score(tiny: TinyModels, tmp_path: Path) -> None:
    from conventional.reward import load_scorer, score_all

    tiny.save(tmp_path / "model")
    model = load_scorer(tmp_path / "model", PAD)
    rows = [[5, 6, 7, 2], [9, 8, 7, 6, 5, 4, 3, 2], [11, 2]]
    alone = [score_all(model, [row], PAD)[0] for row in rows]
    assert score_all(model, rows, PAD) == pytest.approx(alone, abs=1e-5)


def models(tiny: TinyModels, folder: Path) -> Any:
    from conventional.ppo import Models
    from conventional.reward import load_scorer

    tiny.save(folder / "model", spread=0.1)
    scorers = [load_scorer(folder / "model", PAD, seed) for seed in (1, 2)]
    return Models(tiny.model(spread=0.1), tiny.model(spread=0.1), *scorers)


def test_logprobs_and_values_are_those_of_each_reply_alone(tiny: TinyModels, tmp_path: Path) -> None:
    from conventional.ppo import reply_logprobs, reply_values, sample

    found = models(tiny, tmp_path)
    prompts = [[1, 40, 41, 42], [1, 50], [1, 60, 61, 62, 63, 64, 65]]
    torch.manual_seed(3)
    batch = sample(found.policy, prompts, 6, [2], PAD)
    with torch.no_grad():
        logprobs, values = reply_logprobs(found.policy, batch), reply_values(found.value, batch)
        for row, prompt in enumerate(prompts):
            reply = batch.tokens[row][batch.mask[row]].tolist()
            whole = torch.tensor([[*prompt, *reply]])
            hidden = found.value.model(input_ids=whole).last_hidden_state
            for place, token in enumerate(reply):
                seen = len(prompt) + place
                own = found.policy(input_ids=whole[:, :seen]).logits[0, -1].log_softmax(-1)[token]
                assert float(logprobs[row, place]) == pytest.approx(float(own), abs=1e-4)
                value = found.value.score(hidden[0, seen - 1])
                assert float(values[row, place]) == pytest.approx(float(value), abs=1e-4)
    assert float(logprobs[~batch.mask].abs().sum()) == 0.0


def test_ppo_trains_policy_and_value_model_and_leaves_the_others_alone(tiny: TinyModels, tmp_path: Path) -> None:
    from conventional.ppo import train_ppo
    from personatune.settings import PPOConfig

    found = models(tiny, tmp_path)
    before = {name: [w.detach().clone() for w in getattr(found, name).parameters()]
              for name in ("policy", "reference", "value", "reward")}  # fmt: skip
    config = PPOConfig(
        updates=2, prompts_per_update=2, replies_per_prompt=3, epochs=2, minibatch_size=3, max_new_tokens=5
    )
    asked: list[int] = []

    def prompts_of(update: int) -> list[list[int]]:
        asked.append(update)
        return [[1, 40 + update, 41], [1, 50]]

    run = train_ppo(
        found, prompts_of, config, policy_learning_rate=1e-3, value_learning_rate=1e-3, stop_ids=[2], pad_id=PAD
    )
    assert asked == [0, 1]
    assert run.steps == 2 * 2 * 2  # updates, epochs, minibatches of three of six replies
    assert run.prompt_tokens == 2 * 3 * (3 + 2)  # every prompt once for each of its replies
    assert run.metrics[0]["kl"] == pytest.approx(0.0, abs=1e-4)  # the policy begins as the reference
    assert abs(run.metrics[1]["kl"]) > 1e-6

    def changed(name: str) -> bool:
        now = getattr(found, name).parameters()
        return any(not torch.equal(one, other) for one, other in zip(now, before[name], strict=True))

    assert [name for name in before if changed(name)] == ["policy", "value"]
