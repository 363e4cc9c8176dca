"""Rows that grow on their own hold what the library's layers compute, whatever ends, is cut off or is moved about."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from personatune.model.branches import SplitModel
from personatune.model.generation import Sampling, generate_replies
from personatune.model.lean_decoder import LeanDecoder, lean_decoder
from personatune.model.row_cache import RowCache, SharedPromptCache
from personatune.settings import BranchConfig

if TYPE_CHECKING:
    from tests.conftest import TinyModels
    from transformers import PreTrainedModel

LLAMA_LIKE = ("llama", "qwen2", "mistral")


def plain(model: PreTrainedModel, tokens: list[int]) -> Tensor:
    """Return the last hidden state of the library's own layers."""
    with torch.inference_mode():
        return model.get_decoder()(input_ids=torch.tensor([tokens]), use_cache=False).last_hidden_state[0, -1]


def lean_of(model: PreTrainedModel) -> LeanDecoder:
    lean = lean_decoder(model)
    assert lean is not None
    return lean


def with_biases(model: PreTrainedModel) -> PreTrainedModel:
    """Give every bias a value: fresh ones are zero, and one that is left out would not be seen."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.copy_(torch.linspace(-0.5, 0.5, weight.numel()))
    return model


@pytest.mark.parametrize("kind", LLAMA_LIKE)
def test_dialogues_of_any_length_hold_what_plain_passes_give(tiny: TinyModels, kind: str) -> None:
    model = with_biases(tiny.model(kind))
    rng = random.Random(3)
    rows = 9
    cache = RowCache(lean_of(model), rows)
    held: list[list[int]] = [[] for _ in range(rows)]
    for _ in range(4):
        for row in range(rows):  # a reply that is tokenised otherwise, an old turn that was dropped
            cache.lengths[row] = cut = rng.randint(0, len(held[row]))
            held[row] = held[row][:cut]
        new = [[rng.randrange(300) for _ in range(rng.choice((1, 4, 90, 200)))] for _ in range(rows)]
        held = [[*old, *tokens] for old, tokens in zip(held, new, strict=True)]
        hidden = cache.extend(new)
        for row in range(rows):
            assert torch.allclose(hidden[row], plain(model, held[row]), atol=1e-4)
        going = list(range(rows))
        while len(going) > 1:
            tokens = [rng.randrange(300) for _ in going]
            for row, token in zip(going, tokens, strict=True):
                held[row].append(token)
            hidden = cache.step(going, tokens)
            for state, row in zip(hidden, going, strict=True):
                assert torch.allclose(state, plain(model, held[row]), atol=1e-4)
            going = [row for row in going if rng.random() < 0.7]


@pytest.mark.parametrize("kind", LLAMA_LIKE)
def test_replies_share_their_prompt_and_end_when_they_will(tiny: TinyModels, kind: str) -> None:
    model = with_biases(tiny.model(kind))
    rng = random.Random(5)
    prompts = [[rng.randrange(300) for _ in range(length)] for length in (2, 31, 7)]
    cache = SharedPromptCache(lean_of(model), prompts, 3)
    for hidden, prompt in zip(cache.hidden, prompts, strict=True):
        assert torch.allclose(hidden, plain(model, prompt), atol=1e-4)
    held = [list(prompts[row // 3]) for row in range(9)]
    going = list(range(9))
    for step in range(40):  # more than there is room for at first
        tokens = [rng.randrange(300) for _ in going]
        for row, token in zip(going, tokens, strict=True):
            held[row].append(token)
        for state, row in zip(cache.step(going, tokens), going, strict=True):
            assert torch.allclose(state, plain(model, held[row]), atol=1e-4)
        going = [row for row in going if step < 30 or len(going) == 1 or rng.random() < 0.8] or going[:1]


def test_weights_that_change_are_taken_as_they_are(tiny: TinyModels) -> None:
    model = tiny.model()
    prompt = [5, 9, 40, 77]
    before = RowCache(lean_of(model), 1).extend([prompt])[0]
    with torch.no_grad():
        for layer in (model.model.layers[1].self_attn.k_proj, model.model.layers[2].mlp.down_proj, model.lm_head):
            layer.weight.mul_(1.5)
    lean = lean_of(model)
    after = RowCache(lean, 1).extend([prompt])
    assert not torch.allclose(before, after[0], atol=1e-2)
    assert torch.allclose(after[0], plain(model, prompt), atol=1e-4)
    with torch.inference_mode():
        assert torch.allclose(lean.logits(after), model.lm_head(after), atol=1e-4)


def test_the_active_branch_speaks(tiny: TinyModels) -> None:
    split = SplitModel(tiny.model(), BranchConfig(layers=2, rank=4, alpha=8))
    for seed, branch in enumerate(("policy", "other")):
        split.add_branch(branch, head=False, seed=seed)
        with torch.no_grad():
            for weight in split.parameters(branch):
                weight.normal_(std=0.3, generator=torch.Generator().manual_seed(seed))
    prompt, said = [5, 9, 40, 77], []
    for name in ("policy", "other", None, "policy"):
        with split.active(name):
            assert lean_decoder(split.backbone) is not None
            [[reply]] = generate_replies(split.backbone, [prompt], [], Sampling(6))
            with torch.no_grad():
                logits = split.backbone(input_ids=torch.tensor([[*prompt, *reply.ids]])).logits[0, 3:-1]
        logprobs = torch.log_softmax(logits, dim=-1)
        assert reply.ids == logprobs.argmax(dim=-1).tolist()
        expected = logprobs.gather(1, torch.tensor(reply.ids)[:, None]).squeeze(1)
        assert reply.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
        said.append(reply.ids)
    assert said[0] == said[3]
    assert len({tuple(ids) for ids in said}) == 3


def test_a_fused_optimisers_step_is_noticed(tiny: TinyModels) -> None:
    split = SplitModel(tiny.model(), BranchConfig(layers=2, rank=4, alpha=8))
    split.add_branch("policy", head=False, seed=0)
    optimizer = torch.optim.AdamW(split.parameters("policy"), lr=0.3, fused=True)
    prompt = [5, 9, 40, 77]
    with split.active("policy"):
        [[before]] = generate_replies(split.backbone, [prompt], [], Sampling(4))
        for _ in range(3):
            split.backbone(input_ids=torch.tensor([prompt])).logits[0, -1, 7].neg().backward()
            optimizer.step()
        [[after]] = generate_replies(split.backbone, [prompt], [], Sampling(4))
        with torch.no_grad():
            logits = split.backbone(input_ids=torch.tensor([[*prompt, *after.ids]])).logits[0, 3:-1]
    logprobs = torch.log_softmax(logits, dim=-1)
    assert after.logprobs != pytest.approx(before.logprobs, abs=1e-3)
    expected = logprobs.gather(1, torch.tensor(after.ids)[:, None]).squeeze(1)
    assert after.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_what_is_not_known_runs_on_the_librarys_layers(tiny: TinyModels) -> None:
    class Doubled(nn.Linear):
        pass

    assert lean_decoder(tiny.model("gpt2")) is None
    assert lean_decoder(tiny.model().bfloat16()) is None
    listened_to = tiny.model()
    listened_to.model.layers[1].register_forward_hook(lambda *_: None)
    assert lean_decoder(listened_to) is None
    strange = tiny.model()
    strange.model.layers[1].mlp.up_proj.__class__ = Doubled
    assert lean_decoder(strange) is None
    wrong = tiny.model()
    wrong.config.num_key_value_heads = 1  # not what the weights are: the comparison with the library must notice
    assert lean_decoder(wrong) is None
    assert lean_decoder(tiny.model()) is not None


def test_rows_longer_than_a_sliding_window_run_on_the_librarys_layers(tiny: TinyModels) -> None:
    model = tiny.model("mistral")
    model.config.sliding_window = 8
    prompt = [5, 9, 40, 77, 120, 33, 8]
    [[reply]] = generate_replies(model, [prompt], [], Sampling(6))
    slow = list(prompt)
    for _ in range(6):
        with torch.no_grad():
            slow.append(int(model(input_ids=torch.tensor([slow])).logits[0, -1].argmax()))
    assert reply.ids == slow[7:]
