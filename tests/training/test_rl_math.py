"""The mathematics of PPO and reward modelling against slow plain loops in float64, over ragged masks."""

from __future__ import annotations

import math
import random
import statistics

import pytest
import torch
from torch import Tensor, nn

from personatune.training.rl_math import (
    AdaptiveKL,
    bradley_terry_loss,
    compute_rewards,
    explained_variance,
    gae,
    head_logprobs,
    masked_mean,
    policy_loss,
    value_loss,
    whiten,
)

SEEDS = range(8)
Rows = list[list[float]]


class Ragged:
    """Random replies of different lengths; what lies outside the mask is noise that must not count."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lengths = [self.rng.randint(1, 7) for _ in range(self.rng.randint(1, 6))]
        self.width = max(self.lengths) + self.rng.randint(0, 2)
        self.mask = torch.tensor([[t < length for t in range(self.width)] for length in self.lengths])

    def values(self, spread: float = 1.0) -> tuple[Tensor, Rows]:
        """Return the values as a padded float32 tensor and, by row, as the ragged float64 lists they stand for."""
        rows = [[self.rng.gauss(0, spread) for _ in range(self.width)] for _ in self.lengths]
        tensor = torch.tensor(rows)
        kept = [[float(tensor[i, t]) for t in range(length)] for i, length in enumerate(self.lengths)]
        return tensor, kept


def flat(rows: Rows) -> list[float]:
    return [value for row in rows for value in row]


def assert_rows(found: Tensor, expected: Rows, outside: float | None = 0.0) -> None:
    for row, (values, wanted) in enumerate(zip(found.tolist(), expected, strict=True)):
        assert values[: len(wanted)] == pytest.approx(wanted, rel=1e-4, abs=1e-5), f"row {row}"
        if outside is not None:
            assert all(value == outside for value in values[len(wanted) :])


@pytest.mark.parametrize("seed", SEEDS)
def test_masked_mean(seed: int) -> None:
    ragged = Ragged(seed)
    tensor, rows = ragged.values()
    assert float(masked_mean(tensor, ragged.mask)) == pytest.approx(statistics.fmean(flat(rows)), abs=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_masked_mean_doesnt_depend_on_micro_batches_when_they_are_weighted_by_tokens(seed: int) -> None:
    ragged = Ragged(seed)
    tensor, _ = ragged.values()
    total = tokens = 0.0
    for row in range(len(ragged.lengths)):
        count = float(ragged.mask[row].sum())
        total += float(masked_mean(tensor[row : row + 1], ragged.mask[row : row + 1])) * count
        tokens += count
    assert total / tokens == pytest.approx(float(masked_mean(tensor, ragged.mask)), abs=1e-5)


def test_a_masked_mean_over_nothing_is_zero() -> None:
    assert float(masked_mean(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool))) == 0.0


@pytest.mark.parametrize("seed", SEEDS)
def test_whitening(seed: int) -> None:
    ragged = Ragged(seed)
    tensor, rows = ragged.values(3.0)
    mean = statistics.fmean(flat(rows))
    spread = math.sqrt(statistics.pvariance(flat(rows)) + 1e-8)
    assert_rows(whiten(tensor, ragged.mask), [[(value - mean) / spread for value in row] for row in rows])


def test_whitened_values_have_mean_0_and_variance_1_over_the_mask() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    white = whiten(torch.tensor([[1.0, 5.0, 2.0], [9.0, 77.0, 77.0]]), mask)[mask]
    assert float(white.mean()) == pytest.approx(0, abs=1e-6)
    assert float(white.var(unbiased=False)) == pytest.approx(1, abs=1e-5)


def test_whitening_equal_values_gives_zeros() -> None:
    assert whiten(torch.full((2, 3), 4.0), torch.ones(2, 3)).abs().max() == 0


def head_of(vocabulary: int, width: int, seed: int) -> nn.Linear:
    """A head whose logits differ by a few."""
    head = nn.Linear(width, vocabulary)
    with torch.no_grad():
        head.weight.copy_(torch.randn(vocabulary, width, generator=torch.Generator().manual_seed(seed)))
    return head


@pytest.mark.parametrize("seed", SEEDS)
def test_log_probabilities_and_entropy(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden, head = torch.randn(12, 6, generator=generator), head_of(9, 6, seed)
    tokens = torch.randint(0, 9, (12,), generator=generator)
    found, entropies = (figure.detach() for figure in head_logprobs(hidden, head, tokens))
    logits = head(hidden).detach()
    for t in range(12):
        row = [float(value) for value in logits[t]]
        normaliser = math.log(math.fsum(math.exp(value) for value in row))
        assert float(found[t]) == pytest.approx(row[int(tokens[t])] - normaliser, abs=1e-5)
        entropy = -math.fsum(math.exp(value - normaliser) * (value - normaliser) for value in row)
        assert float(entropies[t]) == pytest.approx(entropy, abs=1e-5)


@pytest.mark.parametrize("tokens", [1, 127, 128, 300])  # around the number of tokens whose logits exist at once
def test_gradients_of_log_probabilities_are_those_of_a_plain_log_softmax(tokens: int) -> None:
    head = head_of(40, 6, seed=3).double().requires_grad_(False)
    generator = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(tokens, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    chosen = torch.randint(0, 40, (tokens,), generator=generator)
    weights = torch.randn(tokens, generator=generator)
    found, entropies = head_logprobs(hidden, head, chosen)
    plain = torch.log_softmax(head(hidden), dim=-1).gather(1, chosen[:, None]).squeeze(1)
    assert torch.allclose(found.double(), plain, atol=1e-5)
    assert not entropies.requires_grad
    [fast] = torch.autograd.grad((found.exp() * weights).sum(), hidden)
    [slow] = torch.autograd.grad((plain.exp() * weights.double()).sum(), hidden)
    assert torch.allclose(fast, slow, atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 50.0, 1e4])
def test_entropy_lies_between_nothing_and_that_of_a_fair_draw(scale: float) -> None:
    hidden = torch.randn(200, 8, generator=torch.Generator().manual_seed(1)) * scale
    _, entropy = head_logprobs(hidden, head_of(17, 8, seed=1), torch.zeros(200, dtype=torch.long))
    assert float(entropy.detach().min()) >= 0.0
    assert float(entropy.detach().max()) <= math.log(17) + 1e-5
    assert bool(entropy.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_probabilities_are_taken_in_float32(dtype: torch.dtype) -> None:
    hidden = torch.randn(4, 8, generator=torch.Generator().manual_seed(2)).to(dtype)
    head = head_of(30, 8, seed=2).to(dtype)
    found, _ = head_logprobs(hidden, head, torch.arange(4))
    assert found.dtype == torch.float32
    expected = torch.log_softmax(head(hidden).double(), -1)[range(4), range(4)].float()
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_rewards_are_the_kl_penalty_on_every_token_and_the_score_on_the_last(seed: int) -> None:
    ragged = Ragged(seed)
    (logprobs, own), (ref_logprobs, reference) = ragged.values(), ragged.values()
    scores = [ragged.rng.gauss(0, 1) for _ in ragged.lengths]
    expected = [[-0.3 * (p - q) for p, q in zip(*pair, strict=True)] for pair in zip(own, reference, strict=True)]
    for row, score in zip(expected, scores, strict=True):
        row[-1] += score
    before = logprobs.clone()
    assert_rows(compute_rewards(torch.tensor(scores), logprobs, ref_logprobs, ragged.mask, 0.3), expected)
    assert torch.equal(logprobs, before)


def test_where_the_policy_is_the_reference_the_score_is_the_whole_reward() -> None:
    logprobs = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    rewards = compute_rewards(torch.tensor([0.5, -2.0]), logprobs, logprobs, mask, 0.1)
    assert rewards.tolist() == [[0.0, 0.0, 0.5], [-2.0, 0.0, 0.0]]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("gamma", "gae_lambda"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (0.97, 0.0)])
def test_advantages_are_the_discounted_sum_of_temporal_differences(seed: int, gamma: float, gae_lambda: float) -> None:
    ragged = Ragged(seed)
    (rewards, reward_rows), (values, value_rows) = ragged.values(), ragged.values()
    expected, targets = [], []
    for reward, value in zip(reward_rows, value_rows, strict=True):
        length = len(reward)
        differences = [reward[t] + gamma * (value[t + 1] if t + 1 < length else 0.0) - value[t] for t in range(length)]
        row = [
            math.fsum((gamma * gae_lambda) ** step * differences[t + step] for step in range(length - t))
            for t in range(length)
        ]
        expected.append(row)
        targets.append([advantage + v for advantage, v in zip(row, value, strict=True)])
    advantages, returns = gae(rewards, values, ragged.mask, gamma=gamma, gae_lambda=gae_lambda)
    assert_rows(advantages, expected)
    assert_rows(returns, targets)


def test_with_lambda_1_returns_are_the_sums_of_what_is_still_to_come() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0], [3.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    _, returns = gae(rewards, torch.randn(2, 3), mask, gamma=1.0, gae_lambda=1.0)
    assert torch.allclose(returns, torch.tensor([[7.0, 6.0, 4.0], [3.0, 0.0, 0.0]]), atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_policy_loss_is_the_clipped_surrogate(seed: int) -> None:
    ragged = Ragged(seed)
    (old, old_rows), (step, step_rows) = ragged.values(), ragged.values(0.4)
    advantages, advantage_rows = ragged.values()
    losses, held, ratios = [], [], []
    for logprob_step, advantage in zip(flat(step_rows), flat(advantage_rows), strict=True):
        ratio = math.exp(logprob_step)
        clipped = min(max(ratio, 0.8), 1.2)
        losses.append(-min(ratio * advantage, clipped * advantage))
        held.append(clipped * advantage < ratio * advantage)
        ratios.append(ratio)
    found = policy_loss(old + step, old, advantages, ragged.mask, 0.2)
    assert float(found.loss) == pytest.approx(statistics.fmean(losses), abs=1e-4)
    assert found.clip_fraction == pytest.approx(statistics.fmean(held), abs=1e-5)
    assert found.ratio_mean == pytest.approx(statistics.fmean(ratios), abs=1e-4)
    assert flat(old_rows)  # the masks are never empty


def test_at_the_first_step_the_ratio_is_1_and_the_gradient_that_of_the_policy_gradient() -> None:
    old = torch.tensor([[-1.0, -2.0], [-0.5, -9.0]])
    mask = torch.tensor([[True, True], [True, False]])
    advantages = torch.tensor([[0.7, -1.1], [0.4, 5.0]])
    logprobs = old.clone().requires_grad_(True)
    found = policy_loss(logprobs, old, advantages, mask, 0.2)
    (gradient,) = torch.autograd.grad(found.loss, logprobs)
    assert (found.ratio_mean, found.clip_fraction) == (1.0, 0.0)
    assert torch.allclose(gradient, -advantages * mask / 3)


@pytest.mark.parametrize(
    ("advantage", "step", "moves"),
    [(1.0, 0.5, False), (1.0, -0.5, True), (-1.0, -0.5, False), (-1.0, 0.5, True)],
)
def test_beyond_the_clip_only_steps_back_have_a_gradient(advantage: float, step: float, moves: bool) -> None:
    logprobs = torch.tensor([[-1.0 + step]], requires_grad=True)
    found = policy_loss(logprobs, torch.tensor([[-1.0]]), torch.tensor([[advantage]]), torch.ones(1, 1), 0.2)
    (gradient,) = torch.autograd.grad(found.loss, logprobs)
    assert bool(gradient.abs().sum() > 0) == moves
    assert found.clip_fraction == float(not moves)


def test_what_lies_outside_the_mask_has_no_gradient_however_large() -> None:
    mask = torch.tensor([[True, False]])
    logprobs = torch.tensor([[-1.0, 500.0]], requires_grad=True)
    found = policy_loss(logprobs, torch.tensor([[-1.0, -500.0]]), torch.ones(1, 2), mask, 0.2)
    (gradient,) = torch.autograd.grad(found.loss, logprobs)
    assert bool(gradient.isfinite().all())
    assert gradient[0, 1] == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_value_loss_is_half_the_clipped_square(seed: int) -> None:
    ragged = Ragged(seed)
    (old, old_rows), (values, value_rows), (returns, return_rows) = ragged.values(), ragged.values(), ragged.values()
    squares = []
    for before, now, target in zip(flat(old_rows), flat(value_rows), flat(return_rows), strict=True):
        held = min(max(now, before - 0.3), before + 0.3)
        squares.append(max((now - target) ** 2, (held - target) ** 2))
    found = value_loss(values, old, returns, ragged.mask, 0.3)
    assert float(found) == pytest.approx(0.5 * statistics.fmean(squares), rel=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_explained_variance(seed: int) -> None:
    ragged = Ragged(seed + 100)
    (values, value_rows), (returns, return_rows) = ragged.values(), ragged.values()
    targets = flat(return_rows)
    errors = [target - value for target, value in zip(targets, flat(value_rows), strict=True)]
    whole = statistics.pvariance(targets)
    expected = 1 - statistics.pvariance(errors) / whole if whole > 0 else 0.0
    assert explained_variance(values, returns, ragged.mask) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_perfect_critic_explains_everything_and_a_constant_one_nothing() -> None:
    returns = torch.tensor([[1.0, 2.0, 5.0]])
    mask = torch.ones(1, 3)
    assert explained_variance(returns + 3.0, returns, mask) == pytest.approx(1.0)
    assert explained_variance(torch.full((1, 3), 2.0), returns, mask) == pytest.approx(0.0)
    assert explained_variance(-returns, returns, mask) == pytest.approx(-3.0)
    assert explained_variance(returns, torch.ones(1, 3), mask) == 0.0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bradley_terry_loss(seed: int) -> None:
    rng = random.Random(seed)
    chosen, rejected = ([rng.gauss(0, 3) for _ in range(5)] for _ in range(2))
    expected = statistics.fmean(math.log1p(math.exp(bad - good)) for good, bad in zip(chosen, rejected, strict=True))
    assert float(bradley_terry_loss(torch.tensor(chosen), torch.tensor(rejected))) == pytest.approx(expected, rel=1e-4)


def test_the_bradley_terry_loss_of_equal_scores_is_log_2_and_stays_finite_far_out() -> None:
    assert float(bradley_terry_loss(torch.zeros(3), torch.zeros(3))) == pytest.approx(math.log(2))
    assert float(bradley_terry_loss(torch.tensor([-1e4]), torch.tensor([1e4]))) == pytest.approx(2e4)
    assert float(bradley_terry_loss(torch.tensor([1e4]), torch.tensor([-1e4]))) == 0.0


@pytest.mark.parametrize(
    ("kl", "replies", "factor"),
    [(2.0, 16, 1.0), (2.2, 20, 1 + 0.1 * 20 / 200), (50.0, 20, 1 + 0.2 * 20 / 200), (0.0, 100, 1 - 0.2 * 100 / 200)],
)
def test_the_kl_weight_moves_towards_the_target_by_at_most_a_fifth_of_the_horizon(
    kl: float, replies: int, factor: float
) -> None:
    controller = AdaptiveKL(coef=0.05, target=2.0, horizon=200)
    controller.update(kl, replies)
    assert controller.coef == pytest.approx(0.05 * factor)


def test_a_policy_that_drifts_is_held_ever_tighter_and_one_that_stays_is_let_go() -> None:
    tight, loose = AdaptiveKL(0.1, 2.0, 200), AdaptiveKL(0.1, 2.0, 200)
    for _ in range(100):
        tight.update(6.0, 16)
        loose.update(0.1, 16)
    assert tight.coef > 0.4
    assert 0 < loose.coef < 0.025
