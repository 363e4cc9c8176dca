"""Uploads go through the hub's own client to a hub that stands on this machine; a hub that is away is one line."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import sys
from pathlib import Path
from personatune.errors import UserError
from personatune.export.hub import push_folder
try:
    print(push_folder(Path(sys.argv[1]), sys.argv[2]))
except UserError as error:
    print(f"personatune: {error}", file=sys.stderr)
    sys.exit(2)
"""


class Hub:
    """The few answers of the hub that an upload needs; keeps what it got."""

    def __init__(self) -> None:
        self.repositories: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.status = 200
        hub = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                hub.tokens.add(self.headers.get("Authorization") or "")
                status, answer = hub.answer(self.path, body)
                self._send(status, answer)

            def do_GET(self) -> None:
                self._send(200, {"id": "me/max", "siblings": [], "sha": "0" * 40})

            def _send(self, status: int, answer: Any) -> None:
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the library's name)
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        if self.status != 200:
            return self.status, {"error": "no"}
        if path == "/api/repos/create":
            self.repositories.append(json.loads(body))
            return 200, {"url": f"{self.url}/me/max"}
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return 200, {"files": modes}
        if path == "/api/validate-yaml":  # of the card's head
            return 200, {"errors": [], "warnings": []}
        assert "/commit/" in path, path
        for line in body.splitlines():
            row = json.loads(line)
            if row["key"] == "file":
                self.files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
        return 200, {"commitUrl": f"{self.url}/me/max/commit/1", "commitOid": "1" * 40, "success": True}


@pytest.fixture
def hub() -> Iterator[Hub]:
    running = Hub()
    yield running
    running.server.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    made.mkdir()
    (made / "README.md").write_text("---\nlicense: mit\n---\n# Max\n", encoding="utf-8")
    (made / "max.gguf").write_bytes(b"GGUF" + bytes(range(256)))
    return made


def push(folder: Path, name: str, url: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_TOKEN": "hf_test", "HF_HUB_OFFLINE": "0", **more}
    environment["HF_HOME"] = str(folder.parent / "hf")
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), name],
        capture_output=True, text=True, timeout=300, check=False, env=environment,
    )  # fmt: skip


def test_every_file_arrives_in_a_private_repository(hub: Hub, folder: Path) -> None:
    told = push(folder, "me/max", hub.url)
    assert (told.returncode, told.stdout) == (0, f"{hub.url}/me/max\n"), told.stderr
    assert hub.files == {file.name: file.read_bytes() for file in folder.iterdir()}
    [repository] = hub.repositories
    assert (repository["name"], repository["organization"]) == ("max", "me")
    assert repository.get("visibility") == "private" or repository.get("private") is True  # by the client's version
    assert hub.tokens == {"Bearer hf_test"}


@pytest.mark.parametrize(
    ("status", "told"), [(401, "run hf auth login with a token that may write"), (400, "the hub refused it (400)")]
)
def test_a_hub_that_refuses_is_one_line_and_the_files_stay(hub: Hub, folder: Path, status: int, told: str) -> None:
    hub.status = status
    answered = push(folder, "me/max", hub.url)
    assert answered.returncode == 2
    assert told in answered.stderr
    assert f"the files are in {folder}" in answered.stderr
    assert len(answered.stderr.splitlines()) == 1
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "max.gguf"]


@pytest.mark.parametrize(
    ("url", "offline", "name", "told"),
    [
        ("http://127.0.0.1:9", "0", "me/max", "the hub can't be reached"),
        ("http://127.0.0.1:9", "1", "me/max", "the hub can't be reached"),
        ("http://127.0.0.1:9", "0", "a/b/c", "no name of a repository"),
    ],
)
def test_no_hub_and_no_name_are_one_line(folder: Path, url: str, offline: str, name: str, told: str) -> None:
    answered = push(folder, name, url, HF_HUB_OFFLINE=offline)
    assert (answered.returncode, told in answered.stderr) == (2, True), answered.stderr
    assert len(answered.stderr.splitlines()) == 1


def test_without_a_token_it_says_how_to_log_in(hub: Hub, folder: Path) -> None:
    hub.status = 401
    answered = push(folder, "me/max", hub.url, HF_TOKEN="")
    assert (answered.returncode, "hf auth login" in answered.stderr) == (2, True), answered.stderr
