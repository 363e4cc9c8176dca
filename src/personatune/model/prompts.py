"""Dialogue to token ids and loss mask, and back: the only place that knows how a prompt is written.

Two forms. `ChatPrompt` uses the model's own chat template with the persona in the system message.
`TaggedPrompt` is for base models without one::

    [PERSONA] a | b [DIALOGUE] x [RESPONSE] y [SEP] z [RESPONSE]

In both, text from users and data is tokenised apart from the structure and never as control tokens, and the
prompt of every reply is a prefix of the whole dialogue's sequence, so training sees what generation sees.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from personatune.dialogue import Context, Persona, Perspective, Turn
from personatune.errors import UserError
from personatune.model.contents import content_text, structure_marks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SILENCE = "…"  # said by the partner when a dialogue opens with the persona speaker


@dataclass(frozen=True, slots=True)
class EncodedDialogue:
    """One training sequence.

    Attributes:
        input_ids: T tokens.
        loss_weights: T weights; the loss of predicting token t counts ``loss_weights[t]``, 0 outside own turns.
    """

    input_ids: list[int]
    loss_weights: list[float]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of text that is tokenised on its own: structure, or what somebody said."""

    text: str
    structure: bool
    turn: int | None = None  # index of the own turn whose loss this run belongs to


class PromptFormat(ABC):
    """Renders contexts and dialogues as token ids within a length limit."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.pad_id: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._marks: tuple[str, ...] = ()  # broken in contents
        self.stop_ids = self._find_stop_ids()

    @property
    def told(self) -> dict[str, str]:
        """What is to be told with figures of replies to these prompts; nothing for a plain form."""
        return {}

    @abstractmethod
    def _pieces(self, persona: Persona, turns: Sequence[Turn], *, reply_follows: bool) -> list[_Piece]:
        """Write a dialogue as pieces; an own turn's end marker is a structure piece with that turn's index."""

    @abstractmethod
    def _find_stop_ids(self) -> tuple[int, ...]:
        """Return the token ids that end a reply."""

    def encode_prompt(self, context: Context, reserve: int = 0) -> list[int]:
        """Return the ids of a context up to where the reply begins, old turns dropped to fit.

        Args:
            reserve: tokens to leave free for the reply.

        Raises:
            UserError: the persona alone doesn't fit.
        """
        turns = _opened(context.history)
        while True:
            ids, _ = self._tokenize(self._pieces(context.persona, turns, reply_follows=True))
            if len(ids) + reserve <= self.max_length:
                return ids
            turns = self._shortened(turns, context.persona, len(ids) + reserve)

    def encode_reply(self, text: str) -> list[int]:
        """Return the ids of one reply with its end marker, as they follow a prompt."""
        return [*self._encode(text, structure=False), self.stop_ids[0]]

    def encode_dialogue(self, perspective: Perspective, turn_weights: Sequence[float]) -> EncodedDialogue:
        """Return a whole dialogue as one sequence with the loss on the persona speaker's turns only.

        Args:
            turn_weights: one weight a turn; a partner's turn has no loss whatever its weight.
        """
        opened = _opened(perspective.turns)
        weights = [0.0] * (len(opened) - len(perspective.turns)) + list(turn_weights)
        while True:
            pieces = self._pieces(perspective.persona, opened, reply_follows=False)
            ids, owners = self._tokenize(pieces)
            if len(ids) <= self.max_length:
                return EncodedDialogue(ids, [0.0 if owner is None else weights[owner] for owner in owners])
            shortened = self._shortened(opened, perspective.persona, len(ids))
            weights = weights[len(opened) - len(shortened) :]
            opened = shortened

    def decode_reply(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids, up to the first stop id."""
        kept: list[int] = []
        for token in ids:
            if token in self.stop_ids:
                break
            kept.append(token)
        return self._unescape(str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip())

    def _unescape(self, text: str) -> str:
        return text

    def _shortened(self, turns: tuple[Turn, ...], persona: Persona, length: int) -> tuple[Turn, ...]:
        """Drop the oldest exchange, keeping a partner's line in front."""
        keep = next((i for i in range(1, len(turns)) if turns[i].speaker == "partner"), None)
        if keep is None:
            raise UserError(
                f"persona of {len(persona.traits)} sentences and one turn take {length} tokens, model.max_length is "
                f"{self.max_length}; shorten the persona ({persona.traits[0][:40]!r} …) or raise model.max_length"
            )
        return turns[keep:]

    def _tokenize(self, pieces: Sequence[_Piece]) -> tuple[list[int], list[int | None]]:
        ids: list[int] = []
        owners: list[int | None] = []
        for piece in pieces:
            tokens = self._encode(piece.text, structure=piece.structure)
            ids += tokens
            owners += [piece.turn] * len(tokens)
        return ids, owners

    def _encode(self, text: str, *, structure: bool) -> list[int]:
        text = text if structure else content_text(text, self._marks)
        if not text:
            return []
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=not structure)
        return list(encoded["input_ids"])


