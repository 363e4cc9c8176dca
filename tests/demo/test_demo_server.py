"""The demo as a server: a busy port is one line, and its actions work through gradio's own client."""

from __future__ import annotations

import html
import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from personatune.cli import main
from personatune.config import get_default_config
from personatune.demo.page import Page
from personatune.demo.server import choose_password, is_loopback, require_free_port, serve
from personatune.errors import UserError
from personatune.pipeline.run import Run

pytest.importorskip("gradio", reason="needs the extra 'demo'")

if TYPE_CHECKING:
    from tests.demo.conftest import Gate, ScriptedShelf


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def test_a_busy_port_is_one_line_and_exit_code_2(
    busy_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["personatune", "demo", "--port", str(busy_port)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert f"port {busy_port} of 127.0.0.1 is in use" in told.err
    assert f"--port {busy_port + 1}" in told.err


def test_without_gradio_the_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("personatune.cli.demo.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["personatune", "demo"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "personatune: the demo needs gradio: pip install 'personatune[demo]'\n"


def test_a_runs_models_are_offered_the_last_stage_first(tmp_path: Path) -> None:
    from personatune.cli.demo import _of_run

    run = Run.open(tmp_path, "mine", get_default_config())
    assert _of_run(None, tmp_path) == ["flagship", "base"]
    assert _of_run("mine", tmp_path) == ["base"]
    for name in ("sft", "ppo", "dpo"):
        (run.folder(name) / "adapter").mkdir()
    rows = "".join(json.dumps({"stage": name}) + "\n" for name in ("prepare", "sft", "dpo", "ppo"))
    (run.directory / "manifest.jsonl").write_text(rows, encoding="utf-8")
    assert _of_run("mine", tmp_path) == ["ppo", "sft", "dpo", "base"]
    with pytest.raises(UserError, match="no such run"):
        _of_run("main", tmp_path)


def test_gradio_finding_the_port_taken_is_the_same_line(page: Page, busy_port: int) -> None:
    with pytest.raises(UserError, match=f"port {busy_port} of 127.0.0.1 is in use"):
        serve(page, "127.0.0.1", busy_port)


def test_an_address_of_elsewhere_is_told() -> None:
    with pytest.raises(UserError, match=r"--host 192\.0\.2\.1: can't listen there"):
        require_free_port("192.0.2.1", 7860)
    require_free_port("127.0.0.1", free_port())


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.168.1.4", False),
        ("me", False),
    ],
)
def test_only_addresses_of_this_machine_are_private(host: str, own: bool) -> None:
    assert is_loopback(host) == own


def test_a_page_that_others_reach_has_a_password() -> None:
    assert choose_password("127.0.0.1", False, None) is None
    made = {choose_password("0.0.0.0", False, None), choose_password("127.0.0.1", True, None)}
    assert len(made) == 2
    assert all(password is not None and len(password) >= 12 for password in made)
    assert choose_password("0.0.0.0", False, "wanted") == choose_password("127.0.0.1", False, "wanted") == "wanted"
    with pytest.raises(UserError, match="the password is empty"):
        choose_password("0.0.0.0", False, "")


def test_nobody_chats_without_the_password(page: Page) -> None:
    import httpx
    from gradio_client import Client

    port = free_port()
    blocks = serve(page, "127.0.0.1", port, password="let-me-in")
    try:
        place = f"http://127.0.0.1:{port}"
        asked = {"data": [], "fn_index": 0, "session_hash": "stranger"}
        assert httpx.post(f"{place}/gradio_api/queue/join", json=asked).status_code == 401
        assert httpx.get(f"{place}/config").status_code == 401
        assert httpx.post(f"{place}/login", data={"username": "visitor", "password": "guess"}).status_code == 400
        known = Client(place, auth=("visitor", "let-me-in"), verbose=False, analytics_enabled=False)
        assert known.predict("Any pets?", "dogs", False, api_name="/say")
    finally:
        blocks.close()


@pytest.fixture
def address(page: Page) -> Iterator[str]:
    port = free_port()
    blocks = serve(page, "127.0.0.1", port)
    yield f"http://127.0.0.1:{port}/"
    blocks.close()


def client(address: str) -> Any:
    from gradio_client import Client

    return Client(address, verbose=False, analytics_enabled=False)


def texts(chat: Any) -> list[str]:
    """The texts of a chat's messages; of a marked reply its HTML."""
    value = chat["value"] if isinstance(chat, dict) and "value" in chat else chat
    found = []
    for message in value:
        [part] = message["content"]
        found.append(html.unescape(part["text"]) if part["type"] == "text" else str(part["value"]))
    return found


def test_two_visitors_chat_apart_and_vote_into_one_file(address: str, page: Page) -> None:
    one, other = client(address), client(address)
    for visitor, persona in ((one, "I have two dogs."), (other, "I am a smith.")):
        assert "A new conversation" in str(visitor.predict(persona, api_name="/begin"))
    chat, *_ = one.predict("Any pets? <script>alert(1)</script>", "dogs", False, api_name="/say")
    assert "<script" not in str(chat)  # gradio takes a message for HTML
    said, reply = texts(chat)
    assert said == "Any pets? <script>alert(1)</script>"
    assert '<mark class="pt-expressed">dogs</mark>' in reply
    chat, *_ = other.predict("Hello", "echo", False, api_name="/say")
    assert texts(chat)[0] == "Hello"
    for visitor in (one, other):
        visitor.predict("Hi", "dogs", "echo", api_name="/challenge")
        assert "Saved as a preference pair" in str(visitor.predict(api_name="/vote_a"))
    votes = [json.loads(line) for line in page.ballots.file.read_text(encoding="utf-8").splitlines()]
    assert [row["context"]["persona"]["traits"] for row in votes] == [["I have two dogs."], ["I am a smith."]]


def test_a_model_that_is_not_offered_is_refused(address: str) -> None:
    with pytest.raises(Exception, match="not in the list of choices"):
        client(address).predict("Hi", "../../etc", False, api_name="/say")


def test_no_file_of_the_machine_is_served(address: str) -> None:
    import httpx

    for path in ("gradio_api/file=/etc/passwd", f"gradio_api/file={Path(__file__)}", "file=/etc/passwd"):
        assert httpx.get(address + path).status_code in (403, 404)


def test_a_visitor_who_leaves_ends_the_reply(address: str, shelf: ScriptedShelf, gate: Gate) -> None:
    """The connection is cut in the middle, as a browser does that reloads."""
    import httpx

    shelf.pace = gate
    body = {"data": [None, "Any pets?", "dogs", False], "session_hash": "leaving", "fn_index": _index(address, "say")}
    httpx.post(f"{address}gradio_api/queue/join", json=body).raise_for_status()
    with httpx.stream("GET", f"{address}gradio_api/queue/data?session_hash=leaving", timeout=30) as events:
        gate.let(2)
        assert any("walk" in line for line in events.iter_lines())  # gradio sends what is new: never "I walk"
    time.sleep(1)
    gate.let(100)
    time.sleep(2)  # enough for all seven words, were somebody still writing
    assert 2 <= shelf.given <= 4


def _index(address: str, name: str) -> int:
    import httpx

    config = httpx.get(f"{address}config").json()
    return next(int(one["id"]) for one in config["dependencies"] if one["api_name"] == name)
