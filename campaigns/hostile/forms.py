"""The prompt forms of the families, each with a tokenizer and with a reader that parses a prompt back from its tokens.

The readers know the forms from their authors' documentation and share nothing with `personatune.model.prompts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from personatune.dialogue import Turn
from personatune.model.backbone import load_tokenizer
from personatune.model.prompts import ChatPrompt, PromptFormat, TaggedPrompt

_FIRST_SENTINEL = 0xF0000  # a control token is read back as a character of a private plane: this plus its id
MAX_LENGTH = 100_000  # nothing is cut off


class ConfusionError(AssertionError):
    """Tokens that don't read back as a prompt of their form."""


@dataclass(frozen=True)
class ReadBack:
    """What a prompt's tokens say."""

    system: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Form:
    """One way to write a prompt.

    Attributes:
        controls: ids that no text may hold.
        marks: plain words of the template, which are broken by a blank where somebody says them.
        read: parses what `rendered` gives.
        blank: a character that the tokenizer takes for a blank.
        lost: characters that its vocabulary has no token for.
    """

    name: str
    prompts: PromptFormat
    controls: frozenset[int]
    read: Callable[[str], ReadBack]
    marks: tuple[str, ...] = ()
    blank: str = " "
    unescape: Callable[[str], str] = str
    lost: str = ""

    def rendered(self, ids: Iterable[int]) -> str:
        """Return tokens as text, every control token as one character of its own."""
        parts: list[str] = []
        run: list[int] = []

        def decoded() -> str:
            tokenizer: Any = self.prompts.tokenizer
            return str(tokenizer.decode(run, clean_up_tokenization_spaces=False)) if run else ""

        for token in ids:
            if token in self.controls:
                parts += [decoded(), chr(_FIRST_SENTINEL + token)]
                run = []
            else:
                run.append(token)
        return "".join([*parts, decoded()])


_TEXT = "([^\U000f0000-\U000fffff]*)"  # whatever holds no control token


def _marked(tokenizer: Any, token: str) -> str:
    return re.escape(chr(_FIRST_SENTINEL + tokenizer.convert_tokens_to_ids(token)))


def _chat(text: str, head: str, turn: str) -> ReadBack:
    """Read ``head`` (with the system text as its group), then ``turn`` (groups: role, text) to the end."""
    begin = re.match(head, text)
    if begin is None:
        raise ConfusionError(f"no system message: {text[:200]!r}")
    place, turns = begin.end(), []
    while place < len(text):
        found = re.compile(turn).match(text, place)
        if found is None:
            raise ConfusionError(f"no turn begins at {text[place : place + 200]!r}")
        turns.append(Turn("self" if found[1] == "assistant" else "partner", found[2].strip()))
        place = found.end()
    return ReadBack(begin[1].strip(), tuple(turns))


def _around(text: str, mark: str) -> tuple[str, str]:
    if text.count(mark) != 1:
        raise ConfusionError(f"{mark} stands {text.count(mark)} times: {text[:200]!r}")
    before, _, after = text.partition(mark)
    return before, after


