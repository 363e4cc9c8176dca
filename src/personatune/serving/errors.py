"""What went wrong with a request, as OpenAI's clients read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """An answer that is an error.

    Args:
        status: of HTTP.
        message: one line for a person.
        param: the field of the request it is about.
        code: a word for programs.
        kind: OpenAI's ``type``; by default the request's fault below 500 and the server's from there on.
        headers: to go with it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.kind = kind or ("invalid_request_error" if status < 500 else "server_error")
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the JSON value that OpenAI's clients look for."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}
