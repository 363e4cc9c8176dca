"""One model, one reply at a time, and a bounded line of those who wait.

Replies are made in a thread of their own; each job has its own random numbers and its own stream, so that nothing of
one conversation can reach another.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from personatune.dialogue import Context, Turn
from personatune.serving.counts import Counts
from personatune.serving.errors import ApiError
from personatune.serving.requests import Order
from personatune.serving.stops import UntilStop

if TYPE_CHECKING:
    import torch

    from personatune.model.generation import Sampling
    from personatune.model.prompts import PromptFormat

_log = logging.getLogger(__name__)
_LONGEST_RETRY = 60


class Replying(Protocol):
    """A reply in the making; see `personatune.model.streaming.ReplyStream`."""

    prompt_tokens: int
    tokens: int
    finished: bool

    def __iter__(self) -> Iterator[str]: ...


class Bot(Protocol):
    """What the desk asks of a model; `personatune.model.generation.Chatbot` is one."""

    prompts: PromptFormat
    sampling: Sampling

    def begin(self, context: Context, sampling: Sampling, generator: torch.Generator) -> Replying: ...


@dataclass(frozen=True)
class Piece:
    """A part of the reply's text."""

    text: str


@dataclass(frozen=True)
class Begun:
    """The prompt was written; the reply comes now."""

    prompt_tokens: int


@dataclass(frozen=True)
class Ended:
    """The reply is whole. ``reason`` is OpenAI's ``finish_reason``."""

    reason: Literal["stop", "length"]
    prompt_tokens: int
    tokens: int


@dataclass(frozen=True)
class Failed:
    """There will be no (more) reply."""

    error: Exception


Event = Begun | Piece | Ended | Failed


class Job:
    """One reply that was asked for; its events are read by the coroutine that asked."""

    def __init__(self, context: Context, order: Order) -> None:
        self.context = context
        self.order = order
        self.cancelled = threading.Event()
        self.reply: Replying | None = None  # once it is made
        self.tokens_wanted = 0  # of the reply when it was cancelled
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    async def next(self) -> Event:
        """Wait for what happens next."""
        return await self._events.get()

    def tell(self, event: Event) -> None:
        """Add an event, from the desk's thread."""
        if not self.cancelled.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)


class Desk:
    """Answers jobs in the order they came.

    Args:
        waiting: jobs that may stand in line behind the one that is answered.
        reply_tokens: the most that a reply may have, and never more than half of the context: a request that names more
            gets this many. One that names no number gets the bot's own.
    """

    def __init__(self, bot: Bot, *, waiting: int, reply_tokens: int) -> None:
        self.counts = Counts()
        self._bot = bot
        self._places = waiting
        self._reply_tokens = min(reply_tokens, bot.prompts.max_length // 2)
        self._line: deque[Job] = deque()
        self._current: Job | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._usual_seconds = 2.0  # of a reply, until the first ones were timed
        self._thread = threading.Thread(target=self._work, name="replies", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    @property
    def busy(self) -> bool:
        """Whether a reply is being made."""
        return self._current is not None

    def submit(self, context: Context, order: Order) -> Job:
        """Put a request in line; to be called in the event loop that reads its events.

        Raises:
            ApiError: 429, the line is full.
        """
        job = Job(context, order)
        with self._changed:
            if len(self._line) >= self._places + (self._current is None):
                seconds = min(_LONGEST_RETRY, math.ceil(self._usual_seconds * (len(self._line) + 1)))
                raise ApiError(
                    429,
                    f"{len(self._line)} requests are waiting already; try again in {seconds} s",
                    code="rate_limit_exceeded",
                    kind="rate_limit_error",
                    headers={"Retry-After": str(seconds)},
                )
            self._line.append(job)
            self._changed.notify()
        return job

    def cancel(self, job: Job) -> None:
        """Leave the line, or stop decoding at the next token; nothing where the reply has ended."""
        if job.reply is not None:
            job.tokens_wanted = job.reply.tokens
        job.cancelled.set()
        with self._changed:
            if job in self._line:
                self._line.remove(job)

    def close(self) -> None:
        """Stop what goes on and take nothing more."""
        with self._changed:
            self._closed = True
            for job in (*self._line, *([self._current] if self._current is not None else [])):
                job.cancelled.set()
            self._line.clear()
            self._changed.notify()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._line and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._current = self._line.popleft()
            began = time.monotonic()
            whole = False
            try:
                whole = self._answer(job)
            except Exception as error:  # whatever it is, the next one in line is to be answered
                self.counts.failed += 1
                job.tell(Failed(error))
            finally:
                self._count(job, whole)
                with self._changed:
                    self._current = None
                    if whole:
                        self._usual_seconds += 0.2 * (time.monotonic() - began - self._usual_seconds)

    def _count(self, job: Job, whole: bool) -> None:
        tokens = job.reply.tokens if job.reply is not None else 0
        self.counts.tokens += tokens
        self.counts.replies += whole
        if not whole and job.cancelled.is_set():
            self.counts.cancelled += 1
            self.counts.late_tokens += tokens - job.tokens_wanted

    def _answer(self, job: Job) -> bool:
        """Make a reply; return whether it is whole."""
        import torch

        order, sampling = job.order, self._bot.sampling
        if job.cancelled.is_set():
            return False
        wanted = replace(
            sampling,
            max_new_tokens=min(order.max_tokens or sampling.max_new_tokens, self._reply_tokens),
            temperature=sampling.temperature if order.temperature is None else order.temperature,
            top_p=sampling.top_p if order.top_p is None else order.top_p,
        )
        seed = secrets.randbits(63) if order.seed is None else order.seed % 2**63
        context = Context(job.context.persona, recent_turns(job.context.history, self._bot.prompts))
        reply = job.reply = self._bot.begin(context, wanted, torch.Generator().manual_seed(seed))
        job.tell(Begun(reply.prompt_tokens))
        until = UntilStop(_while_wanted(reply, job), order.stops)
        for piece in until:
            job.tell(Piece(piece))
        if not (reply.finished or until.met) and job.cancelled.is_set():
            return False
        reason: Literal["stop", "length"] = "stop" if reply.finished or until.met else "length"
        job.tell(Ended(reason, reply.prompt_tokens, reply.tokens))
        return True


def _while_wanted(reply: Replying, job: Job) -> Iterator[str]:
    """Yield a reply's pieces until nobody waits for them any more."""
    for piece in reply:
        if job.cancelled.is_set():
            _log.info("a client went away after %d tokens", reply.tokens)
            return
        yield piece


def recent_turns(turns: tuple[Turn, ...], prompts: PromptFormat) -> tuple[Turn, ...]:
    """Return the last turns that could fit a prompt, one at least, so that a long chat is not tokenised as a whole.

    The exact cut is the prompt form's own: it counts the persona and the structure too.
    """
    room, kept = prompts.max_length, 0
    for turn in reversed(turns):
        room -= len(prompts.encode_reply(turn.text))
        if room < 0 and kept:
            break
        kept += 1
    return turns[-kept:]
