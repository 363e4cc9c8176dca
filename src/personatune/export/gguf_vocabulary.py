"""A byte-level BPE tokenizer as GGUF keeps it: tokens, their types, merges, special ids, chat template.

llama.cpp knows how to split text before the merges by name only (``tokenizer.ggml.pre``). A wrong name raises no error
and changes how text is tokenised, so only splits that are told apart here are written; anything else is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from personatune.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    _CONTRACTIONS + r"\p{N}{1,3}" + _REST: "llama-bpe",
    _CONTRACTIONS + r"\p{N}" + _REST: "qwen2",
}
"""The regular expressions of Llama 3 and Qwen 2, and llama.cpp's names of them."""
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5  # gguf.TokenType


@dataclass(frozen=True)
class Vocabulary:
    """What the file says of a tokenizer.

    Attributes:
        pre: llama.cpp's name of the split before the merges.
        tokens: V of them, in the order of their ids.
        types: of each: 1 normal, 3 control, 4 user-defined, 5 unused.
        merges: in order of rank, each "left right".
    """

    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]


def read_vocabulary(tokenizer: PreTrainedTokenizerBase, size: int) -> Vocabulary:
    """Return the vocabulary of a byte-level BPE tokenizer.

    Args:
        size: rows of the model's embedding; ids without a token become unused ones.

    Raises:
        UserError: the tokenizer is of another kind, or splits text in a way that has no name in llama.cpp.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _refused("has no tokenizer.json")
    whole: dict[str, Any] = json.loads(backend.to_str())
    model = whole["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise _refused(
            f"is of type {model.get('type')}" + (" with byte fallback" if model.get("byte_fallback") else "")
        )
    pre = _split_name(whole)
    if model.get("ignore_merges") and pre != "llama-bpe":
        raise _refused("takes whole words before merges")
    by_id = {number: token for token, number in tokenizer.get_vocab().items()}
    if max(by_id) >= size:
        raise UserError(f"gguf: the tokenizer has {max(by_id) + 1:,} tokens, the model's embedding {size:,} rows")
    added = {int(row["id"]): bool(row["special"]) for row in whole["added_tokens"]}
    special = set(tokenizer.all_special_ids)
    tokens: list[str] = []
    types: list[int] = []
    for number in range(size):
        token = by_id.get(number)
        tokens.append(f"[PAD{number}]" if token is None else token)
        if token is None:
            types.append(_UNUSED)
        elif number in special or added.get(number):
            types.append(_CONTROL)
        else:
            types.append(_USER_DEFINED if number in added else _NORMAL)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return Vocabulary(pre, tokens, types, merges)


def _split_name(whole: dict[str, Any]) -> str:
    """Return llama.cpp's name of a tokenizer's normaliser and pre-tokenizer."""
    normalizer = (whole.get("normalizer") or {}).get("type")
    steps = _steps(whole.get("pre_tokenizer"))
    kinds = [step["type"] for step in steps]
    last = steps[-1] if steps else {}
    name = None
    if last.get("type") == "ByteLevel" and not last.get("add_prefix_space"):
        if last.get("use_regex", True) and normalizer is None:
            if kinds == ["ByteLevel"]:
                name = "gpt-2"
            elif kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
                name = "smollm"
        elif kinds == ["Split", "ByteLevel"] and not last.get("use_regex", True):
            name = _SPLITS.get(str(steps[0].get("pattern", {}).get("Regex")))
            # llama.cpp has no NFC step for Qwen 2 either; its own converter writes the same
            name = None if normalizer not in {None, "NFC"} or (normalizer and name != "qwen2") else name
    if name is None:
        raise _refused(
            f"splits text by {' + '.join(filter(None, [normalizer, *kinds])) or 'nothing'}, as no known model"
        )
    return name


def _steps(step: dict[str, Any] | None) -> list[dict[str, Any]]:
    if step is None:
        return []
    return list(step["pretokenizers"]) if step["type"] == "Sequence" else [step]


def _refused(why: str) -> UserError:
    return UserError(
        f"gguf: the tokenizer {why}; byte-level BPE that splits as GPT-2, SmolLM, Llama 3 or Qwen 2 do can be written "
        "(--format merged takes any)"
    )
