"""Decoding: the model's own distribution, whatever batch a prompt is in, and replies that stream as they are called."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from personatune.model.generation import Chatbot, Sampling, generate_replies
from personatune.model.prompts import TaggedPrompt

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels
    from transformers import PreTrainedModel

PROMPTS = ([5, 9, 40, 77, 120, 33, 8], [200, 14, 7], [61, 62, 63, 64, 65], [150])


def plain_logprobs(model: PreTrainedModel, prompt: list[int], reply: list[int]) -> Tensor:
    """Log-probabilities of a reply's tokens by one plain forward pass without a cache: R × V."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *reply]])).logits[0]
    return torch.log_softmax(logits[len(prompt) - 1 : -1].float(), dim=-1)


def a_stop_that_falls_early(model: PreTrainedModel) -> int:
    """A token that ends some of the greedy replies early and others not."""
    replies = [group[0].ids for group in generate_replies(model, PROMPTS, [], Sampling(12))]
    early = next(token for token in replies[1][2:5] if any(token not in reply for reply in replies))
    assert any(early not in reply[:-1] for reply in replies)
    return early


def test_greedy_replies_are_those_of_the_librarys_own_generate(tiny: TinyModels, family: str) -> None:
    model = tiny.model(family)
    stop = a_stop_that_falls_early(model)
    groups = generate_replies(model, PROMPTS, [stop], Sampling(12))
    assert {group[0].finished for group in groups} == {True, False}
    for prompt, [reply] in zip(PROMPTS, groups, strict=True):
        theirs = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=stop,
            pad_token_id=0,
        )
        assert reply.ids == theirs[0, len(prompt) :].tolist()
        assert reply.finished == (reply.ids[-1] == stop)


def test_sampled_logprobs_are_those_of_a_plain_forward_pass(tiny: TinyModels, family: str) -> None:
    model = tiny.model(family)
    groups = generate_replies(
        model,
        PROMPTS,
        [3, 4, 5, 6],
        Sampling(10, temperature=1.0),
        replies_per_prompt=3,
        generator=torch.Generator().manual_seed(1),
    )
    for prompt, group in zip(PROMPTS, groups, strict=True):
        assert len(group) == 3
        for reply in group:
            expected = plain_logprobs(model, prompt, reply.ids).gather(1, torch.tensor(reply.ids)[:, None]).squeeze(1)
            assert reply.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    assert len({tuple(reply.ids) for reply in groups[0]}) == 3


def test_rows_that_end_leave_the_batch_without_changing_the_others(tiny: TinyModels, family: str) -> None:
    model = tiny.model(family)
    stop = a_stop_that_falls_early(model)
    together = generate_replies(model, PROMPTS, [stop], Sampling(12))
    for prompt, [reply] in zip(PROMPTS, together, strict=True):
        [[alone]] = generate_replies(model, [prompt], [stop], Sampling(12))
        assert alone.ids == reply.ids
        assert alone.logprobs == pytest.approx(reply.logprobs, abs=1e-4)


