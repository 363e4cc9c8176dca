"""Token losses without kept logits: cross entropy's values and gradients, whatever the chunks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from personatune.model import token_loss
from personatune.model.token_loss import token_nll


def a_case(rows: int, *, bias: bool = False) -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    head = nn.Linear(8, 50, bias=bias)
    for weight in head.parameters():
        nn.init.normal_(weight, std=3.0, generator=generator)
    hidden = torch.randn(rows, 8, generator=generator)
    return hidden.requires_grad_(), head, torch.randint(0, 50, (rows,), generator=generator)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [3, 7, 100])
def test_a_frozen_heads_losses_and_gradients_are_those_of_cross_entropy(
    monkeypatch: pytest.MonkeyPatch, chunk: int, bias: bool
) -> None:
    monkeypatch.setattr(token_loss, "_CHUNK", chunk)
    hidden, head, targets = a_case(7, bias=bias)
    head.requires_grad_(False)
    weights = torch.linspace(0.1, 2.0, 7)
    found = token_nll(hidden, head, targets)
    [gradient] = torch.autograd.grad((found * weights).sum(), hidden)
    plain = nn.functional.cross_entropy(head(hidden), targets, reduction="none")
    [expected] = torch.autograd.grad((plain * weights).sum(), hidden)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_a_head_under_training_gets_its_gradient() -> None:
    hidden, head, targets = a_case(5)
    token_nll(hidden, head, targets).sum().backward()
    assert head.weight.grad is not None
    assert float(head.weight.grad.abs().max()) > 0


def test_no_tokens_have_no_losses() -> None:
    hidden, head, targets = a_case(0)
    assert token_nll(hidden, head.requires_grad_(False), targets).shape == (0,)


def test_huge_logits_neither_overflow_nor_vanish() -> None:
    hidden, head, targets = a_case(4)
    head.requires_grad_(False)
    found = token_nll(hidden * 1e4, head, targets)
    torch.testing.assert_close(found, nn.functional.cross_entropy(head(hidden * 1e4), targets, reduction="none"))
