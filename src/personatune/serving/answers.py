"""Answers as OpenAI's clients read them: a chat completion in one piece, or as server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from personatune.serving.desk import Ended
from personatune.serving.errors import ApiError

END_OF_STREAM = "data: [DONE]\n\n"


class Answer:
    """One chat completion's id, time and model, in every form it takes."""

    def __init__(self, model: str) -> None:
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}

    def whole(self, text: str, ended: Ended) -> dict[str, Any]:
        """Return the completion as one JSON value."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": ended.reason}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": usage(ended)}

    def chunk(self, delta: Mapping[str, Any], reason: str | None = None) -> str:
        """Return one event of the stream."""
        choice = {"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": reason}
        return event({**self._head, "object": "chat.completion.chunk", "choices": [choice]})

    def counts(self, ended: Ended) -> str:
        """Return the last event of a stream whose usage was asked for."""
        return event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage(ended)})


def usage(ended: Ended) -> dict[str, int]:
    """Return the token counts; the end token of a reply is one of its tokens."""
    total = ended.prompt_tokens + ended.tokens
    return {"prompt_tokens": ended.prompt_tokens, "completion_tokens": ended.tokens, "total_tokens": total}


def event(value: Mapping[str, Any]) -> str:
    """Return a server-sent event; JSON without line breaks is one line of data."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def error_event(error: ApiError) -> str:
    """Return an error that came after the stream had begun."""
    return event(error.body())
