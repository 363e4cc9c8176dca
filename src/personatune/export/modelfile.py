"""Ollama's Modelfile of one persona: which weights, how a prompt is written, who speaks, and how replies are drawn.

A Modelfile knows no escapes: a quoted value ends at three double quotes that end a line, and Ollama reads a control
token in a system message as one. Persona text is therefore written without either (`harmless`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from personatune.dialogue import Persona, Turn
from personatune.errors import UserError
from personatune.model.contents import broken
from personatune.model.prompts import ChatPrompt, PromptFormat, persona_instruction
from personatune.plain_text import plain_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ROLES = {"self": "assistant", "partner": "user"}


@dataclass(frozen=True)
class OllamaModel:
    """What every persona's file shares.

    Attributes:
        weights: the GGUF file's name, beside the Modelfile.
        template: in Go's template language.
        control: texts of the tokenizer's control tokens.
        context: tokens of prompt and reply together.
        stop: the text of the token that ends a reply.
        temperature, reply_tokens: as the project's own chat draws replies.
        licence: of the weights.
    """

    weights: str
    template: str
    control: tuple[str, ...]
    context: int
    stop: str
    licence: str
    temperature: float = 0.7
    reply_tokens: int = 80


def ollama_model(prompts: PromptFormat, weights: str, licence: str) -> OllamaModel:
    """Return what the Modelfiles of a model share.

    Raises:
        UserError: the model has no chat template, or one whose text Ollama would read as its own.
    """
    if not isinstance(prompts, ChatPrompt):
        raise UserError("ollama: the model has no chat template with a system message; export gguf, merged or adapter")
    tokenizer = prompts.tokenizer
    stop = str(tokenizer.convert_ids_to_tokens(prompts.stop_ids[0]))
    control = tuple(sorted(set(tokenizer.all_special_tokens), key=len, reverse=True))
    return OllamaModel(weights, go_template(tokenizer), control, prompts.max_length, stop, licence)


def go_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a chat template in Go's language: what stands around the messages of each role, for messages in turn.

    The persona is the first message; partner and persona follow in alternation, as in training.
    """
    roles = ("system", "user", "assistant", "user")
    marks = [f"\ue000{number}\ue001" for number in range(len(roles))]
    messages = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    before, after_system, after_user, after_reply, after_last = re.split("\ue000[0-9]\ue001", text)
    if bos := tokenizer.bos_token if tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id else None:
        before = before.removeprefix(bos)  # Ollama adds it itself
    if after_last != after_user or any(mark in text for mark in ("{{", "}}", '"""')):
        raise UserError("ollama: this model's chat template can't be written in Ollama's language; export gguf instead")
    return (
        f"{{{{ if not .System }}}}{before}{after_system}{{{{ end }}}}{{{{ range .Messages }}}}"
        f'{{{{ if eq .Role "system" }}}}{before}{{{{ .Content }}}}{after_system}'
        f'{{{{ else if eq .Role "user" }}}}{{{{ .Content }}}}{after_user}'
        f"{{{{ else }}}}{{{{ .Content }}}}{after_reply}{{{{ end }}}}{{{{ end }}}}"
    )


def modelfile(model: OllamaModel, persona: Persona, opening: Sequence[Turn] = ()) -> str:
    """Return the text of one persona's Modelfile.

    Args:
        opening: turns that every chat begins with: a card's example dialogues and greeting.
    """
    lines = [
        f"FROM ./{model.weights}",
        f"TEMPLATE {_quoted(model.template)}",
        f"SYSTEM {_quoted(harmless(persona_instruction(persona), model.control))}",
        *(f"MESSAGE {_ROLES[turn.speaker]} {_quoted(harmless(turn.text, model.control))}" for turn in opening),
        f"PARAMETER temperature {model.temperature:g}",
        f"PARAMETER num_ctx {model.context}",
        f"PARAMETER num_predict {model.reply_tokens}",
        "PARAMETER repeat_penalty 1",  # Ollama's own default, 1.1, makes a persona avoid its own words
        f"PARAMETER stop {_quoted(model.stop)}",
        f"LICENSE {_quoted(harmless(model.licence, ()))}",
    ]
    return "\n".join(lines) + "\n"


def harmless(text: str, control: Sequence[str]) -> str:
    """Return text that ends no quoted value and holds no control token and no template marker.

    Three or more double quotes in a row become typographic ones; a control token's text and ``{{`` and ``}}`` get a
    blank inside. What a person wrote without any of these stays as it is.
    """
    text = re.sub('"{3,}', lambda found: "”" * len(found[0]), plain_text(text).strip())
    return broken(text, (*(token for token in control if len(token) > 1), "{{", "}}"))


def _quoted(text: str) -> str:
    return f'"""{text}"""'
