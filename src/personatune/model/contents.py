"""What people and data say, made ready for a prompt: nothing in it is, or reads as, a prompt's own structure.

Control tokens need nothing here: contents are tokenised with them switched off (`model.prompts`). Left are the words by
which some templates part their messages without a control token: ``[/INST]`` of Llama 2, ``ASSISTANT:`` of Vicuna, or
words that a tokenizer knows as one token but not as a control token. These get a blank inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from personatune.plain_text import whole_characters

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def content_text(text: str, marks: Sequence[str]) -> str:
    """Return a content as a tokenizer takes it: half a surrogate pair is U+FFFD, ``marks`` are broken."""
    return broken(whole_characters(text), marks)


def broken(text: str, marks: Sequence[str]) -> str:
    """Put a blank behind the first character of every mark in a text.

    Args:
        marks: of two characters or more, the first no blank.
    """
    changed = True
    while changed:  # breaking one may join the halves of another
        before = text
        for mark in marks:
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        changed = text != before
    return text


def structure_marks(structure: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the words of a template that a content could forge, the longest first.

    Args:
        structure: what the template writes between the contents of a chat. A part with a control token in it can't be
            forged as a whole; one without can, and so can a word of one token that is no control token.
    """
    special = [token for token in tokenizer.all_special_tokens if token]
    whole = {part.strip() for part in structure if not any(token in part for token in special)}
    added = {token.content.strip() for token in tokenizer.added_tokens_decoder.values() if token.content not in special}
    words = whole | {word for word in added if any(word in part for part in structure)}
    return tuple(sorted((word for word in words if len(word) > 1), key=lambda word: (-len(word), word)))
