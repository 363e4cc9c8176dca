"""Reads a request for a chat completion; what is wrong with it is told by the name of its field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from personatune.dialogue import Turn
from personatune.plain_text import plain_text
from personatune.serving.errors import ApiError
from personatune.serving.limits import Limits

_Role = Literal["system", "developer", "user", "assistant"]
_UNSUPPORTED = (
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "prediction",
    "presence_penalty", "tools", "top_logprobs",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """What a request asks for.

    Attributes:
        model: the id of a persona.
        system: the system messages together, and ``system_field`` the name of the first; None without any.
        turns: "partner" and "self" in alternation, the partner's last.
        temperature, top_p, max_tokens: None leaves them to the server.
        seed: None draws anew every time.
    """

    model: str
    system: str | None
    system_field: str
    turns: tuple[Turn, ...]
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    stops: tuple[str, ...]
    seed: int | None
    stream: bool
    with_usage: bool


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    role: _Role
    content: str = ""

    @field_validator("content", mode="before")
    @classmethod
    def _text(cls, content: Any) -> Any:
        """Join the text parts of a content that is a list; nothing is as good as an empty text."""
        if content is None:
            return ""
        if not isinstance(content, list):
            return content
        texts = []
        for part in content:
            if not (isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)):
                raise ValueError("found a part that is no text; this model reads text only")
            texts.append(part["text"])
        return "\n".join(texts)


class _StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool = False


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    model: str
    messages: list[_Message] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: list[str] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**64)
    n: int | None = Field(default=1, ge=1, le=1)
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    response_format: dict[str, Any] | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _several(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @field_validator("response_format")
    @classmethod
    def _plain(cls, wanted: dict[str, Any] | None) -> dict[str, Any] | None:
        if wanted is not None and wanted.get("type") != "text":
            raise ValueError("replies are plain text; leave it out")
        return wanted


def read_order(body: bytes, limits: Limits) -> Order:
    """Read the body of a request.

    Fields that change nothing here (``user``, ``metadata`` and whatever a front-end adds) are ignored; those that would
    change a reply and can't be obeyed are refused.

    Raises:
        ApiError: 400 with the first wrong field.
    """
    try:
        asked = _Body.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = _field_name(first["loc"])
        raise _wrong(field, first["msg"].removeprefix("Value error, ")) from None
    for name in _UNSUPPORTED:
        if (asked.model_extra or {}).get(name):  # 0, false and [] ask for nothing
            raise _wrong(name, "not supported here; leave it out")
    if len(asked.messages) > limits.messages:
        raise _wrong("messages", f"found {len(asked.messages)}, expected at most {limits.messages}")
    system, system_field, turns = _turns(asked.messages, limits)
    tokens = asked.max_completion_tokens if asked.max_completion_tokens is not None else asked.max_tokens
    return Order(
        model=asked.model,
        system=system,
        system_field=system_field,
        turns=turns,
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_tokens=tokens,
        stops=_stops(asked.stop or [], limits),
        seed=asked.seed,
        stream=bool(asked.stream),
        with_usage=asked.stream_options is not None and asked.stream_options.include_usage,
    )


def _turns(messages: Sequence[_Message], limits: Limits) -> tuple[str | None, str, tuple[Turn, ...]]:
    """Return the system text, where it was found, and the turns; messages of one speaker in a row are one turn."""
    system: list[str] = []
    system_field = "messages"
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        field = f"messages[{number}].content"
        if len(message.content) > limits.message_characters:
            found = f"found {len(message.content):,} characters, expected at most {limits.message_characters:,}"
            raise _wrong(field, found)
        text = plain_text(message.content).strip()
        if message.role == "user" and not text:
            raise _wrong(field, "found no text, expected some")
        if not text:  # an empty system message says nothing, and a reply may have been empty
            continue
        if message.role in {"system", "developer"}:
            system_field = system_field if system else field
            system.append(text)
            continue
        speaker = "partner" if message.role == "user" else "self"
        if turns and turns[-1].speaker == speaker:
            text = f"{turns.pop().text}\n{text}"
        turns.append(Turn(speaker, text))
    if not turns or turns[-1].speaker != "partner":
        raise _wrong("messages", "the last one that says something must be the user's")
    return "\n".join(system) if system else None, system_field, tuple(turns)


def _stops(stops: Sequence[str], limits: Limits) -> tuple[str, ...]:
    if len(stops) > limits.stops:
        raise _wrong("stop", f"found {len(stops)}, expected at most {limits.stops}")
    for stop in stops:
        if not 0 < len(stop) <= limits.stop_characters:
            raise _wrong("stop", f"found one of {len(stop)} characters, expected 1 to {limits.stop_characters}")
    return tuple(dict.fromkeys(stops))


def _field_name(place: tuple[int | str, ...]) -> str | None:
    """Write ("messages", 0, "role") as "messages[0].role"; None for the body as a whole."""
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    return name or None


def _wrong(field: str | None, found: str) -> ApiError:
    return ApiError(400, f"{field or 'body'}: {found}", param=field)