def test_a_large_batch_gives_what_small_ones_give(tiny: TinyModels) -> None:
    model = tiny.model()
    many = [list(prompt) for prompt in PROMPTS for _ in range(5)]  # 20 rows: the CPU's other way to multiply
    together = generate_replies(model, many, [], Sampling(8))
    alone = [generate_replies(model, [prompt], [], Sampling(8))[0][0] for prompt in PROMPTS]
    for row, [reply] in enumerate(together):
        assert reply.ids == alone[row // 5].ids
        assert reply.logprobs == pytest.approx(alone[row // 5].logprobs, abs=1e-4)


def chi_square(counts: Tensor, probabilities: Tensor) -> float:
    """Pearson's statistic; cells with an expectation under 5 are thrown together."""
    expected = probabilities.double() * counts.sum()
    rare = expected < 5
    observed = torch.cat([counts[~rare].double(), counts[rare].sum()[None].double()])
    wanted = torch.cat([expected[~rare], expected[rare].sum()[None]])
    kept = wanted > 1
    return float(((observed - wanted)[kept] ** 2 / wanted[kept]).sum())


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_samples_follow_the_models_distribution(tiny: TinyModels, temperature: float) -> None:
    model = tiny.model("llama", vocabulary=6, spread=0.5)
    prompt = [1, 4, 2]
    [group] = generate_replies(
        model,
        [prompt],
        [],
        Sampling(2, temperature=temperature),
        replies_per_prompt=4000,
        generator=torch.Generator().manual_seed(5),
    )
    pairs = torch.zeros(6, 6)
    for reply in group:
        pairs[reply.ids[0], reply.ids[1]] += 1
    with torch.no_grad():
        first = torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1] / temperature, dim=-1)
        after = model(input_ids=torch.tensor([[*prompt, token] for token in range(6)])).logits[:, -1]
        exact = first[:, None] * torch.softmax(after / temperature, dim=-1)
    # 35 degrees of freedom at most; a value above 66.6 comes up once in a thousand seeds.
    assert chi_square(pairs.flatten(), exact.flatten()) < 66.6
    flat = torch.full((36,), 1 / 36)
    assert chi_square(pairs.flatten(), flat) > 66.6  # and the test would see another distribution


def test_the_same_seed_draws_the_same_replies_and_another_one_others(tiny: TinyModels) -> None:
    def draw(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        groups = generate_replies(
            tiny.model(), PROMPTS, [2], Sampling(6, temperature=1.0), replies_per_prompt=2, generator=generator
        )
        return [reply.ids for group in groups for reply in group]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_the_repetition_penalty_damps_what_the_reply_already_said(tiny: TinyModels) -> None:
    model = tiny.model(seed=4)
    penalty = 3.0
    [[plain]], [[penalised]] = (
        generate_replies(model, [PROMPTS[0]], [], Sampling(12, repetition_penalty=value)) for value in (1.0, penalty)
    )
    slow: list[int] = []
    for _ in range(12):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*PROMPTS[0], *slow]])).logits[0, -1].tolist()
        for token in set(slow):
            logits[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
        slow.append(max(range(len(logits)), key=logits.__getitem__))
    assert penalised.ids == slow
    assert penalised.ids != plain.ids
    # the log-probabilities stay the model's own
    expected = plain_logprobs(model, PROMPTS[0], slow).gather(1, torch.tensor(slow)[:, None]).squeeze(1)
    assert penalised.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_one_token_is_the_least_a_reply_has_and_the_limit_the_most(tiny: TinyModels) -> None:
    model = tiny.model()
    [[first]] = generate_replies(model, [PROMPTS[0]], [], Sampling(1))
    assert (len(first.ids), first.finished) == (1, False)
    [[stopped]] = generate_replies(model, [PROMPTS[0]], [first.ids[0]], Sampling(9))
    assert (stopped.ids, stopped.finished) == (first.ids, True)


def test_a_chatbot_answers_in_order_whatever_its_batches(tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> None:
    model, prompts = tiny.model(), tiny.prompts()
    contexts = dialogues.contexts(7)
    single = [Chatbot(model, prompts, Sampling(8), batch_size=1)([context])[0] for context in contexts]
    bot = Chatbot(model, prompts, Sampling(8), batch_size=3)
    assert bot(contexts) == single
    assert bot.tokens_generated == 7 * 8
    assert bot.sample(contexts[:2], 3) == [[single[0]] * 3, [single[1]] * 3]


class _OnlySaying(nn.Module):
    """A head that leaves the model only a few tokens to choose from."""

    def __init__(self, head: Any, allowed: list[int]) -> None:
        super().__init__()
        self.head = head
        self.allowed = allowed

    def forward(self, hidden: Tensor) -> Tensor:
        logits = self.head(hidden) * 0.1
        closed = torch.full_like(logits, -math.inf)
        closed[..., self.allowed] = logits[..., self.allowed]
        return closed


@pytest.mark.parametrize("form", ["chat", "tagged"])
@pytest.mark.parametrize("alphabet", ["é€ a", "\\[|a ", "", " .,!"])
def test_a_streamed_reply_is_the_called_one(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], form: str, alphabet: str
) -> None:
    model = tiny.model(seed=3)
    tokenizer = tiny.tokenizer() if form == "chat" else tiny.tokenizer(None)
    prompts = tiny.prompts() if form == "chat" else TaggedPrompt(tokenizer, 512)
    if alphabet:  # halves of characters and of escapes
        allowed = sorted({token for sign in alphabet for token in tokenizer(sign)["input_ids"]})
        model.set_output_embeddings(_OnlySaying(model.get_output_embeddings(), allowed))
    context = dialogues.contexts(1)[0]
    for seed in range(5):
        sampling = Sampling(9, temperature=1.0)
        called = Chatbot(model, prompts, sampling, seed=seed)([context])[0]
        pieces = list(Chatbot(model, prompts, sampling, seed=seed).stream(context))
        assert "".join(pieces) == called


def test_a_stream_comes_in_pieces_before_the_reply_is_whole(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    model = tiny.model()
    steps: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda *_: steps.append(1))
    stream = Chatbot(model, tiny.prompts(), Sampling(30)).stream(dialogues.contexts(1)[0])
    next(stream)
    assert len(steps) < 30
