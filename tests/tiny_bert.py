"""A random BERT small enough to be trained in a test, with a tokenizer of a few words."""

from __future__ import annotations

from pathlib import Path


def save_tiny_bert(folder: Path, words: list[str], *, hidden: int = 32, layers: int = 2) -> Path:
    """Write model and tokenizer into a folder, as `transformers` reads them; return the folder."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=2 * hidden, max_position_embeddings=128,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder
