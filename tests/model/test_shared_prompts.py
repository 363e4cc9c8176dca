"""Rows of a prompt and its replies: laid out token by token, and computed as if every reply stood alone."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch
from torch import Tensor

from personatune.model.branches import SplitModel
from personatune.model.shared_prompts import lay_out
from personatune.model.shared_replies import ROW_TOKENS, SharedReplies
from personatune.settings import BranchConfig
from personatune.training.rl_math import head_logprobs

if TYPE_CHECKING:
    from tests.conftest import TinyModels

CPU = torch.device("cpu")
LAYERS = 4
Items = list[tuple[list[int], list[int]]]


def some_items(seed: int, *, longest_prompt: int = 20) -> Items:
    """Draw prompts with one to five replies each, in mixed order, lengths from one token on."""
    rng = random.Random(seed)

    def tokens(count: int) -> list[int]:
        return [rng.randrange(3, 300) for _ in range(count)]

    items = [
        (prompt, tokens(rng.randint(1, 7)))
        for prompt in (tokens(rng.randint(1, longest_prompt)) for _ in range(rng.randint(1, 4)))
        for _ in range(rng.randint(1, 5))
    ]
    rng.shuffle(items)
    return items


def make(
    tiny: TinyModels, family: str, layers: int | Literal["all"], *, head: bool = False, **options: Any
) -> SplitModel:
    """Return a split model with one branch that has left its start."""
    split = SplitModel(tiny.model(family, layers=LAYERS), BranchConfig(layers=layers, rank=4, alpha=8), **options)
    split.add_branch("policy", head=head, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in split.parameters("policy"):
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return split


def alone(split: SplitModel, items: Items) -> tuple[list[Tensor], list[Tensor]]:
    """Log-probabilities of every reply's tokens, and its values, from plain forward passes of the whole model."""
    assert split.peft is not None
    logprobs, values = [], []
    with split.active("policy"):
        for prompt, reply in items:
            output = split.peft(input_ids=torch.tensor([[*prompt, *reply]]), output_hidden_states=True)
            predicting = slice(len(prompt) - 1, len(prompt) + len(reply) - 1)
            logits = output.logits[0, predicting]
            logprobs.append(torch.log_softmax(logits, -1).gather(1, torch.tensor(reply)[:, None]).squeeze(1))
            if "policy" in split.heads:
                values.append(split.scalar("policy", output.hidden_states[-1][0, predicting]))
    return logprobs, values


