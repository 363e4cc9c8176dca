"""Connections that somebody tries to hold open, too many of them, and how often an address may ask."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from tests.serving.conftest import HI, Echo, Served, ask, raw, serving

from personatune.serving.limits import Limits
from personatune.serving.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

HURRIED = Limits(head_seconds=1, body_seconds=1.5, seconds=20)


def connect(served: Served) -> socket.socket:
    host, port = served.url.removeprefix("http://").split(":")
    found = socket.create_connection((host, int(port)), timeout=20)
    found.settimeout(20)
    return found


def rest(connection: socket.socket) -> bytes:
    """Read until the server ends the connection."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def ended_while_sending(connection: socket.socket) -> bool:
    """Send letter by letter until the server ends the connection, or for twenty seconds."""
    try:
        for _ in range(200):
            connection.send(b"x")
            time.sleep(0.1)
    except OSError:
        return True
    return False


def head(length: int, path: str = "/v1/chat/completions") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def _told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what would have gone to standard error: under pytest it goes to its own handler."""
    return [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR", "CRITICAL")]


@pytest.fixture
def hurried(echo: Echo) -> Iterator[Served]:
    with serving(echo, limits=HURRIED) as served:
        yield served


def test_a_connection_that_says_nothing_is_ended(hurried: Served) -> None:
    with connect(hurried) as silent:
        assert rest(silent) == b""


def test_a_head_that_comes_letter_by_letter_is_ended_however_busy_it_looks(hurried: Served) -> None:
    with connect(hurried) as slow:
        slow.send(b"GET /health HTTP/1.1\r\nX: ")
        assert ended_while_sending(slow)
    ask(hurried)


def test_a_body_that_comes_letter_by_letter_is_told_so(hurried: Served) -> None:
    with connect(hurried) as slow:
        slow.send(head(1000) + b"{")
        assert slow.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_who_leaves_before_the_body_is_sent_leaves_no_line_in_the_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(served) as leaving:
        leaving.send(head(1000) + b"{")
        time.sleep(0.3)  # the server waits for the rest
    time.sleep(0.5)
    ask(served)
    assert _told(caplog) == []


def test_a_refused_body_cant_be_dribbled_on_for_ever(hurried: Served) -> None:
    with connect(hurried) as slow:
        slow.send(head(10**9))
        assert slow.recv(65536).startswith(b"HTTP/1.1 413 ")
        assert ended_while_sending(slow)


def test_strangers_bytes_are_refused_and_leave_no_line_in_the_log(
    served: Served, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for sent in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"\r\n\r\n\r\n: :\r\n\r\n"):
        with connect(served) as stranger:
            stranger.send(sent)
            assert rest(stranger).startswith(b"HTTP/1.1 400 ")
    with connect(served) as stranger:
        stranger.send(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert stranger.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert capfd.readouterr() == ("", "")
    assert _told(caplog) == []


def test_a_head_without_end_is_refused(served: Served) -> None:
    with connect(served) as long:
        long.send(b"GET /health HTTP/1.1\r\nX: " + b"x" * 200_000)
        assert b" 200 OK" not in rest(long)
    ask(served)


@pytest.mark.parametrize("streamed", [False, True])
def test_who_never_reads_its_answer_is_ended(echo: Echo, streamed: bool) -> None:
    from fastapi.responses import Response, StreamingResponse

    megabyte, count = b"x" * 2**20, 24  # more than the sockets' buffers take

    def large() -> Response:
        return StreamingResponse(iter([megabyte] * count)) if streamed else Response(megabyte * count)

    limits = Limits(head_seconds=0.5, idle_seconds=0.5, body_seconds=0.5, seconds=0.5)
    with serving(echo, limits=limits) as served:
        served.app.add_api_route("/large", large)
        with connect(served) as deaf:
            deaf.send(b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            time.sleep(limits.request_seconds + 1)
            assert len(rest(deaf)) < count * len(megabyte)


def test_a_rested_connection_is_used_again(hurried: Served) -> None:
    with connect(hurried) as kept:
        for _ in range(2):
            kept.send(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            found = b""
            while not found.endswith(b"}"):
                piece = kept.recv(65536)
                assert piece, "it was ended"
                found += piece
            assert found.startswith(b"HTTP/1.1 200 ")
            time.sleep(1.3 * HURRIED.head_seconds)


def test_too_many_connections_are_told_to_come_back(echo: Echo) -> None:
    import httpx

    with serving(echo, limits=Limits(connections=3)) as served:
        resting = [connect(served) for _ in range(3)]
        served.until(lambda: _status(served, "/health") == 429)
        answered = httpx.get(f"{served.url}/health")
        assert int(answered.headers["retry-after"]) >= 1
        assert answered.json()["error"]["code"] == "rate_limit_exceeded"
        for connection in resting:
            connection.close()
        served.until(lambda: _status(served, "/health") == 200)


def test_over_twice_the_number_of_connections_nothing_is_answered(echo: Echo) -> None:
    with serving(echo, limits=Limits(connections=1)) as served:
        held = [connect(served) for _ in range(2)]
        served.until(lambda: _status(served, "/health") == 0)
        for connection in held:
            connection.close()


def _status(served: Served, path: str) -> int:
    import httpx

    try:
        return httpx.get(f"{served.url}{path}").status_code
    except httpx.TransportError:
        return 0


def test_an_address_that_asks_too_often_is_told_when_to_come_back(echo: Echo) -> None:
    with serving(echo, limits=Limits(per_minute=8)) as served:
        statuses = [_status(served, "/v1/models") for _ in range(3)]
        assert statuses == [200, 200, 429]
        answered = raw(served, {"model": "persona-1", "messages": HI})
        assert (answered.status_code, answered.json()["error"]["type"]) == (429, "rate_limit_error")
        assert 1 <= int(answered.headers["retry-after"]) <= 8
        assert _status(served, "/health") == 200


def test_guesses_at_the_key_are_counted_too(echo: Echo) -> None:
    with serving(echo, limits=Limits(per_minute=8), api_key="secret") as served:
        assert [_status(served, "/v1/models") for _ in range(4)] == [401, 401, 429, 429]


def test_a_proxy_of_this_machine_tells_the_callers_address_and_nobody_else_does(echo: Echo) -> None:
    import httpx

    def status(own: str, told: str) -> int:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=own)) as client:
            return client.get(f"{served.url}/v1/models", headers={"X-Forwarded-For": told}).status_code

    with serving(echo, limits=Limits(per_minute=4)) as served:
        assert [status("127.0.0.1", told) for told in ("192.0.2.1", "192.0.2.2", "192.0.2.1")] == [200, 200, 429]
        assert [status("127.0.0.9", told) for told in ("192.0.2.3", "192.0.2.4")] == [200, 429]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_address_gets_its_requests_a_minute_and_a_quarter_of_them_at_once() -> None:
    clock = Clock()
    pace = Pace(60, clock)
    assert sum(pace.wait("192.0.2.1") == 0 for _ in range(100)) == 15
    assert pace.wait("192.0.2.2") == 0  # somebody else
    let_in = 0
    for _ in range(6000):
        clock.now += 0.1
        let_in += pace.wait("192.0.2.1") == 0
    assert let_in == pytest.approx(600, abs=1)


def test_who_comes_back_when_told_is_let_in() -> None:
    clock = Clock()
    pace = Pace(7, clock)
    for _ in range(50):
        clock.now += (seconds := pace.wait("192.0.2.1"))
        assert not seconds or pace.wait("192.0.2.1") == 0


def test_a_network_of_ipv6_is_one_address_and_a_mapped_one_is_the_old_one() -> None:
    pace = Pace(4, Clock())
    assert pace.wait("2001:db8::1") == 0
    assert pace.wait("2001:db8::ffff%eth0") > 0
    assert pace.wait("2001:db8:0:1::1") == 0
    assert pace.wait("::ffff:192.0.2.1") == 0
    assert pace.wait("192.0.2.1") > 0


def test_no_number_of_addresses_fills_the_memory() -> None:
    clock = Clock()
    pace = Pace(4, clock)
    for number in range(20_000):
        clock.now += 0.001
        pace.wait(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(pace._empty_at) <= 4096
    assert pace.wait("10.0.78.31") > 0  # the last one is remembered
