"""How likely a model finds text: the loss on a dialogue's own turns, for training, perplexity and ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from personatune.model.branches import pad_batch
from personatune.model.prompts import EncodedDialogue
from personatune.model.token_loss import token_nll

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class LossSums:
    """Sums over one sequence: multiply, add and divide them as needed, whatever the batching was.

    Attributes:
        weighted: weights times negative log-likelihood, in nats.
        weights: sum of the weights.
        nll: unweighted negative log-likelihood of the tokens with a weight above 0.
        tokens: their number.
    """

    weighted: Tensor
    weights: float
    nll: float
    tokens: int


def dialogue_losses(model: PreTrainedModel, batch: Sequence[EncodedDialogue], pad_id: int) -> list[LossSums]:
    """Return the loss sums of each dialogue, with gradients where they are on.

    Logits are computed on loss tokens only. No attention mask is given: the padding stands on the right, where no token
    of a causal model looks, and without a mask attention leaves out the half above the diagonal.
    """
    device = next(model.parameters()).device
    ids_B_T, _ = pad_batch([dialogue.input_ids for dialogue in batch], pad_id, device)
    weights_B_T = torch.zeros(ids_B_T.shape, device=device)
    for row, dialogue in enumerate(batch):
        weights_B_T[row, : len(dialogue.loss_weights)] = torch.tensor(dialogue.loss_weights, device=device)
    hidden_B_T_H = model.get_decoder()(input_ids=ids_B_T, use_cache=False).last_hidden_state
    asked_B_S = weights_B_T[:, 1:] > 0  # position t predicts token t + 1
    nll_N = token_nll(hidden_B_T_H[:, :-1][asked_B_S], model.get_output_embeddings(), ids_B_T[:, 1:][asked_B_S])
    counts = asked_B_S.sum(dim=1).tolist()
    weights_N = weights_B_T[:, 1:][asked_B_S]
    sums = []
    for nll, weight in zip(torch.split(nll_N, counts), torch.split(weights_N, counts), strict=True):
        total = float(nll.detach().sum())
        sums.append(LossSums((nll * weight).sum(), float(weight.sum()), total, int(nll.numel())))
    return sums


def length_buckets(lengths: Sequence[int], batch_size: int, order: Sequence[int]) -> list[list[int]]:
    """Group indices into batches of like length without losing the shuffle.

    ``order`` is the shuffled order; runs of 16 batches are sorted by length and cut, so little is padded.
    """
    batches: list[list[int]] = []
    window = batch_size * 16
    for start in range(0, len(order), window):
        run = sorted(order[start : start + window], key=lambda index: lengths[index])
        batches += [list(run[i : i + batch_size]) for i in range(0, len(run), batch_size)]
    return batches
