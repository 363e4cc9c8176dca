"""Those who send what no chat front-end sends, and what they must be told."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx

from crowd.people import Tally
from crowd.server import Server

_HELLO = [{"role": "user", "content": "Hi!"}]
_PATH = "/v1/chat/completions"
_PATIENCE = 90.0  # seconds, for what the server has to end by itself
_PAUSE = 1.0


@dataclass(frozen=True)
class Wrong:
    """A request that must be refused with a status."""

    name: str
    status: int
    content: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()


def _chat(**changes: object) -> bytes:
    return json.dumps({"model": "persona-1", "messages": _HELLO, **changes}).encode()


WRONG = (
    Wrong("a body of 3 MB", 413, _chat(messages=[{"role": "user", "content": "x" * 3_000_000}])),
    Wrong("no JSON", 400, b'{"model": "persona-1", "messages": ['),
    Wrong("100,000 open brackets", 400, b"[" * 100_000),
    Wrong("no UTF-8", 400, b"\xff\xfe\x00"),
    Wrong("a text for a number", 400, _chat(temperature="hot")),
    Wrong("1,001 messages", 400, _chat(messages=_HELLO * 1001)),
    Wrong("a message of 33,000 characters", 400, _chat(messages=[{"role": "user", "content": "y" * 33_000}])),
    Wrong("a persona of 1 MB", 400, _chat(messages=[{"role": "system", "content": ". " * 15_000}] * 30 + _HELLO)),
    Wrong("a wrong key", 401, _chat(), (("Authorization", "Bearer wrong"),)),
    Wrong("somebody else's host name", 403, _chat(), (("Host", "evil.example"),)),
    Wrong("an unknown model", 404, _chat(model="gpt-4")),
    Wrong("plain text", 400, _chat(), (("Content-Type", "text/plain"),)),
)


class Strangers:
    """All of them, until a time; each has an address of its own and does one thing again and again."""

    def __init__(self, server: Server, tally: Tally, end: float, per_minute: int) -> None:
        self._server = server
        self._tally = tally
        self._end = end
        self._per_minute = per_minute
        self._addresses = (f"127.1.0.{number}" for number in itertools.count(2))

    def tasks(self) -> list[Awaitable[None]]:
        """Return what they do, to be run together with everything else."""
        acts: list[Callable[[str], Awaitable[None]]] = [
            *(lambda address, wrong=wrong: self._refused(wrong, address) for wrong in WRONG),
            self._without_length,
            self._too_long_by_its_head,
            self._slow_body,
            self._slow_head,
            self._silent,
            self._no_http,
            self._never_reads,
            self._greedy,
        ]
        return [self._again(act) for act in acts]

    async def _again(self, act: Callable[[str], Awaitable[None]]) -> None:
        address = next(self._addresses)
        while time.monotonic() < self._end:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await act(address)
            except (OSError, httpx.HTTPError, TimeoutError, AssertionError) as error:
                self._tally.errors.append(f"stranger: {type(error).__name__}: {error}")
            await asyncio.sleep(_PAUSE)

    def _told(self, name: str, found: int, expected: int) -> None:
        assert found == expected, f"{name}: told {found}, expected {expected}"
        self._tally.by_design[f"{name}: {expected}"] += 1

    def _client(self, address: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._server.url,
            transport=httpx.AsyncHTTPTransport(local_address=address),
            headers={"Authorization": f"Bearer {self._server.key}", "Content-Type": "application/json"},
            timeout=httpx.Timeout(_PATIENCE),
        )

    async def _refused(self, wrong: Wrong, address: str) -> None:
        async with self._client(address) as client:
            answered = await client.post(_PATH, content=wrong.content, headers=dict(wrong.headers))
            assert "error" in answered.json(), answered.text[:100]
            self._told(wrong.name, answered.status_code, wrong.status)

    async def _without_length(self, address: str) -> None:
        async def endless() -> AsyncIterator[bytes]:
            for _ in range(30):
                yield b"x" * 100_000

        async with self._client(address) as client:
            answered = await client.post(_PATH, content=endless())
            self._told("3 MB in chunks", answered.status_code, 413)

    async def _too_long_by_its_head(self, address: str) -> None:
        async with self._connected(address) as (reader, writer):
            writer.write(self._head(10**9) + b"{}")
            self._told("a body said to have 1 GB", _status(await reader.read(4096)), 413)

    async def _slow_body(self, address: str) -> None:
        async with self._connected(address) as (reader, writer):
            writer.write(self._head(1000))
            self._told("a letter of the body a second", await self._dribble(reader, writer, b" "), 408)

    async def _slow_head(self, address: str) -> None:
        async with self._connected(address) as (reader, writer):
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nX-Long: ")
            self._told("a letter of the head a second", await self._dribble(reader, writer, b"x"), 0)

    async def _silent(self, address: str) -> None:
        async with self._connected(address) as (reader, _):
            with suppress(ConnectionResetError):
                self._told("silence", len(await reader.read()), 0)

    async def _no_http(self, address: str) -> None:
        async with self._connected(address) as (reader, writer):
            writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
            self._told("no HTTP", _status(await reader.read()), 400)

    async def _never_reads(self, address: str) -> None:
        """Ask for a stream, read nothing of it for a while, and go."""
        async with self._connected(address) as (_, writer):
            body = _chat(stream=True)
            writer.write(self._head(len(body)) + body)
            await writer.drain()
            await asyncio.sleep(5)
            self._tally.by_design["a stream that nobody reads"] += 1

    async def _greedy(self, address: str) -> None:
        """Ask as often as it can for ten seconds: the address's own allowance, and not one more."""
        let_in, began = 0, time.monotonic()
        async with self._client(address) as client:
            while time.monotonic() - began < 10:
                answered = await client.get("/v1/models")
                if answered.status_code == 200:
                    let_in += 1
                    continue
                assert answered.status_code == 429, answered.status_code
                assert int(answered.headers["retry-after"]) >= 1
                self._tally.by_design["more requests than an address has: 429"] += 1
                await asyncio.sleep(0.05)
        allowed = self._per_minute / 4 + self._per_minute * (time.monotonic() - began) / 60 + 1
        assert let_in <= allowed, f"{let_in} requests of one address were let in, expected at most {allowed:.0f}"

    @asynccontextmanager
    async def _connected(self, address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port, local_addr=(address, 0))
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    def _head(self, length: int) -> bytes:
        host, key = f"127.0.0.1:{self._server.port}", self._server.key
        lines = [f"POST {_PATH} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {key}"]
        lines += ["Content-Type: application/json", f"Content-Length: {length}", "", ""]
        return "\r\n".join(lines).encode()

    @staticmethod
    async def _dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, letter: bytes) -> int:
        """Send a letter a second until the server has enough; return the status it told, 0 if it just left."""
        answer = asyncio.create_task(reader.read(4096))
        try:
            while not answer.done():
                writer.write(letter)
                await asyncio.wait({answer}, timeout=1)
            return _status(answer.result())
        except ConnectionResetError:
            return 0
        finally:
            answer.cancel()


def _status(answer: bytes) -> int:
    """Return the status of an answer's first line, 0 where there is none."""
    words = answer.split(b" ", 2)
    return int(words[1]) if len(words) > 2 and words[0].startswith(b"HTTP/") else 0
