"""The web application: ``/v1/chat/completions``, ``/v1/models``, ``/metrics`` and ``/health``."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import math
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from personatune import __version__
from personatune.dialogue import Context
from personatune.errors import UserError
from personatune.serving.answers import END_OF_STREAM, Answer, error_event
from personatune.serving.cast import Cast
from personatune.serving.counts import CONTENT_TYPE, CountedAnswers
from personatune.serving.desk import Desk, Ended, Event, Failed, Job, Piece
from personatune.serving.errors import ApiError
from personatune.serving.limits import Limits
from personatune.serving.pace import Pace
from personatune.serving.requests import Order, read_order

_log = logging.getLogger(__name__)
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:@/\s]+)(?::\d{1,5})?")
_GONE = 499  # the client went away: nobody reads the answer, its status is for the counts
_DRAINED = 16  # bodies' worth that are read and thrown away, so that the client hears why


def create_app(
    desk: Desk,
    cast: Cast,
    limits: Limits,
    *,
    api_key: str | None = None,
    hosts: Sequence[str] | None = None,
    origins: Sequence[str] = (),
) -> FastAPI:
    """Return the application; it closes the desk when it ends.

    Args:
        api_key: asked of every request but ``/health``; None asks for none.
        hosts: names the server may be called by (a page elsewhere may point a name of its own at this machine); None
            takes any.
        origins: of web pages that may call it from a browser.
    """
    app = FastAPI(
        title="personatune",
        version=__version__,
        lifespan=_closing(desk),
        dependencies=[Depends(_called_by(hosts))],
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
    )
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"])
    app.add_middleware(CountedAnswers, counts=desk.counts)
    app.add_exception_handler(ApiError, _told)
    app.add_exception_handler(HTTPException, _told)
    app.add_exception_handler(Exception, _told)
    guarded = [Depends(_paced(Pace(limits.per_minute))), Depends(_guard(api_key))]
    born = int(time.time())

    def card(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": born, "owned_by": "personatune"}

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "busy": desk.busy, "waiting": desk.waiting}

    @app.get("/metrics", dependencies=guarded)
    async def metrics() -> Response:
        return Response(desk.counts.text(waiting=desk.waiting, busy=desk.busy), media_type=CONTENT_TYPE)

    @app.get("/v1/models", dependencies=guarded)
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [card(name) for name in cast.ids]}

    @app.get("/v1/models/{name}", dependencies=guarded)
    async def model(name: str) -> dict[str, Any]:
        cast.require(name)
        return card(name)

    @app.post("/v1/chat/completions", dependencies=guarded)
    async def complete(request: Request) -> Response:
        try:
            body = await _body(request, limits)
        except ClientDisconnect:
            return Response(status_code=_GONE)
        # In another thread: a megabyte takes a tenth of a second, in which nobody's stream should stand still.
        order, context = await asyncio.to_thread(_read, body, limits, cast)
        events = _events(desk, desk.submit(context, order), request, limits.seconds)
        if order.stream:
            return await _streamed(order, events)
        pieces: list[str] = []
        async with aclosing(events):
            async for happened in events:
                if isinstance(happened, Piece):
                    pieces.append(happened.text)
                elif isinstance(happened, Ended):
                    return JSONResponse(Answer(order.model).whole("".join(pieces), happened))
        return Response(status_code=_GONE)

    return app


def _read(body: bytes, limits: Limits, cast: Cast) -> tuple[Order, Context]:
    order = read_order(body, limits)
    return order, cast.context(order)


async def _streamed(order: Order, events: AsyncGenerator[Event, None]) -> Response:
    """Return the stream once the reply has begun: what fails before that has a status of its own."""
    try:
        await anext(events)
    except StopAsyncIteration:
        return Response(status_code=_GONE)
    answer = Answer(order.model)

    async def chunks() -> AsyncIterator[str]:
        try:
            yield answer.chunk({"role": "assistant", "content": ""})
            async for happened in events:
                if isinstance(happened, Piece):
                    yield answer.chunk({"content": happened.text})
                elif isinstance(happened, Ended):
                    yield answer.chunk({}, happened.reason)
                    if order.with_usage:
                        yield answer.counts(happened)
                    yield END_OF_STREAM
        except ApiError as error:
            yield error_event(error)
        finally:
            await events.aclose()

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(chunks(), media_type="text/event-stream", headers=headers)


async def _events(desk: Desk, job: Job, request: Request, seconds: float) -> AsyncGenerator[Event, None]:
    """Yield what happens to a job until it ended or its client went away; leaving early cancels it.

    Raises:
        ApiError: it failed, or took too long.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    gone = asyncio.create_task(_disconnected(request))
    following: asyncio.Task[Event] | None = None
    try:
        while True:
            following = asyncio.create_task(job.next())
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait({following, gone}, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                if gone.done():
                    return
                raise ApiError(504, f"no reply within {seconds:g} s; ask for fewer tokens, or later", code="timeout")
            happened = following.result()
            if isinstance(happened, Failed):
                raise _reason(happened.error)
            yield happened
            if isinstance(happened, Ended):
                return
    finally:
        desk.cancel(job)
        for task in (gone, following):
            if task is not None:
                task.cancel()


async def _disconnected(request: Request) -> None:
    """Return when the client has closed its connection; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _reason(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UserError):  # persona and last line alone don't fit
        return ApiError(400, str(error), param="messages", code="context_length_exceeded")
    _log.error("a reply failed", exc_info=error)
    return ApiError(500, "the model failed; the server's log says how")


async def _body(request: Request, limits: Limits) -> bytes:
    """Read a JSON body, within its limits."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # also keeps out what a web page may send without asking (CORS)
        raise ApiError(400, f"Content-Type: found {kind or 'none'}, expected application/json")
    too_large = ApiError(413, f"the body is larger than {limits.body_bytes:,} bytes", code="request_too_large")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > _DRAINED * limits.body_bytes:
        raise too_large
    body, size, seconds = bytearray(), 0, min(limits.body_seconds, limits.seconds)
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > _DRAINED * limits.body_bytes:
                    raise too_large
                if size <= limits.body_bytes:
                    body += chunk
    except TimeoutError:
        raise ApiError(408, f"the body took longer than {seconds:g} s to arrive") from None
    if size > limits.body_bytes:
        raise too_large
    return bytes(body)


def _called_by(hosts: Sequence[str] | None) -> Any:
    async def check(request: Request) -> None:
        told = request.headers.get("host", "")
        found = _HOST.fullmatch(told.lower())
        if hosts is not None and (found is None or found[1].strip("[]") not in hosts):
            raise ApiError(403, f"Host: found {told[:80]!r}, expected a name of this machine: {hosts[0]}")

    return check


def _paced(pace: Pace) -> Any:
    async def check(request: Request) -> None:
        seconds = math.ceil(pace.wait(request.client.host if request.client else ""))
        if seconds:
            raise ApiError(
                429,
                f"too many requests from your address; try again in {seconds} s",
                code="rate_limit_exceeded",
                kind="rate_limit_error",
                headers={"Retry-After": str(seconds)},
            )

    return check


def _guard(api_key: str | None) -> Any:
    async def check(request: Request) -> None:
        if api_key is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), api_key.encode()):
            raise ApiError(
                401,
                "the API key is missing or wrong: send it as 'Authorization: Bearer KEY'",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return check


async def _told(request: Request, error: Exception) -> Response:
    """Answer with an error in OpenAI's form."""
    if isinstance(error, HTTPException):
        error = ApiError(
            error.status_code, f"{request.method} {request.url.path[:80]}: {error.detail}", headers=error.headers
        )
    known = error if isinstance(error, ApiError) else _reason(error)
    # ASCII only: a lone surrogate of the request may stand in the message
    content = json.dumps(known.body())
    return Response(content, known.status, known.headers, media_type="application/json")


def _closing(desk: Desk) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        with suppress(Exception):
            desk.close()

    return lifespan
