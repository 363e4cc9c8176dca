"""What products a loaded model is made of, for counting its operations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from personatune.costs.flops import BranchWork, TransformerWork

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from personatune.model.branches import SplitModel


def transformer_work(model: PreTrainedModel) -> TransformerWork:
    """Count the matrices of a causal language model, adapters attached or not; 4-bit weights as what they stand for."""
    from transformers.pytorch_utils import Conv1D

    matrices = adapters = 0
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Linear, Conv1D)) or module is head:
            continue
        if ".lora_" in name:
            adapters += module.weight.numel()
        elif isinstance(module, nn.Linear):
            # of the map and not of the stored tensor: 4-bit weights are packed
            matrices += module.in_features * module.out_features
        else:
            matrices += module.weight.numel()
    config = model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return TransformerWork(
        layers=config.num_hidden_layers,
        matrices=matrices,
        adapters=adapters,
        head=config.vocab_size * config.hidden_size,
        attention_width=width * config.num_attention_heads,
    )


def branch_work(split: SplitModel, branch: str) -> BranchWork:
    """Count what a branch and the trunk below it multiply by, whatever other branches there are."""
    own = [(name, weight.numel()) for name, weight in split.backbone.named_parameters() if f".{branch}." in name]
    inside = () if split.last_part is None else tuple(split.last_part.named_parameters())
    return BranchWork(
        whole=replace(transformer_work(split.backbone), adapters=0),
        top_layers=split.layers[branch],
        adapters=sum(numbers for _, numbers in own),
        last_matrices=sum(weight.numel() for name, weight in inside if ".lora_" not in name and weight.dim() == 2),
        last_adapters=sum(weight.numel() for name, weight in inside if f".{branch}." in name),
    )
