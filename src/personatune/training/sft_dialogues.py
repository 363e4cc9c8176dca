"""The dialogues of fine-tuning: encoded with the weights of their turns, and the loss on held-out ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from personatune.copying import copied_turns
from personatune.data.grounding import persona_turns
from personatune.dialogue import Perspective
from personatune.model.likelihood import dialogue_losses
from personatune.model.prompts import EncodedDialogue, PromptFormat
from personatune.settings import SFTConfig
from personatune.training.distributed import Processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def encode_dialogues(
    prompts: PromptFormat, perspectives: Sequence[Perspective], config: SFTConfig
) -> list[EncodedDialogue]:
    """Encode dialogues with the turn weights of the settings; those left without any loss token are left out."""
    return named_dialogues(prompts, perspectives, config)[1]


def named_dialogues(
    prompts: PromptFormat, perspectives: Sequence[Perspective], config: SFTConfig
) -> tuple[list[str], list[EncodedDialogue]]:
    """Return the ids of the dialogues that have a loss, and those dialogues encoded."""
    names, encoded = [], []
    for perspective in perspectives:
        dialogue = prompts.encode_dialogue(perspective, _turn_weights(perspective, config))
        if any(dialogue.loss_weights):
            names.append(perspective.id)
            encoded.append(dialogue)
    return names, encoded


def _turn_weights(perspective: Perspective, config: SFTConfig) -> list[float]:
    weights = [config.persona_turn_weight if on else config.other_turn_weight for on in persona_turns(perspective)]
    copied_weight = config.copied_turn_weight
    if copied_weight is None:
        return weights
    copied = copied_turns(perspective)
    return [copied_weight if copies else weight for weight, copies in zip(weights, copied, strict=True)]


@torch.no_grad()
def held_out_loss(
    model: PreTrainedModel, dialogues: Sequence[EncodedDialogue], pad_id: int, processes: Processes | None = None
) -> float:
    """Return the mean negative log-likelihood, nats a token, over all tokens that carry a loss."""
    model.eval()
    order = sorted(range(len(dialogues)), key=lambda index: len(dialogues[index].input_ids))
    nll = 0.0
    tokens = 0
    processes = processes or Processes()
    for start in processes.own(range(0, len(order), 4)):
        batch = [dialogues[index] for index in order[start : start + 4]]
        for sums in dialogue_losses(model, batch, pad_id):
            nll += sums.nll
            tokens += sums.tokens
    return processes.total(nll) / processes.total(tokens)


def sizes(dialogues: Sequence[EncodedDialogue]) -> tuple[list[int], int]:
    """Return the lengths of dialogues and the number of their tokens that carry a loss."""
    asked = sum(weight > 0 for dialogue in dialogues for weight in dialogue.loss_weights[1:])
    return [len(dialogue.input_ids) for dialogue in dialogues], asked
