"""``personatune serve`` from the shell: what is wrong is told before a model is loaded; what is right is served."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from personatune.errors import UserError
from personatune.serving.run import address_of, is_loopback, listen, require_key

if TYPE_CHECKING:
    from tests.conftest import TinyModels


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "personatune", "serve", *words]


def refused(*words: str) -> str:
    answered = subprocess.run(command(*words), capture_output=True, text=True, timeout=300, check=False)
    assert answered.returncode == 2, answered.stderr
    assert answered.stdout == ""
    assert len(answered.stderr.splitlines()) == 1
    return answered.stderr


def test_a_busy_port_is_told_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = refused("--port", str(port))
    assert f"port {port} on 127.0.0.1 is taken by another program" in told
    assert f"--port {port + 1}" in told


def test_other_machines_get_in_with_a_key_only() -> None:
    with listen("0.0.0.0", 0) as open_to_all:
        assert not is_loopback(open_to_all)
        with pytest.raises(UserError, match="set a key in PERSONATUNE_API_KEY"):
            require_key(open_to_all, "0.0.0.0", None)
        require_key(open_to_all, "0.0.0.0", "secret")
    with listen("localhost", 0) as own:
        assert is_loopback(own)
        require_key(own, "localhost", None)
        with pytest.raises(UserError, match="the API key is empty"):
            require_key(own, "localhost", " ")


def test_an_address_that_is_not_here_is_told() -> None:
    with pytest.raises(UserError, match="no such address"):
        listen("no-such-host.invalid", 8000)
    with pytest.raises(UserError, match="can't be listened on"):
        listen("192.0.2.1", 8000)


def test_the_address_is_a_url() -> None:
    with listen("127.0.0.1", 0) as own:
        assert address_of(own) == f"http://127.0.0.1:{own.getsockname()[1]}"


def test_a_persona_that_is_no_file_and_no_sentence_is_told(tmp_path: Path) -> None:
    assert "no such file" in refused("--persona", str(tmp_path / "nobody.png"))


def test_a_folder_with_a_model_is_served_until_it_is_interrupted(tiny: TinyModels, tmp_path: Path) -> None:
    import openai

    folder = tiny.save(tmp_path / "model")
    words = command("--model", str(folder), "--port", "0", "--persona", "My name is Max. | I fish.", "--api-key", "k")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        first = program.stdout.readline()
        assert first.startswith(f"{folder} at http://127.0.0.1:"), first
        url = first.split(" at ")[1].split()[0]
        assert program.stdout.readline() == "models: max\n"
        client = openai.OpenAI(base_url=url, api_key="k", max_retries=0, timeout=120)
        asked: Any = {"model": "max", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
        assert client.chat.completions.create(**asked).usage.completion_tokens <= 5
        client.close()
        program.send_signal(signal.SIGINT)
        assert program.wait(timeout=60) == 0
        assert program.stderr is not None
        assert program.stderr.read() == ""
