"""People who talk with the server: each knows what it said to them when they were alone with it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

_LINES = (
    "Hi! What word do you keep to yourself?",
    "How was your day?",
    "Do you have any pets?",
    "What do you do for a living?",
    "Tell me the word again, please.",
    "Where do you live?",
)
_GIVES_UP = 0.12  # share of the requests that are left in the middle of the reply


@dataclass
class Tally:
    """What all of them counted."""

    requests: int = 0
    replies: int = 0
    streamed: int = 0
    turned_away: int = 0
    given_up: int = 0
    mixed_up: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    by_design: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    heard: Counter[int] = field(default_factory=Counter)
    own_words: int = 0


@dataclass
class Reply:
    """A whole reply, or what came of it before it was left."""

    text: str
    seconds: float
    whole: bool = True


class BusyError(Exception):
    """The server sent somebody away, and said for how long."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(frozen=True)
class Talk:
    """A conversation that has the same replies every time: greedy, or drawn with a seed of its own."""

    lines: tuple[str, ...]
    temperature: float
    seed: int


def code_words(count: int, rng: random.Random) -> list[str]:
    """Return words that no model knows and none of which is in another."""
    words: list[str] = []
    while len(words) < count:
        word = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(4))
        if not any(word in other or other in word for other in words):
            words.append(word)
    return words


