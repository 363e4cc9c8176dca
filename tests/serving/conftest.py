"""A real server on a free port of this machine, asked by OpenAI's own client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from personatune.dialogue import Context, Persona
from personatune.model.sampling import Sampling
from personatune.serving.app import create_app
from personatune.serving.cast import Cast
from personatune.serving.desk import Desk
from personatune.serving.limits import Limits
from personatune.serving.run import address_of, configured, listen

if TYPE_CHECKING:
    import openai
    from tests.conftest import TinyModels

    from personatune.model.generation import Chatbot

PERSONA = Persona(("I have two dogs.", "I am a chef."))
HI = [{"role": "user", "content": "Hi, what pets do you have?"}]


class Echo:
    """Stands for a slow model: says the partner's last words again, one word at a time, and counts what it says.

    Where the words are told to wait, they wait until the test lets them go.
    """

    def __init__(self, prompts: Any, seconds: float = 0.0) -> None:
        self.prompts = prompts
        self.sampling = Sampling(max_new_tokens=80)
        self.seconds = seconds
        self.said: list[str] = []
        self.contexts: list[Context] = []
        self.go = threading.Event()
        self.go.set()

    def begin(self, context: Context, sampling: Sampling, generator: Any) -> Any:
        self.contexts.append(context)
        return _Echoed(self, context.history[-1].text, sampling.max_new_tokens)


class _Echoed:
    def __init__(self, echo: Echo, text: str, limit: int) -> None:
        self.echo, self.words, self.limit = echo, text.split(), limit
        self.prompt_tokens, self.tokens, self.finished = len(self.words), 0, False

    def __iter__(self) -> Iterator[str]:
        for number, word in enumerate(self.words[: self.limit]):
            self.echo.go.wait(20)
            time.sleep(self.echo.seconds)
            if word == "BREAK":
                raise RuntimeError("out of memory")
            self.tokens += 1
            self.echo.said.append(word)
            yield word if number == 0 else f" {word}"
        self.finished = self.tokens == len(self.words)


@dataclass
class Served:
    """A running server."""

    url: str
    desk: Desk
    app: Any
    clients: list[Any] = field(default_factory=list)

    def client(self, key: str = "any", **options: Any) -> openai.OpenAI:
        import openai

        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60, **options)
        self.clients.append(client)
        return client

    def until(self, wanted: Callable[[], bool]) -> None:
        """Wait for something that happens in another thread."""
        end = time.monotonic() + 20
        while not wanted():
            assert time.monotonic() < end, "it never happened"
            time.sleep(0.01)


@contextmanager
def serving(
    bot: Any,
    people: Any = (PERSONA,),
    *,
    heed_system: bool = True,
    waiting: int = 16,
    reply_tokens: int = 128,
    limits: Limits | None = None,
    **options: Any,
) -> Iterator[Served]:
    import uvicorn

    desk = Desk(bot, waiting=waiting, reply_tokens=reply_tokens)
    cast = Cast(list(people), heed_system=heed_system)
    listening = listen("127.0.0.1", 0)
    kept = limits or Limits()
    app = create_app(desk, cast, kept, **options)
    server = uvicorn.Server(configured(app, kept, grace=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    served = Served(address_of(listening), desk, app)
    try:
        yield served
    finally:
        for client in served.clients:
            client.close()
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()


@pytest.fixture
def echo(tiny: TinyModels) -> Echo:
    return Echo(tiny.prompts())


@pytest.fixture(scope="module")
def bot(tiny: TinyModels) -> Chatbot:
    from personatune.model.generation import Chatbot

    return Chatbot(tiny.model(), tiny.prompts(), Sampling(max_new_tokens=16))


@pytest.fixture(scope="module")
def served(bot: Chatbot) -> Iterator[Served]:
    with serving(bot) as running:
        yield running


@pytest.fixture
def echoing(echo: Echo) -> Iterator[Served]:
    with serving(echo, reply_tokens=256) as running:
        yield running


def ask(served: Served, messages: Any = HI, model: str = "persona-1", **options: Any) -> Any:
    return served.client().chat.completions.create(model=model, messages=messages, **options)


def raw(served: Served, body: Any, **headers: str) -> Any:
    import httpx

    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(
        f"{served.url}/v1/chat/completions",
        content=content,
        headers={"Content-Type": "application/json", **headers},
        timeout=60,
    )