_A_CHAT = (("system", "s"), ("user", "u"), ("assistant", "a"))


class ChatPrompt(PromptFormat):
    """The model's own chat template: persona as system message, partner as user, persona speaker as assistant."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        super().__init__(tokenizer, max_length)
        between = self._structure([*_A_CHAT, ("user", "u")], reply_follows=False)[1:]
        self._marks = structure_marks(between, tokenizer)
        before, after = self._around_a_reply()
        # Some templates (Mistral, Llama 2) write blanks around a reply. They are the reply's, as they are when a model
        # generates it: a prompt ends without them.
        self._lead = before[len(before.rstrip(" ")) :]
        self._tail = after[: len(after) - len(after.lstrip(" "))]

    def encode_reply(self, text: str) -> list[int]:
        return [*self._encode(self._lead + text + self._tail, structure=False), self.stop_ids[0]]

    def _find_stop_ids(self) -> tuple[int, ...]:
        after_reply = self._encode(self._around_a_reply()[1].lstrip(" "), structure=True)
        ends = [token for token in after_reply[:1] if token in self.tokenizer.all_special_ids]
        if self.tokenizer.eos_token_id is not None and self.tokenizer.eos_token_id not in ends:
            ends.append(self.tokenizer.eos_token_id)
        return tuple(ends)

    def _pieces(self, persona: Persona, turns: Sequence[Turn], *, reply_follows: bool) -> list[_Piece]:
        roles = [("system", persona_instruction(persona))]
        roles += [("assistant" if turn.speaker == "self" else "user", turn.text.strip()) for turn in turns]
        structure = self._structure(roles, reply_follows=reply_follows)
        pieces = [_Piece(structure[0], structure=True)]
        end = self._tail + str(self.tokenizer.convert_ids_to_tokens(self.stop_ids[0]))
        for index, (role, text) in enumerate(roles):
            after = structure[index + 1]
            if index + 1 < len(roles) and roles[index + 1][0] == "assistant":
                after = after.removesuffix(self._lead)
            if role != "assistant":
                pieces += [_Piece(text, structure=False), _Piece(after, structure=True)]
                continue
            own = index - 1
            if after.startswith(end):  # the end marker is part of the reply
                pieces.append(_Piece(self._lead + text + self._tail, structure=False, turn=own))
                pieces.append(_Piece(end.removeprefix(self._tail), structure=True, turn=own))
                after = after.removeprefix(end)
            else:
                pieces.append(_Piece(self._lead + text, structure=False, turn=own))
            pieces.append(_Piece(after, structure=True))
        return pieces

    def _around_a_reply(self) -> tuple[str, str]:
        """Return what the template writes between the partner's line and a reply, and after the reply."""
        structure = self._structure(_A_CHAT, reply_follows=False)
        return structure[2], structure[3]

    def _structure(self, roles: Sequence[tuple[str, str]], *, reply_follows: bool) -> list[str]:
        """Return the template's text before, between and after the contents of the messages.

        The template is filled with private-use marks instead of contents, so that contents can be tokenised apart.
        """
        marks = [f"\ue000{index}\ue001" for index in range(len(roles))]
        messages = [{"role": role, "content": mark} for (role, _), mark in zip(roles, marks, strict=True)]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=reply_follows)
        return re.split("\ue000[0-9]+\ue001", str(text))


class TaggedPrompt(PromptFormat):
    """Plain tags for base models without a chat template. Tags inside contents are escaped with a backslash."""

    def _find_stop_ids(self) -> tuple[int, ...]:
        if self.tokenizer.eos_token_id is None:
            raise UserError("the tokenizer has no end-of-text token, which the tagged prompt form ends a reply with")
        return (int(self.tokenizer.eos_token_id),)

    def _pieces(self, persona: Persona, turns: Sequence[Turn], *, reply_follows: bool) -> list[_Piece]:
        traits = " | ".join(escape_tags(trait) for trait in persona.traits)
        pieces = [_Piece("[PERSONA] ", structure=False), _Piece(traits, structure=False)]
        pieces.append(_Piece(" [DIALOGUE]", structure=False))
        end = str(self.tokenizer.eos_token)
        for index, turn in enumerate(turns):
            if turn.speaker == "self":
                pieces.append(_Piece(" [RESPONSE]", structure=False))
                pieces.append(_Piece(" " + escape_tags(turn.text.strip()), structure=False, turn=index))
                pieces.append(_Piece(end, structure=True, turn=index))
            else:
                separator = " [SEP] " if index else " "
                pieces.append(_Piece(separator + escape_tags(turn.text.strip()), structure=False))
        if reply_follows:
            pieces.append(_Piece(" [RESPONSE]", structure=False))
        return pieces

    def encode_reply(self, text: str) -> list[int]:
        return [*self._encode(" " + escape_tags(text), structure=False), self.stop_ids[0]]

    def _unescape(self, text: str) -> str:
        return unescape_tags(text)


