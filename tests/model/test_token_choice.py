"""The choice of a token: by the distribution, whatever the size of the vocabulary, and never one that is forbidden."""

from __future__ import annotations

import math

import pytest
import torch

from personatune.model.sampling import Sampling, Spoken, choose_tokens


@pytest.mark.parametrize("words", [5000, 4096, 4097, 70])
def test_draws_follow_the_distribution_over_a_large_vocabulary(words: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(words) * 2
    logits[::3] = -math.inf
    probabilities = torch.softmax(logits.double(), dim=-1)
    tokens, logprobs = choose_tokens(
        logits.repeat(4000, 1), [], Sampling(1, temperature=1.0), torch.Generator().manual_seed(3)
    )
    drawn = torch.tensor(tokens)
    assert not bool((drawn % 3 == 0).any())
    assert logprobs == pytest.approx(probabilities[drawn].log().tolist(), abs=1e-4)
    # Kolmogorov-Smirnov: 1.95 / sqrt(n) is passed once in a thousand seeds
    cumulated = probabilities.cumsum(0)
    counted = torch.bincount(drawn, minlength=words).double().cumsum(0) / len(drawn)
    assert float((cumulated - counted).abs().max()) < 1.95 / math.sqrt(len(drawn))
    turned = probabilities.flip(0).cumsum(0)
    assert float((turned - counted).abs().max()) > 1.95 / math.sqrt(len(drawn)), "another distribution would be seen"


def test_the_last_tokens_beyond_whole_blocks_are_drawn_too() -> None:
    logits = torch.full((50, 64 * 70 + 3), -math.inf)
    logits[:, -2] = 1.0
    tokens, logprobs = choose_tokens(logits, [], Sampling(1, temperature=1.0), torch.Generator().manual_seed(0))
    assert set(tokens) == {64 * 70 + 1}
    assert logprobs == pytest.approx([0.0] * 50, abs=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_words_in_a_row_that_were_said_are_forbidden(size: int) -> None:
    spoken = Spoken(size, [[1, 2, 3, 4], [2, 3, 5]])
    slow: list[int] = []
    for token in (9, 2, 3, 2, 3):
        said = [[1, 2, 3, 4], [2, 3, 5], slow]
        ending = slow[len(slow) - size + 1 :]
        expected = {
            words[start + size - 1]
            for words in said
            for start in range(len(words) - size + 1)
            if len(slow) >= size - 1 and words[start : start + size - 1] == ending
        }
        assert set(spoken.forbidden()) == expected
        spoken.append(token)
        slow.append(token)
    assert spoken.written == slow


def test_log_probabilities_are_the_models_own_where_the_choice_is_altered() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    own = Spoken(1)
    own.append(0)
    tokens, logprobs = choose_tokens(logits.clone(), [own], Sampling(1, no_repeat_ngram=1), None)
    assert tokens == [1]
    assert logprobs == pytest.approx([float(torch.log_softmax(logits, -1)[0, 1])])
    tokens, unasked = choose_tokens(logits.clone(), [own], Sampling(1), None, with_logprobs=False)
    assert tokens == [0]
    assert math.isnan(unasked[0])