def fast(split: SplitModel, items: Items, batches: list[list[int]] | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """The same from shared rows over a trunk."""
    shared = SharedReplies(split, items, pad_id=0)
    logprobs, values = [torch.empty(0)] * len(items), [torch.empty(0)] * len(items)
    with split.active("policy"):
        for numbers in batches or shared.buckets():
            trunk = shared.batch(numbers)
            hidden = split.predicting(trunk)
            found, _ = head_logprobs(hidden, split.backbone.get_output_embeddings(), trunk.rows.tokens)
            for number, part in zip(numbers, found.split(list(trunk.rows.lengths)), strict=True):
                logprobs[number] = part
            if "policy" in split.heads:
                scores = split.scalar("policy", hidden).split(list(trunk.rows.lengths))
                for number, part in zip(numbers, scores, strict=True):
                    values[number] = part
    return logprobs, values


def test_a_row_reads_prompt_and_replies_behind_one_another() -> None:
    rows = lay_out([([5, 6, 7], {1: [8, 9], 0: [10]}), ([11], {2: [12, 13, 14]})], 0, CPU)
    assert rows.input_ids.tolist() == [[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 0, 0]]
    assert rows.positions.tolist() == [[0, 1, 2, 3, 4, 3], [0, 1, 2, 3, 0, 0]]
    assert rows.segments.tolist() == [[0, 0, 0, 1, 1, 2], [0, 1, 1, 1, -1, -1]]
    assert rows.lengths == (1, 2, 3)
    assert rows.tokens.tolist() == [10, 8, 9, 12, 13, 14]  # reply 0, 1, 2
    assert rows.reading.tolist() == [2, 2, 3, 6, 7, 8]  # first tokens are predicted by the prompts' last ones
    assert rows.ends.tolist() == [5, 4, 9]
    assert rows.by_reply(torch.arange(1.0, 7.0)).tolist() == [[1, 0, 0], [2, 3, 0], [4, 5, 6]]
    assert rows.reply_mask().tolist() == [[True, False, False], [True, True, False], [True, True, True]]


def test_a_token_sees_its_prompt_and_its_own_reply_up_to_itself() -> None:
    rows = lay_out([([5, 6], {0: [8, 9], 1: [10, 11]}), ([7], {2: [12]})], 0, CPU)
    seen = ["".join("x" if one else "." for one in row) for row in rows.seen[0].tolist()]
    assert seen == ["x.....", "xx....", "xxx...", "xxxx..", "xx..x.", "xx..xx"]
    assert [row[2:] for row in rows.seen[1].tolist()] == [[False] * 4] * 6  # nobody sees padding
    assert bool(rows.seen.any(dim=-1).all())  # who sees nothing would turn attention into NaN


@pytest.mark.parametrize("layers", [1, LAYERS // 2, "all"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shared_rows_give_the_log_probabilities_values_and_gradients_of_plain_forward_passes(
    tiny: TinyModels, family: str, layers: int | Literal["all"], seed: int
) -> None:
    split = make(tiny, family, layers, head=True)
    assert split.shares_prompts
    items = some_items(seed)
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(2, len(reply), generator=generator) for _, reply in items]

    def gradients(logprobs: list[Tensor], values: list[Tensor]) -> list[Tensor]:
        loss = sum(
            (one * weight[0]).sum() + (value * weight[1]).square().sum()
            for one, value, weight in zip(logprobs, values, weights, strict=True)
        )
        return list(torch.autograd.grad(loss, split.parameters("policy")))  # type: ignore[arg-type]

    mine, theirs = fast(split, items), alone(split, items)
    for found, expected in zip((*mine[0], *mine[1]), (*theirs[0], *theirs[1]), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-3)
    for found, expected in zip(gradients(*mine), gradients(*theirs), strict=True):
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_replies_can_be_asked_for_in_any_batches_and_order(tiny: TinyModels, family: str) -> None:
    split = make(tiny, family, 2)
    items = some_items(4)
    rng = random.Random(1)
    order = rng.sample(range(len(items)), len(items))
    expected, _ = fast(split, items)
    one_by_one = [[number] for number in order]
    in_threes = [order[start : start + 3] for start in range(0, len(order), 3)]  # parts of a prompt's replies
    for batches in (one_by_one, in_threes):
        found, _ = fast(split, items, batches)
        for mine, theirs in zip(found, expected, strict=True):
            assert torch.allclose(mine, theirs, atol=1e-3)


def test_rows_of_like_length_go_together_and_each_reply_goes_once(tiny: TinyModels) -> None:
    split = make(tiny, "llama", 2)
    items = [item for seed in range(8) for item in some_items(seed)]
    shared = SharedReplies(split, items, pad_id=0)
    buckets = shared.buckets(tokens=100)
    assert sorted(number for numbers in buckets for number in numbers) == list(range(len(items)))
    widths = []
    for numbers in buckets:
        rows = shared.batch(numbers).rows
        assert rows.input_ids.numel() <= 100 or len(rows.input_ids) == 1
        widths.append(rows.input_ids.shape[1])
    assert widths == sorted(widths)
    assert len(buckets) > 2
    pairs = [[number, number + 1] for number in range(0, len(items) - 1, 2)]
    together = shared.buckets(pairs, tokens=60)
    kept = [numbers[at : at + 2] for numbers in together for at in range(0, len(numbers), 2)]
    assert sorted(kept) == pairs


def test_a_prompt_is_read_once_for_its_replies(tiny: TinyModels) -> None:
    split = make(tiny, "llama", 2)
    items = [([9] * 50, [number + 3] * 4) for number in range(6)]
    assert SharedReplies(split, items, 0).tokens == 50 + 6 * 4
    plain = make(tiny, "llama", 2, share_prompts=False)
    assert SharedReplies(plain, items, 0).tokens == 6 * 54


def test_a_row_holds_no_more_replies_than_attention_can_bear(tiny: TinyModels) -> None:
    split = make(tiny, "llama", 2)
    items = [([9] * 5, [3 + number % 200] * 100) for number in range(25)]
    pieces = SharedReplies(split, items, 0).pieces
    assert [len(piece.replies) for piece in pieces] == [10, 10, 5]
    assert all(piece.tokens - 5 <= ROW_TOKENS for piece in pieces)


def test_an_architecture_that_takes_no_such_mask_reads_every_reply_behind_a_prompt_of_its_own() -> None:
    """BLOOM makes its positions from the mask of tokens, and its layers hand on more than their output."""
    from transformers import BloomConfig, BloomForCausalLM

    torch.manual_seed(0)
    config = BloomConfig(vocab_size=300, hidden_size=32, n_layer=LAYERS, n_head=4, initializer_range=0.2)
    split = SplitModel(BloomForCausalLM(config).eval(), BranchConfig(layers=2, rank=4, alpha=8))
    assert not split.shares_prompts
    assert split.notes[-1].startswith("bloom: replies to one prompt can't share its encoding")
    split.add_branch("policy", head=False, seed=1)
    items = some_items(3)
    assert all(len(piece.replies) == 1 for piece in SharedReplies(split, items, 0).pieces)
    for found, expected in zip(fast(split, items)[0], alone(split, items)[0], strict=True):
        assert torch.allclose(found, expected, atol=1e-3)


def test_windows_shorter_than_a_prompt_with_its_reply_are_honoured(tiny: TinyModels) -> None:
    model = tiny.model("mistral", layers=LAYERS)
    model.config.sliding_window = 12
    split = SplitModel(model, BranchConfig(layers=2, rank=4, alpha=8))
    split.add_branch("policy", head=False, seed=1)
    short = [([5, 6, 7], [8, 9]), ([5, 6, 7], [10])]
    assert len(SharedReplies(split, short, 0).pieces) == 1
    items = [*short, ([7] * 10, [8, 9, 10]), ([5] * 20, [30])]
    assert len(SharedReplies(split, items, 0).pieces) == 4
    for found, expected in zip(fast(split, items)[0], alone(split, items)[0], strict=True):
        assert torch.allclose(found, expected, atol=1e-3)


def test_a_model_that_shares_prompts_has_nothing_to_say(tiny: TinyModels, family: str) -> None:
    assert make(tiny, family, 2).notes == []


def test_the_last_layer_computes_the_places_that_are_read_alone(tiny: TinyModels, family: str) -> None:
    split = make(tiny, family, 2)
    computed: list[int] = []
    last = split.backbone.get_decoder().get_submodule({"gpt2": "h.3"}.get(family, "layers.3"))
    norm = {"gpt2": "ln_2"}.get(family, "post_attention_layernorm")
    first = next(last.mlp.children())
    hooks = [
        first.register_forward_pre_hook(lambda _module, inputs: computed.append(inputs[0].numel() // 32)),
        last.get_submodule(norm).register_forward_pre_hook(lambda _m, inputs: computed.append(inputs[0].numel() // 32)),
    ]
    trunk = SharedReplies(split, [([5] * 9, [6, 7, 8]), ([5] * 9, [6, 9])], 0).batch([0, 1])
    with torch.no_grad(), split.active("policy"):
        split.predicting(trunk)
    for hook in hooks:
        hook.remove()
    assert computed == [14, 4]  # places that predict: the prompt's last, two of the first reply, one of the other
