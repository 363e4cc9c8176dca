"""The command line: fast before it works, one line for a mistake, every stage a command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from personatune.pipeline.run import STAGES

HEAVY = ("torch", "transformers", "pydantic", "sklearn", "matplotlib", "datasets", "pandas", "peft")


def program(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "personatune", *words],
        capture_output=True, text=True, timeout=60, cwd=folder, check=False,
    )  # fmt: skip


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "sys.argv = ['personatune', '--help']\n"
        "from personatune.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print('loaded:', sorted(set({HEAVY!r}) & sys.modules.keys()))\n"
    )
    answered = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert answered.stdout.splitlines()[-1] == "loaded: []"


def test_help_names_every_stage_and_group() -> None:
    answered = program("--help")
    assert (answered.returncode, answered.stderr) == (0, "")
    named = {
        line.split()[1] for line in answered.stdout.splitlines() if line.startswith("│ ") and len(line.split()) > 2
    }
    others = {"dpo", "compare-methods", "run", "chat", "demo", "serve", "doctor", "rank"}
    others |= {"cards", "data", "engagement", "judge", "probes"}
    assert {*STAGES, *others} <= named


@pytest.mark.parametrize(
    "command",
    [
        *STAGES,
        "dpo",
        "compare-methods",
        "run",
        "chat",
        "serve",
        "demo",
        "doctor",
        "cards show",
        "export",
        "data inspect",
        "engagement fit",
        "judge train",
        "preferences inspect",
        "probes check",
        "probes show",
    ],
)
def test_every_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from personatune.cli import app

    app([*command.split(), "--help"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert f"{command} [OPTIONS]" in shown
    assert len(shown.splitlines()) > 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--preset", "quik"], "quik: neither a preset"),
        (["sft", "--run", "nothing"], "runs/nothing: no such run; start one: personatune run --name nothing"),
        (["chat", "--model", "flagshop"], "--model flagshop: neither a folder nor a model that can be loaded"),
        (["chat", "--model", "tfidf"], "--model tfidf: nobody to talk to"),
        (["chat", "--model", "sft"], "--model sft: which run's?"),
        (["chat", "--run", "nothing"], "runs/nothing: no such run"),
        (["chat", "--persona", "nothing.png"], "nothing.png: no such file"),
        (["cards", "show", "nothing.charx"], "nothing.charx: no such file"),
        (["judge", "pairs", "nothing.tsv"], "nothing.tsv: can't be read"),
        (["rank", "nothing.txt", "--model", "tfidf"], "nothing.txt"),
        (["evaluate", "--model", "base", "--on", "convai"], "convai"),
        (["preferences", "inspect", "nothing"], "nothing: neither a file of preference pairs nor a run under runs"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(words: list[str], message: str, tmp_path: Path) -> None:
    answered = program(*words, folder=tmp_path)
    assert (answered.returncode, answered.stdout) == (2, "")
    assert answered.stderr.startswith("personatune: ")
    assert answered.stderr.count("\n") == 1
    assert message in answered.stderr
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_an_unknown_command_is_exit_code_2() -> None:
    answered = program("trian")
    assert answered.returncode == 2
    assert "No such command 'trian'" in answered.stderr
    assert "Traceback" not in answered.stderr


def test_an_interrupt_inside_an_exec_ends_with_130_too(tmp_path: Path) -> None:
    """CPython remembers such a one as unhandled, and ends the process by SIGINT in the end."""
    (tmp_path / "stopped.py").write_text(
        "from personatune import cli\n"
        "from personatune.cli.options import told_interrupts\n"
        "@cli.app.command()\n"
        "def work() -> None:\n"
        "    with told_interrupts():\n"
        "        exec('raise KeyboardInterrupt')\n"
        "cli.main()\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "stopped", "work"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130, done.stderr
    assert "stopped; what was reached is saved" in done.stderr
