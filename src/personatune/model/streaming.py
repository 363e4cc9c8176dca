"""One reply while it is generated: pieces of text, and what it took so far."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from personatune.dialogue import Context
from personatune.model.decoding import decode
from personatune.model.prompts import PromptFormat
from personatune.model.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ReplyStream:
    """Iterate over it once: pieces of text, in order. Closing the iterator stops the decoding.

    There is a piece for every token, an empty one where a character is not whole yet: between any two tokens the
    listener can stop.

    Args:
        generator: where sampling takes its random numbers from.

    Attributes:
        prompt_tokens: of persona and turns, as far as they fit.
        tokens: generated so far, the one that ends the reply included.
        finished: whether the model ended the reply itself.

    Raises:
        UserError: the persona and the last turn alone don't fit.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: PromptFormat,
        context: Context,
        sampling: Sampling,
        generator: torch.Generator,
    ) -> None:
        self._model = model
        self._prompts = prompts
        self._sampling = sampling
        self._generator = generator
        self._prompt = prompts.encode_prompt(context, sampling.max_new_tokens)
        self._said = [prompts.encode_reply(turn.text) for turn in context.history if turn.speaker == "self"]
        self.prompt_tokens = len(self._prompt)
        self.tokens = 0
        self.finished = False

    @torch.inference_mode()
    def __iter__(self) -> Iterator[str]:
        ids: list[int] = []
        shown = text = ""
        options: dict[str, Any] = {"generator": self._generator, "said": [self._said], "with_logprobs": False}
        stop_ids = self._prompts.stop_ids
        for step in decode(self._model, [self._prompt], stop_ids, self._sampling, **options):
            ids += [token for _, token, _ in step]
            self.tokens = len(ids)
            self.finished = ids[-1] in stop_ids
            text = self._prompts.decode_reply(ids)
            whole = not text.endswith(("\ufffd", "\\"))  # else half of a character or of an escape: wait for the rest
            yield text.removeprefix(shown) if whole else ""
            shown = text if whole else shown
        if text != shown:  # the rest never came
            yield text.removeprefix(shown)