def _exchanges(chunks: Sequence[str], first: str, head: str, opening: str, reply: str) -> ReadBack:
    """Read (partner, reply) pairs whose parts are told apart by plain words.

    Args:
        first: what the first chunk begins with; its system text ends at ``head``.
        opening: what every other chunk begins with.
        reply: what stands before a reply; the last chunk may end there, or before it.
    """
    turns: list[Turn] = []
    system = ""
    for number, chunk in enumerate(chunks):
        text, begin = chunk.strip(), opening if number else first
        if not text.startswith(begin):
            raise ConfusionError(f"no {begin}: {text[:200]!r}")
        text = text.removeprefix(begin)
        if number == 0:
            system, text = _around(text, head) if head.strip() else text.split(head, 1)
        last = number + 1 == len(chunks)
        said, replied = (text, "") if last and reply not in text else _around(text, reply)
        turns.append(Turn("partner", said.strip()))
        if replied.strip() or not last:
            turns.append(Turn("self", replied.strip()))
    return ReadBack(system.strip(), tuple(turns))


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _tagged(text: str, end: str) -> ReadBack:
    """Read the tagged form: structure is what no backslash stands before; the traits come as lines."""
    words: list[str] = [""]
    tags: list[str] = []
    place = 0
    while place < len(text):
        if text[place] == "\\":
            words[-1] += text[place : place + 2]
            place += 2
        elif text[place] in "[|" or text[place] == end:
            tag = text[place] if text[place] != "[" else text[place : text.find("]", place) + 1]
            if not tag:
                raise ConfusionError(f"a bracket without its end: {text[place : place + 200]!r}")
            tags.append(tag)
            words.append("")
            place += len(tag)
        else:
            words[-1] += text[place]
            place += 1
    if tags[:1] != ["[PERSONA]"] or "[DIALOGUE]" not in tags or words[0].strip():
        raise ConfusionError(f"no persona and dialogue: {text[:200]!r}")
    begin = tags.index("[DIALOGUE]")
    if set(tags[1:begin]) - {"|"} or set(tags[begin + 1 :]) - {"[SEP]", "[RESPONSE]", end}:
        raise ConfusionError(f"tags {tags}")
    traits = [_unescaped(word.strip()) for word in words[1 : begin + 1]]
    turns: list[Turn] = []
    for number, word in enumerate(words[begin + 1 :], start=begin):
        if tags[number] == end:
            if word.strip() or tags[number - 1] != "[RESPONSE]":
                raise ConfusionError(f"a reply's end out of place: {text[:200]!r}")
            continue
        turns.append(Turn("self" if tags[number] == "[RESPONSE]" else "partner", _unescaped(word.strip())))
    return ReadBack("\n".join(" ".join(trait.split()) for trait in traits), tuple(turns))


CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_LLAMA3 = (
    "{{ '<|begin_of_text|>' }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_INST = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = SYSTEM %}{% else %}"
    "{% set rest = messages %}{% set system = '' %}{% endif %}FIRST{% for message in rest %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}"
    "{% endif %}{% if message['role'] == 'user' %}{{ BEGIN + (system if loop.first else '') + message['content'] + "
    "' [/INST]' }}{% else %}{{ REPLY }}{% endif %}{% endfor %}"
)
_LLAMA2 = (
    _INST.replace("SYSTEM", "'<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n'").replace("FIRST", "")
    .replace("BEGIN", "'<s>[INST] '").replace("REPLY", "' ' + message['content'] + ' </s>'")
)  # fmt: skip
_MISTRAL = (
    _INST.replace("SYSTEM", "messages[0]['content'] + '\n\n'").replace("FIRST", "{{ '<s>' }}")
    .replace("BEGIN", "'[INST] '").replace("REPLY", "' ' + message['content'] + '</s>'")
)  # fmt: skip
_ZEPHYR = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '</s>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
_VICUNA = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + ' ' }}"
    "{% elif message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}"
    "{% else %}{{ 'ASSISTANT: ' + message['content'] + '</s>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)

_LOST = "\x04\x06\x13\x14\x16\x1d"  # by SmolLM2, whose vocabulary lacks these bytes
_LINES = ("Hello there! How are you today?", "I have two dogs and a cat.", "system user assistant You are chatting as")


def _byte_level(special: Sequence[str], end: str, template: str | None, words: Sequence[str] = ()) -> Any:
    """Return a tiny byte-level BPE tokenizer, as GPT-2, Llama 3, Qwen and SmolLM2 have.

    Args:
        words: taken as one token each, and no control tokens.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(special), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator(_LINES, trainer)
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=end, pad_token=end, additional_special_tokens=list(special)
    )
    if words:
        tokenizer.add_tokens(list(words))
    tokenizer.chat_template = template
    return tokenizer


def _with_byte_fallback(special: Sequence[str], end: str, template: str | None) -> Any:
    """Return a tiny tokenizer built as Llama 2's: blanks are U+2581, a text gets one in front, bytes fall back."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = ["<unk>", *special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *letters, "▁h", "he", "▁I"]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    merges = [("▁", "h"), ("h", "e"), ("▁", "I")]
    backend = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token=end, pad_token=end,
        additional_special_tokens=list(special),
    )  # fmt: skip
    tokenizer.chat_template = template
    return tokenizer


def _chatml_form(name: str, tokenizer: Any, words: Sequence[str] = ()) -> Form:
    begin, end = (_marked(tokenizer, token) for token in ("<|im_start|>", "<|im_end|>"))
    head = f"{begin}system\n{_TEXT}{end}\n"
    turn = f"{begin}(user|assistant)\n{_TEXT}{end}\n"
    controls = frozenset([*tokenizer.all_special_ids, *(tokenizer.convert_tokens_to_ids(word) for word in words)])
    return Form(
        name, ChatPrompt(tokenizer, MAX_LENGTH), controls, lambda text: _chat(text, head, turn), tuple(words)
    )  # fmt: skip


