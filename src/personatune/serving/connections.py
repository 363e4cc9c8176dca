"""Connections that can't be held open: a time for every state of theirs, and a number of them.

uvicorn has a time limit for the rest between two requests alone, and its first byte ends that: whoever sends a head
letter by letter, or never reads an answer, would keep a connection, and a file of the process, for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from personatune.serving.errors import ApiError
from personatune.serving.limits import Limits

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_RETRY_SECONDS = 5


def guarded(limits: Limits) -> type[H11Protocol]:
    """Return the HTTP protocol for uvicorn's ``http``, with these limits.

    Over the number of connections a request is answered by 429; over twice that number nothing is.
    """

    class Guarded(_Guarded):
        pass

    Guarded.limits = limits
    return Guarded


class _Guarded(H11Protocol):
    limits: Limits
    _timer: asyncio.TimerHandle | None = None
    _head_comes = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # h11's own narrowing
        super().connection_made(transport)
        if len(self.connections) > 2 * self.limits.connections:
            transport.abort()
            return
        if len(self.connections) > self.limits.connections:
            self.app = _too_many
        self._await_head()

    def data_received(self, data: bytes) -> None:
        # Bytes while nothing is asked: the next head, or what is left of a body that was refused already.
        if not self._busy and not self._head_comes:
            self._await_head()
        super().data_received(data)
        if self._busy and self._head_comes:
            self._head_comes = False
            self._within(self.limits.request_seconds)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # begins with the next request where one was sent already
        self._head_comes = False
        rest = self.limits.idle_seconds + self.limits.head_seconds  # by then uvicorn has closed it, if it could be
        self._within(self.limits.request_seconds if self._busy else rest)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._head_comes = True
        self._within(self.limits.head_seconds)

    def _within(self, seconds: float) -> None:
        """End the connection after some time, whatever stands unsent, unless another time is given."""
        self._cancel()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _too_many(scope: Scope, receive: Receive, send: Send) -> None:
    error = ApiError(
        429,
        f"too many connections at the same time; try again in {_RETRY_SECONDS} s",
        code="rate_limit_exceeded",
        kind="rate_limit_error",
        headers={"Retry-After": str(_RETRY_SECONDS), "Connection": "close"},
    )
    await JSONResponse(error.body(), error.status, error.headers)(scope, receive, send)
