"""Every command in README and docs/ exists with its options and settings, and those that say so are run for real."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from doc_commands import ROOT, Command, documented_commands, pages, problem, shown_files, stray_commands

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

SMALL = {
    "model.max_length": "384", "lora.rank": "4", "data.validation_share": "0.2", "data.test_share": "0.2",
    "data.max_dialogues": "24", "data.written": "0", "tracking.backends": "[csv]", "sft.batch_size": "4",
    "sft.max_steps": "4", "sft.validation_dialogues": "6", "sft.evaluations": "2", "sft.compile": "off",
    "preferences.pairs": "16", "preferences.test_pairs": "10", "preferences.ppo_prompts": "12",
    "preferences.max_new_tokens": "6", "branch.layers": "1", "branch.rank": "2", "reward.epochs": "1",
    "ppo.updates": "2", "ppo.prompts_per_update": "2", "ppo.max_new_tokens": "6", "ppo.judge_every": "1",
    "ppo.judge_personas": "2", "ppo.kl_budget": "100", "ppo.on_untrusted_reward": "warn", "evaluation.judge": "none",
    "evaluation.personas": "3", "evaluation.turns": "5", "evaluation.quality_contexts": "4",
    "evaluation.perplexity_dialogues": "4", "evaluation.max_new_tokens": "6", "evaluation.bootstrap_samples": "100",
    "compare.target_evaluation": "1", "compare.choice_steps": "1",
}  # fmt: skip
"""Settings with which a whole run takes seconds; a command's own ``--set`` goes before them."""

BEGINS = ("run", "prepare")
CHATTED = "Hello!\n/why\n/quit\n"

PAGES = pages()
COMMANDS = [command for page in PAGES for command in documented_commands(page)]
RUN = {page: [command for command in documented_commands(page) if command.run] for page in PAGES}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_documented_command_can_be_given_as_it_stands(page: Path) -> None:
    wrong = [f"{command}: {found}" for command in documented_commands(page) if (found := problem(command))]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_command_hides_from_the_check_outside_of_a_block(page: Path) -> None:
    assert stray_commands(page) == []