def _tagged_form(name: str, tokenizer: Any, blank: str = " ") -> Form:
    end = chr(_FIRST_SENTINEL + tokenizer.eos_token_id)
    controls = frozenset(tokenizer.all_special_ids)
    prompts = TaggedPrompt(tokenizer, MAX_LENGTH)
    return Form(name, prompts, controls, lambda text: _tagged(text, end), (), blank, _unescaped)


def _exchange_form(
    name: str, tokenizer: Any, marks: tuple[str, ...], read: Callable[[str], ReadBack], blank: str
) -> Form:
    return Form(name, ChatPrompt(tokenizer, MAX_LENGTH), frozenset(tokenizer.all_special_ids), read, marks, blank)


def _llama3() -> Form:
    special = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    tokenizer = _byte_level(special, "<|eot_id|>", _LLAMA3)
    text, begin, close, end = (_marked(tokenizer, token) for token in special)
    head = f"{text}{begin}system{close}\n\n{_TEXT}{end}"
    turn = f"{begin}(user|assistant){close}\n\n{_TEXT}{end}"
    return _exchange_form("Llama 3", tokenizer, (), lambda given: _chat(given, head, turn), " ")


def _plain(
    name: str, make: Callable[..., Any], template: str, marks: tuple[str, ...], first: str, head: str, opening: str
) -> Form:
    """Return a form whose partner and reply are told apart by a plain word, the last of ``marks``; see `_exchanges`."""
    tokenizer = make(("<s>", "</s>"), "</s>", template)
    begin, end = (chr(_FIRST_SENTINEL + tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "</s>"))

    def read(text: str) -> ReadBack:
        chunks = [chunk for chunk in text.replace(begin, "").split(end) if chunk.strip()]
        return _exchanges(chunks, first, head, opening, marks[-1])

    return _exchange_form(name, tokenizer, marks, read, "▁" if make is _with_byte_fallback else " ")


def _zephyr() -> Form:
    tokenizer = _byte_level(("<s>", "</s>"), "</s>", _ZEPHYR)
    end = _marked(tokenizer, "</s>")
    head = rf"<\|system\|>\n{_TEXT}{end}\n"
    turn = rf"<\|(user|assistant)\|>\n{_TEXT}{end}\n"
    return _exchange_form("Zephyr", tokenizer, (), lambda text: _chat(text, head, turn), " ")


FORMS: dict[str, Callable[[], Form]] = {
    "SmolLM2": lambda: replace(_chatml_form("SmolLM2", load_tokenizer()), lost=_LOST),
    "SmolLM2, tagged": lambda: replace(_tagged_form("SmolLM2, tagged", load_tokenizer()), lost=_LOST),
    "ChatML": lambda: _chatml_form(
        "ChatML", _byte_level(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>", CHATML)
    ),
    "ChatML, words": lambda: _chatml_form(
        "ChatML, words",
        _byte_level(("<|endoftext|>", "<|im_end|>"), "<|im_end|>", CHATML, ["<|im_start|>"]),
        ["<|im_start|>"],
    ),
    "GPT-2, tagged": lambda: _tagged_form("GPT-2, tagged", _byte_level(("<|endoftext|>",), "<|endoftext|>", None)),
    "Llama 2": lambda: _plain(
        "Llama 2", _with_byte_fallback, _LLAMA2, ("<</SYS>>", "[/INST]"), "[INST] <<SYS>>", "<</SYS>>", "[INST]"
    ),
    "Llama 2, tagged": lambda: _tagged_form(
        "Llama 2, tagged", _with_byte_fallback(("<s>", "</s>"), "</s>", None), "▁"
    ),
    "Llama 3": _llama3,
    "Mistral": lambda: _plain("Mistral", _byte_level, _MISTRAL, ("[/INST]",), "[INST]", "\n\n", "[INST]"),
    "Vicuna": lambda: _plain("Vicuna", _byte_level, _VICUNA, ("USER:", "ASSISTANT:"), "", "USER:", "USER:"),
    "Zephyr": _zephyr,
}  # fmt: skip
"""How each form is made, by name. SmolLM2's tokenizer is its own; the others are tiny ones of their family's build."""
