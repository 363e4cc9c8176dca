"""Integer layers: exact sums on every way they are computed, near the float layer, blind to neighbours."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from personatune.judging import eight_bits
from personatune.judging.critic import Critic, shipped_folder
from personatune.judging.eight_bits import (
    EightBitLinear,
    InputSpreads,
    Product,
    float_product,
    in_eight_bits,
    integer_product,
)


def integers_or_skip(weight: torch.Tensor, zero_point: int) -> Product:
    try:
        return integer_product(weight, zero_point)
    except (AttributeError, RuntimeError) as error:
        pytest.skip(f"no integer product in this build of torch: {error}")


def exact(levels: torch.Tensor, weight: torch.Tensor, zero_point: int) -> torch.Tensor:
    """The sums in 64 bits, rounded to float32 once."""
    return ((levels.long() - zero_point) @ weight.long().t()).float()


@pytest.mark.parametrize("zero_point", [0, 64])
@pytest.mark.parametrize("columns", [16, 384, 1536])
def test_both_products_are_the_exact_sums_also_at_the_extremes(columns: int, zero_point: int) -> None:
    torch.manual_seed(0)
    weight = torch.randint(-127, 128, (24, columns), dtype=torch.int8)
    weight[0], weight[1] = 127, -127
    levels = torch.randint(0, 128, (9, columns), dtype=torch.uint8)
    levels[0], levels[1] = 127, 0
    expected = exact(levels, weight, zero_point)
    assert columns < 1536 or zero_point or float(expected.max()) > 2**24, "the case that one float32 sum gets wrong"
    assert torch.equal(float_product(weight, zero_point)(levels), expected)
    assert torch.equal(integers_or_skip(weight, zero_point)(levels), expected)


def test_a_critic_gives_the_same_numbers_by_integers_and_by_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    integers_or_skip(torch.ones(4, 4, dtype=torch.int8), 0)
    pairs = [
        ("i have two dogs and a cat .", "i just came back from walking my dogs ."),
        ("A man in a red shirt is climbing a rock.", "A man is asleep at home."),
        ("no .", "i work nights as a nurse in a small hospital , and i sleep when others go out ."),
    ]
    found = {}
    for way in (True, False):
        monkeypatch.setattr(eight_bits, "integers_pay", lambda way=way: way)
        found[way] = Critic(shipped_folder()).logits(pairs)
    assert torch.equal(found[True], found[False])


def test_the_result_is_near_the_float_layer_and_does_not_depend_on_a_loud_neighbour() -> None:
    torch.manual_seed(3)
    linear = nn.Linear(32, 24)
    hidden = torch.randn(2, 5, 32) * torch.tensor([1.0, 40.0])[:, None, None]
    small = EightBitLinear(linear)
    error = (small(hidden) - linear(hidden)).abs().amax(dim=(1, 2))
    assert bool((error < 0.05 * torch.tensor([1.0, 40.0])).all())
    torch.testing.assert_close(small(hidden)[:1], small(hidden[:1]))


def test_behind_a_gelu_all_steps_lie_where_its_values_are() -> None:
    torch.manual_seed(4)
    linear = nn.Linear(64, 24)
    hidden = nn.functional.gelu(torch.randn(50, 64) * 2)
    error = {
        after: float((EightBitLinear(linear, after_gelu=after)(hidden) - linear(hidden)).detach().pow(2).mean().sqrt())
        for after in (True, False)
    }
    assert error[True] < 0.7 * error[False]
    lowest = torch.linspace(-0.9, -0.6, 100)  # around the minimum of the GELU
    assert float(nn.functional.gelu(lowest).min()) >= eight_bits.GELU_LEAST


def test_a_row_of_zeros_gives_the_bias() -> None:
    linear = nn.Linear(8, 4)
    torch.testing.assert_close(EightBitLinear(linear)(torch.zeros(1, 8))[0], linear.bias.detach())


def test_spreads_find_the_large_channels_and_give_the_others_their_steps() -> None:
    torch.manual_seed(5)
    network = nn.Sequential()
    network.add_module("qkv", nn.Linear(64, 24))
    network.add_module("other", nn.Linear(24, 4))
    hidden = torch.randn(200, 64)
    hidden[:, 7] *= 8
    with InputSpreads(network, "upper", ["qkv"]) as spreads:
        expected = network(hidden)
    found = spreads.found()
    assert list(found) == ["upper.qkv"]
    assert float(found["upper.qkv"][7]) == 8
    assert float(found["upper.qkv"].sum()) == 8 + 63

    def error(spread: dict[str, torch.Tensor]) -> float:
        copy = nn.Sequential()
        for name, layer in network.named_children():
            assert isinstance(layer, nn.Linear)
            copy.add_module(name, nn.Linear(layer.in_features, layer.out_features))
        copy.load_state_dict(network.state_dict())
        return float((in_eight_bits(copy, spread, place="upper")(hidden) - expected).pow(2).mean().sqrt().detach())

    assert error(found) < 0.8 * error({})


def test_floats_take_over_where_there_is_no_integer_product(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(weight: torch.Tensor, zero_point: int) -> Product:
        raise RuntimeError("not on this CPU")

    monkeypatch.setattr(eight_bits, "integer_product", missing)
    eight_bits.integers_pay.cache_clear()
    try:
        assert not eight_bits.integers_pay()
        linear = nn.Linear(16, 4)
        hidden = torch.randn(3, 16)
        torch.testing.assert_close(EightBitLinear(linear)(hidden), linear(hidden), atol=0.05, rtol=0)
    finally:
        eight_bits.integers_pay.cache_clear()


def test_a_product_that_is_cut_off_is_found_out_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPUs without VNNI sum pairs of products in 16 bits; a build that lets them overflow must not be believed."""

    def cut_off(weight: torch.Tensor, zero_point: int) -> Product:
        right = float_product(weight, zero_point)
        return lambda levels: right(levels).clamp(max=2.0**20)

    monkeypatch.setattr(eight_bits, "integer_product", cut_off)
    eight_bits.integers_pay.cache_clear()
    try:
        assert not eight_bits.integers_pay()
    finally:
        eight_bits.integers_pay.cache_clear()