def prompt_format(
    tokenizer: PreTrainedTokenizerBase, form: Literal["auto", "chat", "tagged"], max_length: int
) -> PromptFormat:
    """Return the prompt form for a tokenizer; "auto" takes its chat template if that knows system messages.

    Raises:
        UserError: "chat" was asked for and the tokenizer has no such template.
    """
    if form == "tagged":
        return TaggedPrompt(tokenizer, max_length)
    if tokenizer.chat_template and _accepts_system(tokenizer):
        return ChatPrompt(tokenizer, max_length)
    if form == "chat":
        raise UserError(
            "model.prompt_format = chat: the tokenizer has no chat template with a system message; use tagged"
        )
    return TaggedPrompt(tokenizer, max_length)


def persona_instruction(persona: Persona) -> str:
    """Return the system message that gives a persona."""
    name = f" named {' '.join(persona.name.split())}" if persona.name and persona.name.strip() else ""
    traits = "\n".join(f"- {' '.join(trait.split())}" for trait in persona.traits)
    return f"You are chatting as a person{name}. Answer briefly and stay true to who you are:\n{traits}"


_INSTRUCTION = re.compile(
    r"You are chatting as a person(?: named (.+))?\. Answer briefly and stay true to who you are:((?:\n- .+)+)"
)


def read_instruction(text: str) -> Persona | None:
    """Read a system message that `persona_instruction` wrote back; None for any other text."""
    found = _INSTRUCTION.fullmatch(text.strip())
    return Persona(tuple(line.removeprefix("- ") for line in found[2].split("\n")[1:]), found[1]) if found else None


def render_tagged(context: Context) -> str:
    """Return a context in the tagged form, as text: ``[PERSONA] a | b [DIALOGUE] x [SEP] y [RESPONSE]``."""
    traits = " | ".join(escape_tags(trait) for trait in context.persona.traits)
    turns = " [SEP] ".join(escape_tags(turn.text.strip()) for turn in context.history)
    return f"[PERSONA] {traits} [DIALOGUE] {turns} [RESPONSE]"


_TAG = re.compile(r"(?<!\\)\[(PERSONA|DIALOGUE|SEP|RESPONSE)\]")


def parse_prompt(text: str) -> Context:
    """Read a prompt in the tagged form back; turns alternate and the last one before the reply is the partner's.

    Raises:
        UserError: a tag is missing or out of order.
    """
    parts = _TAG.split(text)  # text, tag, text, tag, text …
    tags = parts[1::2]
    if (
        parts[0].strip()
        or tags[:2] != ["PERSONA", "DIALOGUE"]
        or tags[-1] != "RESPONSE"
        or set(tags[2:-1]) - {"SEP", "RESPONSE"}
    ):
        raise UserError(f"prompt {text[:60]!r}: expected [PERSONA] a | b [DIALOGUE] x [SEP] y [RESPONSE]")
    contents = [part.strip() for part in parts[2::2]]
    traits = tuple(unescape_tags(trait.strip()) for trait in re.split(r"(?<!\\)\|", contents[0]) if trait.strip())
    said = [unescape_tags(content) for content in contents[1:-1]]
    speakers = ["self" if (len(said) - index) % 2 == 0 else "partner" for index in range(len(said))]
    turns = tuple(Turn(speaker, line) for speaker, line in zip(speakers, said, strict=True) if line)
    return Context(Persona(traits), turns)


def escape_tags(text: str) -> str:
    """Escape what the tagged form gives a meaning: backslash, bracket and bar."""
    return re.sub(r"([\\\[|])", r"\\\1", text)


def unescape_tags(text: str) -> str:
    """Undo `escape_tags`."""
    return re.sub(r"\\([\\\[|])", r"\1", text)


def _opened(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Let the partner open: chat templates of several families refuse a dialogue that an assistant begins."""
    if turns and turns[0].speaker == "self":
        return (Turn("partner", _SILENCE), *turns)
    return tuple(turns)


def _accepts_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    from jinja2.exceptions import TemplateError

    probe = [{"role": "system", "content": "\ue000s\ue001"}, {"role": "user", "content": "u"}]
    try:
        text = tokenizer.apply_chat_template(probe, tokenize=False, add_generation_prompt=True)
    except TemplateError:
        return False
    return "\ue000s\ue001" in str(text)
