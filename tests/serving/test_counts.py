"""What the server counts, and that a reply nobody waits for costs one token at most, whatever the model says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tests.serving.conftest import HI, Echo, Served, ask, serving

from personatune.dialogue import Context, Persona, Turn
from personatune.model.sampling import Sampling
from personatune.serving.desk import Desk

if TYPE_CHECKING:
    from tests.conftest import TinyModels


def metrics(served: Served, key: str = "any") -> dict[str, float]:
    import httpx

    answered = httpx.get(f"{served.url}/metrics", headers={"Authorization": f"Bearer {key}"})
    assert answered.status_code == 200
    assert answered.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line.rpartition(" ") for line in answered.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_replies_tokens_and_answers_are_counted(echoing: Served) -> None:
    first, second = ask(echoing), ask(echoing, [{"role": "user", "content": "one two three"}])
    echoing.until(lambda: echoing.desk.counts.replies == 2)  # counted when the answer is out already
    found = metrics(echoing)
    assert found["personatune_replies_total"] == 2
    used = first.usage.completion_tokens + second.usage.completion_tokens
    assert found["personatune_reply_tokens_total"] == used
    assert found['personatune_answers_total{status="200"}'] == 2
    assert found["personatune_waiting"] == found["personatune_late_tokens_total"] == 0
    assert found["process_resident_memory_bytes"] > 1e6


def test_the_figures_are_for_those_with_the_key(echo: Echo) -> None:
    import httpx

    with serving(echo, api_key="secret") as served:
        assert httpx.get(f"{served.url}/metrics").status_code == 401
        assert metrics(served, "secret")['personatune_answers_total{status="401"}'] == 1


@pytest.mark.parametrize("leave", ["stream", "whole"])
def test_a_cancelled_reply_costs_one_token_more_at_most(echo: Echo, leave: str) -> None:
    import httpx

    echo.seconds = 0.02
    body: Any = {"model": "persona-1", "messages": [{"role": "user", "content": "word " * 200}], "max_tokens": 200}
    with serving(echo, reply_tokens=256) as served:
        if leave == "stream":
            with httpx.stream("POST", f"{served.url}/v1/chat/completions", json={**body, "stream": True}) as answered:
                next(answered.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=httpx.Timeout(30, read=0.2))
        served.until(lambda: not served.desk.busy)
        counts = served.desk.counts
        assert (counts.cancelled, counts.replies) == (1, 0)
        assert counts.late_tokens <= 1
        assert counts.tokens == len(echo.said) < 200


class _HalfCharacters(torch.nn.Module):
    """Lets a model say nothing but the first byte of a character of two."""

    def __init__(self, head: torch.nn.Module, token: int) -> None:
        super().__init__()
        self.head, self.token = head, token

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        time.sleep(0.005)
        logits = torch.full_like(self.head(hidden), -1e4)
        logits[..., self.token] = 0
        return logits


def test_decoding_stops_between_halves_of_characters_too(tiny: TinyModels) -> None:
    import asyncio

    from personatune.model.generation import Chatbot

    model, prompts = tiny.model(), tiny.prompts()
    half = prompts.encode_reply("é")[0]
    model.set_output_embeddings(_HalfCharacters(model.get_output_embeddings(), half))
    bot = Chatbot(model, prompts, Sampling(200))
    desk = Desk(bot, waiting=1, reply_tokens=200)
    context = Context(Persona(("I have two dogs.",)), (Turn("partner", str(HI[0]["content"])),))

    async def leave_early() -> None:
        from personatune.serving.limits import Limits
        from personatune.serving.requests import read_order

        body = b'{"model": "a", "messages": [{"role": "user", "content": "Hi"}]}'
        job = desk.submit(context, read_order(body, Limits()))
        await job.next()  # it has begun; not one whole character will ever come
        desk.cancel(job)

    asyncio.run(leave_early())
    desk.close()
    assert desk.counts.cancelled == 1
    assert desk.counts.late_tokens <= 1
    assert desk.counts.tokens < 200