def test_the_check_reads_the_pages_that_show_commands() -> None:
    shown = {Path(command.page).name for command in COMMANDS if command.program in {"personatune", "accelerate"}}
    assert {"README.md", "cards.md", "evaluation.md", "distributed.md", "methods.md", "faq.md", "own-data.md"} <= shown
    assert {command.program for command in COMMANDS} >= {"personatune", "make", "accelerate", "pip", "python"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("personatune trian", "trian"),
        ("personatune sft --rum demo", "--rum"),
        ("personatune cards transform a.png b.json", "transform"),
        ("personatune cards convert a.png b.json --to v9", "v9"),
        ("personatune run --set sft.learnign_rate=1", "learnign_rate"),
        ("personatune run --set sft.epochs=0", "sft.epochs"),
        ("personatune run --preset quik", "quik"),
        ("personatune evaluate --model base --on prboes", "prboes"),
        ("personatune evaluate --model sft+crtic", "sft+crtic"),
        ("personatune evaluate --model base --probes-split tset", "tset"),
        ("personatune compare-methods --method dop", "dop"),
        ("personatune estimate --memory lots", "lots"),
        ("personatune rank --model base", "files"),
        ("make demon", "demon"),
        ("make flagship DATE=x", "DATE"),
        ("pip install 'personatune[qlorra]'", "qlorra"),
        ("python benchmarks/nothing.py", "nothing.py"),
        ("python benchmarks/decoding.py --raws 4", "--raws"),
        ("accelerate launch --num_processes 2 -m personatune run --nmae x", "--nmae"),
        ("accelerate launch --num_processes 2 train.py", "train.py"),
    ],
)
def test_the_check_sees_a_wrong_command(text: str, told: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```sh\n{text}\n```\n", encoding="utf-8")
    (command,) = documented_commands(page)
    assert told.lower() in str(problem(command)).lower()


def test_a_command_is_read_over_its_lines_without_its_comment(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text of `personatune sft` and `make TARGET`.\n\n```sh\n# run by the tests\nOMP_NUM_THREADS=1 "
        ".venv/bin/personatune evaluate --model base \\\n    --on probes  # so\nwandb sync x\n```\n\n"
        "```yaml\nx: 1\n```\n",
        encoding="utf-8",
    )
    first, make, evaluate, other = documented_commands(page)
    assert (first.words, make.words) == (("personatune", "sft"), ("make", "TARGET"))
    assert (first.inline, first.run) == (True, False)
    assert evaluate.words == (".venv/bin/personatune", "evaluate", "--model", "base", "--on", "probes")
    assert (evaluate.line, evaluate.program, evaluate.run) == (5, "personatune", True)
    assert (other.program, other.run) == ("wandb", False)


def test_a_command_in_an_indented_or_nameless_block_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```\npersonatune sft\n```\n\n    personatune run\n\npersonatune reads it.\n", encoding="utf-8")
    assert stray_commands(page) == ["personatune sft", "    personatune run"]


class Reader:
    """A fresh folder as a reader of a page has it: the files that the page shows, dialogues and a card of one's own."""

    def __init__(self, page: Path, folder: Path, tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> None:
        self.folder = folder
        self.model = tiny.save(folder / "tiny-model", layers=2, spread=0.05)
        dialogues.write(folder / "dialogues.jsonl", 60)
        card = {
            "spec": "chara_card_v2",
            "spec_version": "2.0",
            "data": {"name": "Mara", "description": "{{char}} sings."},
        }
        (folder / "mara.json").write_text(json.dumps(card), encoding="utf-8")
        assert self.call("cards", "convert", "mara.json", "mara.png") == 0
        (folder / "mara.json").unlink()
        for name, text in shown_files(page).items():
            (folder / name).write_text(text, encoding="utf-8")

    def call(self, *words: str) -> int:
        """Run the program in this process as its entry point does."""
        from personatune.cli import main

        sys.argv = ["personatune", *words]
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    def try_out(self, command: Command) -> int:
        """Run a command of the page; what needs a model gets the tiny one, and a beginning run small settings."""
        name, *rest = command.words[1:]
        if "--run" in rest:
            self.need_run(rest[rest.index("--run") + 1])
        if rest[:1] == ["inspect"] and name == "preferences" and not (self.folder / rest[1]).exists():
            self.need_run(rest[1])
        if name in BEGINS:
            rest += self._small(rest)
        if (name in {*BEGINS, "chat"} or (name, rest[:1]) == ("data", ["inspect"])) and not {"--model", "--run"} & {
            *rest
        }:
            rest += ["--model", str(self.model)]
        if name == "evaluate":
            rest += ["--base", str(self.model), "--judge", "none", "--set", "evaluation.max_new_tokens=6"]
        return self.call(name, *rest)

    def need_run(self, name: str) -> None:
        """Make the run that a page takes for granted."""
        if not (self.folder / "runs" / name).exists():
            begin = ["--name", name, "--data", "dialogues.jsonl", "--model", str(self.model)]
            assert self.call("run", *begin, *self._small([])) == 0

    @staticmethod
    def _small(given: list[str]) -> list[str]:
        own = {word.partition("=")[0] for word in given}
        return [word for key, value in SMALL.items() if key not in own for word in ("--set", f"{key}={value}")]


@pytest.fixture
def reader(
    request: pytest.FixtureRequest, tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Reader:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["personatune"])
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("sys.stdin", io.StringIO(CHATTED))
    return Reader(request.param, tmp_path, tiny, dialogues)


def trains(page: Path) -> bool:
    """Whether a page's commands train, or judge what was trained."""
    return any(command.words[1] in {*BEGINS, "sft", "dpo", "export", "evaluate", "report"} for command in RUN[page])


def marked(page: Path) -> object:
    marks = [pytest.mark.slow] if trains(page) else []
    return pytest.param(page, id=name_of(page), marks=marks)


@pytest.mark.parametrize("reader", [marked(page) for page in PAGES if RUN[page]], indirect=True)
def test_the_commands_that_say_so_run_one_after_the_other(
    reader: Reader, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    page: Path = request.node.callspec.params["reader"]
    for command in RUN[page]:
        capsys.readouterr()
        code = reader.try_out(command)
        printed = capsys.readouterr()
        too_large = command.words[1] == "estimate" and "GiB can be had; " in printed.out
        assert code == (1 if too_large else 0), f"{command}: exit code {code}: {printed.err or printed.out}"
        assert printed.out.strip(), f"{command}: printed nothing"
