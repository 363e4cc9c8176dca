"""What the server refuses, and how it says so."""

from __future__ import annotations

from typing import Any

import pytest
from tests.serving.conftest import HI, Echo, Served, ask, raw, serving


@pytest.mark.parametrize(
    ("change", "param", "told"),
    [
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": None}, "messages", "array"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role", "'user' or 'assistant'"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "string"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages[0].content", "no text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content", "text only"),
        ({"messages": [*HI, {"role": "assistant", "content": "Hi"}]}, "messages", "must be the user's"),
        ({"messages": [{"role": "user", "content": "x" * 33_000}]}, "messages[0].content", "33,000 characters"),
        ({"messages": HI * 1001}, "messages", "found 1001"),
        ({"messages": [{"role": "system", "content": "a" * 300}, *HI]}, "messages[0].content", "at most 200"),
        ({"messages": [{"role": "system", "content": "I sing. " * 21}, *HI]}, "messages[0].content", "found 21"),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, "messages", "tokens"),
        ({"model": None}, "model", "string"),
        ({"temperature": 2.5}, "temperature", "less than or equal to 2"),
        ({"temperature": "0.5"}, "temperature", "number"),
        ({"top_p": 0}, "top_p", "greater than 0"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens", "integer"),
        ({"n": 2}, "n", "less than or equal to 1"),
        ({"stop": ["a"] * 5}, "stop", "found 5"),
        ({"stop": ""}, "stop", "found one of 0 characters"),
        ({"seed": 2**70}, "seed", "less than"),
        ({"stream": "yes"}, "stream", "boolean"),
        ({"tools": [{"type": "function"}]}, "tools", "not supported"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format", "plain text"),
    ],
)
def test_a_wrong_field_is_named(served: Served, change: dict[str, Any], param: str, told: str) -> None:
    answered = raw(served, {"model": "persona-1", "messages": HI, **change})
    error = answered.json()["error"]
    assert (answered.status_code, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert told in error["message"]
    assert "\n" not in error["message"]


def test_what_asks_for_nothing_is_no_mistake(echoing: Served) -> None:
    idle = {"frequency_penalty": 0, "presence_penalty": 0.0, "logprobs": False, "tools": [], "user": "me", "top_k": 40}
    assert raw(echoing, {"model": "persona-1", "messages": HI, "n": None, "stop": None, **idle}).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"model": "\\ud800", "messages": 1}']
)
def test_a_body_that_is_no_request_is_refused(served: Served, body: bytes) -> None:
    answered = raw(served, body)
    assert answered.status_code == 400
    assert answered.json()["error"]["type"] == "invalid_request_error"


def test_an_unknown_model_and_an_unknown_path_are_not_found(served: Served) -> None:
    import httpx
    import openai

    with pytest.raises(openai.NotFoundError, match="persona-1") as caught:
        ask(served, model="gpt-4")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        served.client().models.retrieve("nobody")
    assert httpx.get(f"{served.url}/v1/nothing").json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{served.url}/v1/chat/completions").status_code == 405


def test_a_body_that_is_too_large_is_told_so_and_never_read_as_a_request(served: Served) -> None:
    import openai

    with pytest.raises(openai.APIStatusError) as caught:
        ask(served, [{"role": "user", "content": "x" * 3_000_000}])
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")
    ask(served)  # the next one is answered


def test_only_json_is_read(served: Served) -> None:
    answered = raw(served, {"model": "persona-1", "messages": HI}, **{"Content-Type": "text/plain"})
    assert (answered.status_code, "application/json" in answered.text) == (400, True)


def test_a_server_with_a_key_answers_nobody_without_it(echo: Echo) -> None:
    import httpx
    import openai

    with serving(echo, api_key="secret") as served:
        for key in ("wrong", "sécret"):
            answered = httpx.get(f"{served.url}/v1/models", headers={b"Authorization": f"Bearer {key}".encode()})
            assert (answered.status_code, answered.json()["error"]["code"]) == (401, "invalid_api_key")
        with pytest.raises(openai.AuthenticationError):
            served.client("wrong").models.list()
        assert served.client("secret").models.list().data[0].id == "persona-1"
        assert httpx.get(f"{served.url}/health").json()["status"] == "ok"


def test_a_page_that_points_a_name_of_its_own_here_is_refused(echo: Echo) -> None:
    import httpx

    with serving(echo, hosts=["127.0.0.1", "localhost"], origins=["http://front.example"]) as served:
        for name in ("evil.example", "127.0.0.1@evil.example", "[", "127.0.0.1.evil.example"):
            answered = httpx.get(f"{served.url}/v1/models", headers={"Host": name})
            assert (answered.status_code, answered.json()["error"]["type"]) == (403, "invalid_request_error"), name
        asked = {"Origin": "http://front.example", "Access-Control-Request-Method": "POST"}
        allowed = httpx.options(f"{served.url}/v1/chat/completions", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "http://front.example"
        refused = httpx.get(f"{served.url}/v1/models", headers={"Origin": "http://evil.example"})
        assert "access-control-allow-origin" not in refused.headers