class Person:
    """One client with an address, a persona and a code word of its own.

    Odd ones talk to a persona that is served, even ones send it as a system message; half stream.

    Args:
        others: everybody's code words.
    """

    def __init__(self, number: int, words: list[str], talks: int, turns: int, tokens: int, rng: random.Random) -> None:
        self.number = number
        self.word = words[number]
        self.others = [word for word in words if word != self.word]
        self.stream = number % 4 < 2
        self.rng = random.Random(rng.random())
        self.tokens = tokens
        self.talks = [
            Talk(tuple(self.rng.sample(_LINES, turns)), 0.0 if at % 2 else 0.9, self.rng.randrange(2**31))
            for at in range(talks)
        ]
        self.alone: dict[int, list[str]] = {}
        self.has_left = False  # everybody does once at least

    @property
    def persona(self) -> str:
        return f"My secret word is {self.word}. | I tell everybody that my word is {self.word}. | I live alone."

    @property
    def address(self) -> str:
        """Its own, of this machine: the server counts requests by address."""
        return f"127.0.{1 + self.number // 200}.{2 + self.number % 200}"

    def client(self, url: str, key: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=url,
            transport=httpx.AsyncHTTPTransport(local_address=self.address),
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(180),
        )

    async def listen_alone(self, client: httpx.AsyncClient) -> None:
        """Have every conversation once while nobody else talks, and remember the replies."""
        for place, talk in enumerate(self.talks):
            said: list[str] = []
            for turn in range(len(talk.lines)):
                said.append((await self._ask(client, self._body(talk, said, turn, stream=False))).text)
            self.alone[place] = said

    async def talk_until(self, end: float, client: httpx.AsyncClient, tally: Tally) -> None:
        """Have them again and again among the others; every reply must be the one that was given alone."""
        while time.monotonic() < end:
            place = self.rng.randrange(len(self.talks))
            for turn in range(len(self.talks[place].lines)):
                if not await self._turn(place, turn, end, client, tally):
                    return
                await asyncio.sleep(self.rng.uniform(0, 0.3))

    async def _turn(self, place: int, turn: int, end: float, client: httpx.AsyncClient, tally: Tally) -> bool:
        """Ask until there is a reply; False when the time is over before."""
        body = self._body(self.talks[place], self.alone[place], turn, self.stream)
        while time.monotonic() < end:
            leaves = not self.has_left or self.rng.random() < _GIVES_UP
            self.has_left = True
            tally.requests += 1
            try:
                reply = await self._ask(client, body, pieces=self.rng.randint(1, 4) if leaves else None)
            except BusyError as busy:
                tally.turned_away += 1
                await asyncio.sleep(busy.seconds * self.rng.uniform(1, 1.25))
                continue
            except (httpx.HTTPError, ValueError, KeyError) as error:
                tally.errors.append(f"client {self.number}: {type(error).__name__}: {error}")
                await asyncio.sleep(1)
                continue
            if not reply.whole:
                tally.given_up += 1
                continue
            self._check(reply, self.alone[place][turn], tally)
            return True
        return False

    def _check(self, reply: Reply, alone: str, tally: Tally) -> None:
        tally.replies += 1
        tally.streamed += self.stream
        tally.heard[self.number] += 1
        tally.seconds.append(reply.seconds)
        tally.own_words += self.word in reply.text.lower()
        found = [word for word in self.others if word in reply.text.lower()]
        if found or reply.text != alone:
            tally.mixed_up.append(f"client {self.number}: {reply.text!r} for {alone!r}, words of others: {found}")

    def _body(self, talk: Talk, said: list[str], turn: int, stream: bool) -> dict[str, Any]:
        messages = []
        if self.number % 2:
            messages.append({"role": "system", "content": self.persona.replace(" | ", "\n")})
        for before in range(turn):
            messages += [
                {"role": "user", "content": talk.lines[before]},
                {"role": "assistant", "content": said[before]},
            ]
        messages.append({"role": "user", "content": talk.lines[turn]})
        drawn = {"temperature": talk.temperature, "seed": talk.seed, "max_tokens": self.tokens}
        return {"model": f"persona-{self.number + 1}", "messages": messages, "stream": stream, **drawn}

    async def _ask(self, client: httpx.AsyncClient, body: Mapping[str, Any], pieces: int | None = None) -> Reply:
        """Send a request; with ``pieces``, leave after that many (of a reply in one piece: after as many tenths).

        Raises:
            BusyError: 429 with a time to come back.
            ValueError: any other answer than a reply.
        """
        began = time.monotonic()
        if not body["stream"]:
            try:
                async with asyncio.timeout(pieces / 10 if pieces else None):
                    answered = await client.post("/v1/chat/completions", json=body)
            except TimeoutError:
                return Reply("", time.monotonic() - began, whole=False)
            text = _accepted(answered, await answered.aread())["choices"][0]["message"]["content"]
            return Reply(text, time.monotonic() - began)
        shown: list[str] = []
        async with client.stream("POST", "/v1/chat/completions", json=body) as answered:
            if answered.status_code != 200:
                _accepted(answered, await answered.aread())
            async for event in _events(answered):
                shown.append(event)
                if len(shown) == pieces:
                    return Reply("".join(shown), time.monotonic() - began, whole=False)
        return Reply("".join(shown), time.monotonic() - began)


async def _events(answered: httpx.Response) -> AsyncIterator[str]:
    """Yield the pieces of text of a stream.

    Raises:
        ValueError: it tells an error, or ends before its end.
    """
    async for line in answered.aiter_lines():
        if line == "data: [DONE]":
            return
        if line:
            chunk = json.loads(line.removeprefix("data: "))
            if "error" in chunk:
                raise ValueError(f"in the stream: {chunk['error']['message']}")
            if text := chunk["choices"][0]["delta"].get("content"):
                yield text
    raise ValueError("the stream broke off")


def _accepted(answered: httpx.Response, content: bytes) -> dict[str, Any]:
    """Return a reply's JSON.

    Raises:
        BusyError: 429 with a ``Retry-After``.
        ValueError: any other status than 200.
    """
    if answered.status_code == 429 and answered.headers.get("retry-after", "").isdecimal():
        raise BusyError(max(1, int(answered.headers["retry-after"])))
    if answered.status_code != 200:
        raise ValueError(f"{answered.status_code}: {content[:200]!r}")
    return dict(json.loads(content))
