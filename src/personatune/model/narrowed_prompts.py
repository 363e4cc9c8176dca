"""A prompt form that shows the model less than there is: the persona of each turn is narrowed before it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from personatune.dialogue import Context, Persona, Perspective, Turn
from personatune.model.prompts import EncodedDialogue, PromptFormat, _Piece

Narrow = Callable[[Context], Context]


class NarrowedPrompts(PromptFormat):
    """Writes prompts as another form does, after each context went through ``narrow``.

    Everything that makes a reply asks the prompt form for the prompt, so a chatbot with this one narrows its turns
    whether it answers a batch, holds dialogues or streams. Whole dialogues (`encode_dialogue`) are not narrowed: they
    have no single turn.

    Args:
        by: what chooses, by name and fingerprint; printed with figures.
    """

    def __init__(self, whole: PromptFormat, narrow: Narrow, by: str) -> None:
        self.whole = whole
        self.narrow = narrow
        self.by = by
        super().__init__(whole.tokenizer, whole.max_length)

    @property
    def told(self) -> dict[str, str]:
        return {**self.whole.told, "persona_by": self.by}

    def encode_prompt(self, context: Context, reserve: int = 0) -> list[int]:
        return self.whole.encode_prompt(self.narrow(context), reserve)

    def encode_reply(self, text: str) -> list[int]:
        return self.whole.encode_reply(text)

    def encode_dialogue(self, perspective: Perspective, turn_weights: Sequence[float]) -> EncodedDialogue:
        return self.whole.encode_dialogue(perspective, turn_weights)

    def decode_reply(self, ids: Sequence[int]) -> str:
        return self.whole.decode_reply(ids)

    def _pieces(self, persona: Persona, turns: Sequence[Turn], *, reply_follows: bool) -> list[_Piece]:
        return self.whole._pieces(persona, turns, reply_follows=reply_follows)

    def _find_stop_ids(self) -> tuple[int, ...]:
        return self.whole.stop_ids
