"""Keys and tokens of the one who trains or serves stand in nothing that a run, a report or a server leaves or says."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.pipeline.test_run import beginning
from tests.program import call
from tests.serving.conftest import HI, Echo, serving

from personatune.report.build import build_report

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

SECRETS = {
    "WANDB_API_KEY": "5ec7e7a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6",
    "HF_TOKEN": "hf_MarkerMarkerMarkerMarkerMarkerMark",
    "HUGGING_FACE_HUB_TOKEN": "hf_OtherOtherOtherOtherOtherOtherOthe",
    "PERSONATUNE_API_KEY": "server-key-that-nobody-may-see",
    "PERSONATUNE_DEMO_PASSWORD": "page-password-that-nobody-may-see",
    "AWS_SECRET_ACCESS_KEY": "aws-secret-that-nobody-may-see-0123456789",
}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return SECRETS


def holding(folder: Path, secrets: dict[str, str]) -> list[str]:
    """Return every file of a folder, binary ones too, that holds a secret."""
    return [
        f"{file.relative_to(folder)}: {name}"
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        for name, value in secrets.items()
        if value.encode() in file.read_bytes()
    ]


@pytest.fixture
def base(tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path) -> Path:
    tiny.save(tmp_path / "model", layers=2, spread=0.05)
    dialogues.write(tmp_path / "made.jsonl", 40)
    return tmp_path


def program(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a process of its own: W&B takes hold of the outputs of the one it runs in."""
    command = [sys.executable, "-m", "personatune", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_search_finds_a_secret_in_a_binary_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x.bin").write_bytes(b"\0\xff" + SECRETS["HF_TOKEN"].encode())
    assert holding(tmp_path, SECRETS) == ["deep/x.bin: HF_TOKEN"]


def test_a_tracked_training_and_its_report_hold_no_secret(
    base: Path, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(base / "trackio"))
    monkeypatch.setenv("WANDB_DIR", str(base))
    runs = base / "runs"
    backends = "tracking.backends=[csv,wandb,tensorboard]"
    prepared = program(*beginning("prepare", "tiny", base, runs, backends))
    trained = program("sft", "--run", "tiny", "--runs", str(runs))
    assert (prepared.returncode, trained.returncode) == (0, 0), trained.stderr
    build_report(runs / "tiny")
    assert list(runs.rglob("*.wandb"))
    assert list(runs.rglob("events.out.tfevents*"))
    assert (runs / "tiny/report/report.html").is_file()
    assert holding(runs, secrets) == []
    printed = prepared.stdout + prepared.stderr + trained.stdout + trained.stderr
    assert not [name for name, value in secrets.items() if value in printed]


def test_a_failure_that_quotes_a_secret_is_told_without_it(
    base: Path, secrets: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError(f"401 for url https://api:{secrets['WANDB_API_KEY']}@example.org ({secrets['HF_TOKEN']})")

    monkeypatch.setattr("wandb.init", broken)
    runs = base / "runs"
    assert call(*beginning("prepare", "tiny", base, runs, "tracking.backends=[csv,wandb]")) == 0
    assert call("sft", "--run", "tiny", "--runs", str(runs)) == 2
    told = capsys.readouterr().err
    assert "wandb can't start" in told
    assert not [name for name, value in secrets.items() if value in told]
    assert holding(runs, secrets) == []


def test_a_users_error_never_quotes_a_secret_of_the_environment(secrets: dict[str, str]) -> None:
    from personatune.errors import UserError

    line = str(UserError(f"hub: refused the token {secrets['HF_TOKEN']} and {secrets['AWS_SECRET_ACCESS_KEY']}"))
    assert line == "hub: refused the token (hidden) and (hidden)"


def test_the_servers_key_is_in_no_log_and_no_answer(
    tiny: TinyModels, secrets: dict[str, str], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    import httpx

    key = secrets["PERSONATUNE_API_KEY"]
    caplog.set_level(logging.DEBUG)
    with serving(Echo(tiny.prompts()), api_key=key) as served:
        answers = []
        for given in (key, f"{key}x", "wrong"):
            headers = {"Authorization": f"Bearer {given}"}
            for path in ("/v1/models", "/v1/models/none", "/health", "/nowhere", f"/v1/models?key={given}"):
                answers.append(httpx.get(served.url + path, headers=headers))
            body = json.dumps({"model": "persona-1", "messages": HI}).encode()
            for content in (body, b"{", body.replace(b"Hi,", b"BREAK")):
                answers.append(
                    httpx.post(f"{served.url}/v1/chat/completions", content=content, headers=headers, timeout=60)
                )
    assert {answer.status_code for answer in answers} >= {200, 401, 400, 404}
    assert not [answer.url for answer in answers if key in answer.text + str(answer.headers)]
    own = [record.getMessage() for record in caplog.records if record.name.split(".")[0] in ("personatune", "uvicorn")]
    assert not [line for line in own if key in line]
    printed = capsys.readouterr()
    assert key not in printed.out + printed.err
