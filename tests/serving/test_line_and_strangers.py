"""Those who wait, leave or fail, and conversations that never meet."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.serving.conftest import HI, PERSONA, Echo, Served, ask, serving

from personatune.dialogue import Context, Turn
from personatune.serving.limits import Limits

if TYPE_CHECKING:
    from personatune.model.generation import Chatbot


def test_a_full_line_sends_away_with_a_time_to_come_back(echo: Echo) -> None:
    import openai

    echo.go.clear()
    with serving(echo, waiting=1) as served:
        threads = [threading.Thread(target=ask, args=(served,)) for _ in range(2)]
        threads[0].start()
        served.until(lambda: served.desk.busy)
        threads[1].start()
        served.until(lambda: served.desk.waiting == 1)
        with pytest.raises(openai.RateLimitError) as caught:
            ask(served)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert caught.value.code == "rate_limit_exceeded"
        echo.go.set()
        for thread in threads:
            thread.join()
        assert len(echo.contexts) == 2
        ask(served)  # there is room again


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_stops_the_decoding(echo: Echo, stream: bool) -> None:
    import httpx

    echo.seconds = 0.05
    with serving(echo, reply_tokens=256) as served:
        long = [{"role": "user", "content": "word " * 80}]
        if stream:
            chunks = ask(served, long, stream=True)
            next(iter(chunks))
            chunks.close()
        else:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(
                    f"{served.url}/v1/chat/completions",
                    json={"model": "persona-1", "messages": long},
                    timeout=httpx.Timeout(30, read=0.3),
                )
        served.until(lambda: not served.desk.busy)
        assert len(echo.said) < 60
        echo.seconds = 0
        assert ask(served).choices[0].message.content == HI[0]["content"]


def test_who_leaves_the_line_makes_room(echo: Echo) -> None:
    import httpx

    echo.go.clear()
    with serving(echo, waiting=1) as served:
        first = threading.Thread(target=ask, args=(served,))
        first.start()
        served.until(lambda: served.desk.busy)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{served.url}/v1/chat/completions",
                json={"model": "persona-1", "messages": HI},
                timeout=httpx.Timeout(30, read=0.3),
            )
        served.until(lambda: served.desk.waiting == 0)
        echo.go.set()
        first.join()
        assert len(echo.contexts) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_that_takes_too_long_ends_in_an_error(echo: Echo, stream: bool) -> None:
    import openai

    echo.seconds = 0.2
    with serving(echo, limits=Limits(seconds=0.5)) as served:
        long = [{"role": "user", "content": "word " * 50}]
        with pytest.raises(openai.APIError, match=r"no reply within 0\.5 s"):
            list(ask(served, long, stream=stream))
        served.until(lambda: not served.desk.busy)
        assert len(echo.said) < 10


def test_a_model_that_fails_answers_500_and_goes_on_with_the_next(echoing: Served) -> None:
    import openai

    with pytest.raises(openai.InternalServerError, match="the model failed"):
        ask(echoing, [{"role": "user", "content": "BREAK"}])
    with pytest.raises(openai.APIError, match="the model failed"):
        list(ask(echoing, [{"role": "user", "content": "well BREAK"}], stream=True))
    assert ask(echoing).choices[0].message.content == HI[0]["content"]


def _all_at_once(tasks: list[Any]) -> list[Any]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]


def test_code_words_of_clients_at_once_never_meet(echo: Echo) -> None:
    echo.seconds = 0.002
    words = [f"codeword-{letter * 6}" for letter in "abcdefgh"]

    def talk(word: str, stream: bool) -> list[str]:
        client = served.client()
        history: list[Any] = [{"role": "system", "content": f"I know {word}."}]
        said = []
        for turn in range(3):
            history.append({"role": "user", "content": f"{word} {turn} {word}"})
            answered: Any = client.chat.completions.create(model="persona-1", messages=history, stream=stream)
            if stream:
                text = "".join(chunk.choices[0].delta.content or "" for chunk in answered)
            else:
                text = answered.choices[0].message.content
            history.append({"role": "assistant", "content": text})
            said.append(text)
        return said

    with serving(echo) as served:
        tasks = [lambda word=word, at=at: talk(word, at % 2 == 0) for at, word in enumerate(words)]
        replies = _all_at_once(tasks)
    assert replies == [[f"{word} {turn} {word}" for turn in range(3)] for word in words]
    for context in echo.contexts:  # nor in what the model was given
        text = repr(context)
        assert sum(word in text for word in words) == 1


def test_a_model_asked_by_many_at_once_says_to_each_what_it_says_alone(served: Served, bot: Chatbot) -> None:
    lines = [f"Hello number {number}, how are you?" for number in range(6)]
    seeds = list(range(6))
    alone = [bot([Context(PERSONA, (Turn("partner", line),))])[0] for line in lines]
    assert len(set(alone)) > 1

    def greedy(line: str) -> Any:
        return ask(served, [{"role": "user", "content": line}], temperature=0).choices[0].message.content

    def drawn(line: str, seed: int) -> Any:
        messages = [{"role": "user", "content": line}]
        return ask(served, messages, temperature=1.2, seed=seed).choices[0].message.content

    one_by_one = [drawn(line, seed) for line, seed in zip(lines, seeds, strict=True)]
    pairs = list(zip(lines, seeds, strict=True))
    together = _all_at_once(
        [lambda line=line: greedy(line) for line in lines]
        + [lambda line=line, seed=seed: drawn(line, seed) for line, seed in pairs]
    )
    assert together == [*alone, *one_by_one]
