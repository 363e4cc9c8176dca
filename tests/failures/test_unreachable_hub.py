"""A hub that can't be reached is asked once, and told in a line with what to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from personatune import hub
from personatune.errors import UserError
from personatune.judging.critic import load_judge
from personatune.judging.encoder import SentenceEncoder
from personatune.model.architecture import find_config

if TYPE_CHECKING:
    from tests.failures.conftest import Program

NOBODY = "personatune-tests/nothing-of-this-name"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address where nobody listens, as the hub's; its libraries are as on a fresh start."""
    with socket.socket() as taken:  # bound and not listening: nobody else can begin to listen there
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # to be put back afterwards
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        for name in ("huggingface_hub.constants.HF_HUB_OFFLINE", "datasets.config.HF_HUB_OFFLINE"):
            monkeypatch.setattr(name, False)
        monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", False)
        yield address


def silence(address: str) -> str:
    return f"the hub can't be reached ({address}: Connection refused)"


def test_a_model_by_hub_id(program: Program, nowhere: str) -> None:
    ended = program.begin("prepare", model=NOBODY)
    assert (ended.code, ended.line) == (
        2,
        f"{NOBODY}: can't be loaded (no folder of this name, not whole in the local cache, and {silence(nowhere)}); "
        "check the id and the network, or give a local folder",
    )
    assert program.begin("prepare").code == 0  # under the same name: nothing was settled


def test_a_dataset_by_hub_id(program: Program, nowhere: str) -> None:
    ended = program.begin("prepare", data=NOBODY)
    assert (ended.code, ended.line) == (
        2,
        f"{NOBODY}: neither a local file or folder nor a dataset that could be fetched from the hub (not in the local "
        f"cache, and {silence(nowhere)}); download it elsewhere and give the path of the file or folder",
    )


def test_a_judge_an_encoder_and_an_estimate(nowhere: str) -> None:
    with pytest.raises(UserError) as judge:
        load_judge(NOBODY)
    assert str(judge.value) == f"judge {NOBODY}: {silence(nowhere)}; expected critic, a folder or a hub id"
    with pytest.raises(UserError) as encoder:
        SentenceEncoder(NOBODY)
    assert str(encoder.value).startswith(f"{NOBODY}: no sentence encoder ({silence(nowhere)})")
    with pytest.raises(UserError) as estimate:
        find_config(NOBODY)
    assert str(estimate.value).startswith(f"{NOBODY}: no config.json to be had ({silence(nowhere)})")
    assert "the hub can't be reached" in find_config("gpt2").source  # its sizes are known without


def test_a_user_who_forbade_the_hub_is_reminded(program: Program) -> None:
    ended = program.begin("prepare", model=NOBODY)
    assert ended.code == 2
    assert "not whole in the local cache, and HF_HUB_OFFLINE forbids asking the hub" in ended.line


def test_a_hub_that_answers_with_an_error_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Refuses(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the library's name)
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert hub.hub_silence(f"http://127.0.0.1:{server.server_port}") == ""
    finally:
        server.shutdown()
        server.server_close()
    assert "the hub can't be reached (nonsense: " in hub.hub_silence("nonsense")


@pytest.mark.slow
def test_the_program_asks_once_and_prints_nothing_else(base: Path, tmp_path: Path) -> None:
    """With the libraries' own five tries a file this took a minute and thirty lines."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf"), "no_proxy": "127.0.0.1"}
    half = tmp_path / "hf" / "hub" / "models--me--half"  # only its config had arrived
    (half / "snapshots" / "c0ffee").mkdir(parents=True)
    (half / "refs").mkdir()
    (half / "refs" / "main").write_text("c0ffee", encoding="utf-8")
    (half / "snapshots" / "c0ffee" / "config.json").write_bytes((base / "model" / "config.json").read_bytes())
    for place, told in (
        (
            ["--model", "me/half"],
            "me/half: can't be loaded (no folder of this name, not whole in the local cache, and ",
        ),
        (["--data", "me/nothing"], "me/nothing: neither a local file or folder nor a dataset that could be fetched"),
    ):
        given = ["--data", str(base / "made.jsonl"), "--model", str(base / "model"), *place]
        ended = subprocess.run(
            [sys.executable, "-m", "personatune", "prepare", *given, "--name", "x", "--runs", str(tmp_path / "runs")],
            capture_output=True, text=True, timeout=300, check=False, env=environment,
        )  # fmt: skip
        assert ended.returncode == 2, ended.stderr
        assert ended.stderr.startswith(f"personatune: {told}")
        assert "the hub can't be reached (http://127.0.0.1:9: Connection refused)" in ended.stderr
        assert ended.stderr.count("\n") == 1
