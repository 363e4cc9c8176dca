"""DPO beside a run's own road, and every method from one SFT checkpoint, on a tiny model."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tests.program import call

from personatune.errors import UserError
from personatune.model.generation import Sampling
from personatune.pipeline.contenders import load_contender
from personatune.pipeline.methods import METHODS
from personatune.pipeline.models import load_model, trained_models
from personatune.pipeline.run import Run
from personatune.storage import read_json, write_json
from personatune.training.dpo import DPOTrainer

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

pytestmark = pytest.mark.xdist_group("a run with a reward model")

SMALL = (
    "model.max_length=384", "lora.rank=4", "data.validation_share=0.2", "data.test_share=0.2",
    "tracking.backends=[csv]", "data.max_dialogues=24", "sft.batch_size=4", "sft.learning_rate=1e-2",
    "sft.validation_dialogues=6", "sft.evaluations=2", "preferences.pairs=16", "preferences.test_pairs=10",
    "preferences.ppo_prompts=12", "preferences.max_new_tokens=6", "branch.layers=1", "branch.rank=2",
    "reward.epochs=1", "dpo.learning_rate=5e-3", "ppo.prompts_per_update=2", "ppo.max_new_tokens=6",
    "ppo.judge_every=50", "ppo.judge_personas=2", "ppo.kl_budget=100",
    "evaluation.personas=3", "evaluation.turns=5", "evaluation.quality_contexts=4",
    "evaluation.perplexity_dialogues=4", "evaluation.max_new_tokens=6", "evaluation.bootstrap_samples=100",
)  # fmt: skip


@pytest.fixture(scope="module")
def aligned(tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs after SFT, preferences, reward model and DPO."""
    folder = tmp_path_factory.mktemp("methods")
    runs = folder / "runs"
    tiny.save(folder / "model", layers=2, spread=0.05)
    dialogues.write(folder / "made.jsonl", 60)
    chosen = [word for setting in SMALL for word in ("--set", setting)]
    places = ["--model", str(folder / "model"), "--data", str(folder / "made.jsonl")]
    assert call("prepare", "--name", "tiny", *places, "--runs", str(runs), *chosen) == 0
    for stage in ("sft", "preferences", "reward", "dpo"):
        assert call(stage, "--run", "tiny", "--runs", str(runs)) == 0
    return runs


class Program:
    """Calls the program on a folder of runs and keeps what it printed."""

    def __init__(self, runs: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.runs, self._capture = runs, capture

    def __call__(self, command: str, *words: str) -> tuple[int, str, str]:
        self._capture.readouterr()
        code = call(command, "--run", "tiny", "--runs", str(self.runs), *words)
        printed = self._capture.readouterr()
        return code, printed.out, printed.err

    @property
    def run(self) -> Run:
        return Run.open(self.runs, "tiny")


@pytest.fixture
def program(aligned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Program:
    shutil.copytree(aligned, tmp_path / "runs")
    shutil.copytree(aligned.parent / "model", tmp_path / "model")
    return Program(tmp_path / "runs", capsys)


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def test_dpo_leaves_a_model_of_the_run_and_says_how_it_ranks(program: Program) -> None:
    folder = program.run.directory / "dpo"
    summary = read(folder / "summary.json")
    test_pairs = (program.run.directory / "preferences" / "test.jsonl").read_text().count("\n")
    assert (summary["pairs"], summary["steps"], summary["held_out"]["n"]) == (16, 4, test_pairs)
    assert summary["looks"][0]["step"] == 0
    assert "reference_likelihood_accuracy" in summary["held_out"]
    assert not list(folder.rglob("checkpoint-*"))
    assert trained_models(program.run) == ["base", "sft", "dpo"]
    ids = torch.tensor([[5, 9, 40, 77, 120, 33]])
    with torch.no_grad():
        apart = load_model(program.run, "dpo")(input_ids=ids).logits - load_model(program.run, "sft")(ids).logits
    assert float(apart.abs().max()) > 1e-4
    costs = [json.loads(row)["stage"] for row in (program.run.directory / "costs.jsonl").read_text().splitlines()]
    assert costs.count("dpo") == 1


def test_the_adapter_is_the_policy_on_the_sft_model_in_plain_peft(program: Program) -> None:
    from peft import PeftModel

    policy = PeftModel.from_pretrained(load_model(program.run, "sft"), str(program.run.directory / "dpo" / "branch"))
    ids = torch.tensor([[5, 9, 40, 77, 120, 33]])
    with torch.no_grad():
        assert torch.allclose(load_model(program.run, "dpo")(ids).logits, policy(input_ids=ids).logits, atol=1e-4)


def test_a_second_call_does_nothing_and_other_settings_want_another_name(program: Program) -> None:
    code, out, err = program("dpo")
    assert (code, err) == (0, "")
    assert out.strip() == "dpo of run tiny is done already; --redo starts it over, --as NAME makes another"
    code, _, err = program("dpo", "--set", "dpo.beta=0.5")
    assert (code, err.count("\n")) == (2, 1)
    assert "dpo: begun with other settings; --redo starts it over, --as gives another one a name of its own" in err


def test_a_setting_that_was_not_there_yet_makes_no_other_training(program: Program) -> None:
    place = program.run.folder("dpo") / "begun.json"
    begun = read_json(place)
    del begun["settings"]["branch"]["critic_layers"]  # as a version without it wrote
    write_json(place, begun)
    code, out, err = program("dpo")
    assert (code, err) == (0, "")
    assert out.startswith("dpo of run tiny is done already")


def test_any_preference_file_makes_a_model_under_a_name_of_its_own(program: Program, tmp_path: Path) -> None:
    own = program.run.directory / "preferences" / "train.jsonl"
    rows = [json.loads(row) for row in own.read_text(encoding="utf-8").splitlines()][:6]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({**row, "kind": "vote"}) + "\n" for row in rows))
    words = ("--pairs", str(file), "--as", "mine", "--set", "dpo.reference=false", "--set", "dpo.epochs=1")
    code, _, err = program("dpo", *words)
    assert (code, err) == (0, "")
    assert read(program.run.directory / "mine" / "summary.json")["pairs"] == 6
    assert trained_models(program.run) == ["base", "sft", "dpo", "mine"]
    file.write_text(file.read_text().replace("the", "a", 1) + json.dumps(rows[0]) + "\n")
    code, _, err = program("dpo", *words)
    assert code == 2
    assert "mine: begun with other preference pairs" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--as", "sft"], "--as sft: a folder of the run's own; take another name"),
        (["--as", "../x"], "--as '../x': expected letters"),
        (["--as", "x", "--set", "sft.epochs=3"], "--set sft.…: that was settled when the run tiny began; expected one"),
        (["--as", "x", "--pairs", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
    ],
)
def test_mistakes_are_told_in_a_line_and_leave_nothing(program: Program, words: list[str], told: str) -> None:
    code, _, err = program("dpo", *words)
    assert (code, err.count("\n")) == (2, 1)
    assert told in err
    assert "x" not in program.run.finished()


def test_what_a_model_was_made_from_takes_it_along_when_it_goes(program: Program) -> None:
    program.run.forget("preferences")
    assert trained_models(program.run) == ["base", "sft"]
    assert not (program.run.directory / "dpo").exists()
    with pytest.raises(UserError, match="chat of run tiny needs dpo first; run: personatune dpo --run tiny"):
        load_model(program.run, "dpo")
    with pytest.raises(UserError, match="run tiny has no model 'sfd'; it has base, sft; did you mean 'sft'"):
        load_model(program.run, "sfd")


def test_after_ctrl_c_the_same_command_goes_on(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read(program.run.directory / "dpo" / "summary.json")
    step = DPOTrainer._step
    pressed: list[int] = []

    def pressing(self: DPOTrainer, *args: Any) -> dict[str, float]:
        if not pressed:
            pressed.append(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args)

    monkeypatch.setattr(DPOTrainer, "_step", pressing)
    code, _, err = program("dpo", "--redo")
    assert (code, len(pressed)) == (130, 1)
    assert "stopped; what was reached is saved, the same command goes on there" in err
    assert "dpo" not in program.run.finished()
    assert program("dpo")[0] == 0
    found = read(program.run.directory / "dpo" / "summary.json")
    assert found["held_out"] == expected["held_out"]
    segments = [json.loads(row)["stage"] for row in (program.run.directory / "costs.jsonl").read_text().splitlines()]
    assert segments.count("dpo") == 2


def test_models_of_the_run_are_contenders_with_a_strategy_behind_their_name(
    program: Program, dialogues: type[HandMadeDialogues]
) -> None:
    contexts = dialogues.contexts(3, seed=5)
    sampling = Sampling(max_new_tokens=6)
    dpo = load_contender("tiny/dpo", runs=program.runs, sampling=sampling)
    best = load_contender("dpo+best-of-3", run="tiny", runs=program.runs, sampling=sampling)
    critic = load_contender("tiny/sft+critic-2", runs=program.runs, sampling=sampling)
    assert dpo.respond is not None
    assert best.respond is not None
    assert dpo.decoding == {**sampling.to_json()}
    assert best.decoding == {**sampling.to_json(), "strategy": "best-of-3"}
    assert "reward model of run tiny" in best.identity["picked_by"]
    assert best.identity["weights"] == dpo.identity["weights"]
    assert critic.identity["picked_by"].startswith("critic ")
    assert len(best.respond(contexts)) == len(dpo.respond(contexts)) == 3
    say, again = best.in_dialogues(seed=1), best.in_dialogues(seed=1)
    assert say is not None
    assert again is not None
    assert say(contexts) == again(contexts)
    with pytest.raises(UserError, match="best-of asks the reward model of a run"):
        load_contender(f"{program.runs.parent / 'model'}+best-of-3", runs=program.runs)


def test_the_chat_talks_with_a_variant_and_a_strategy(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello there!\n/quit\n"))
    code, out, err = program("chat", "--model", "dpo+critic-2", "--persona", "I have two dogs.", "--temperature", "0")
    assert (code, err) == (0, "")
    assert len(out.strip().splitlines()) > 2
    code, _, err = program("chat", "--model", "sfd+critic")
    assert code == 2
    assert "--model sfd: neither a folder nor a model that can be loaded; did you mean 'sft'?" in err


def times(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("result.json")}


@pytest.mark.slow
def test_every_method_gets_a_row_with_figures_and_seconds_and_is_kept(program: Program) -> None:
    ledger = [json.loads(row) for row in (program.run.directory / "costs.jsonl").read_text().splitlines()]
    reward = sum(row["wall_seconds"] for row in ledger if row["stage"] == "reward")
    budget = reward + 2.0
    few = ("compare-methods", "--seeds", "2", "--budget", f"{budget}")
    code, out, err = program(*few)
    assert (code, err) == (0, "")
    folder = program.run.directory / "methods"
    comparison = read(folder / "comparison.json")
    rows = {row["method"]: row for row in comparison["methods"]}
    assert list(rows) == list(METHODS)
    for name, row in rows.items():
        assert row["seeds"] == ([0] if name == "sft" else [0, 1])
        for metric in ("probe_consistency", "contradicting_lines", "distinct_2", "reply_words"):
            figure = row["metrics"][metric]
            assert figure["low"] <= figure["value"] <= figure["high"]
            assert len(figure["by_seed"]) == len(row["seeds"])
        assert row["seconds_per_reply"] > 0
        assert name in out
    assert rows["sft"]["training_seconds"] == rows["critic"]["training_seconds"] == 0
    for name in ("ppo", "rloo", "grpo"):
        assert rows[name]["reward_model_seconds"] == pytest.approx(reward)
        assert 2.0 <= rows[name]["training_seconds"] < 60
        assert "its 2 seconds were spent" in rows[name]["stopped"][0]
    assert rows["dpo"]["reward_model_seconds"] == 0
    assert rows["critic"]["tokens_per_reply"] > 5 * rows["sft"]["tokens_per_reply"]
    assert len(comparison["differences"]) == 21  # every pair of seven
    assert (folder / "comparison.md").read_text().count("\n| rloo |") == 4
    before = times(folder)
    assert len(before) == 13
    assert program(*few)[0] == 0
    assert times(folder) == before  # nothing was done twice
    (folder / "rloo" / "seed-1" / "result.json").unlink()
    assert program(*few)[0] == 0
    after = times(folder)
    assert {place for place, time in after.items() if before[place] != time} == {
        str(folder / "rloo" / "seed-1" / "result.json")
    }
    again = {row["method"]: row["metrics"] for row in read(folder / "comparison.json")["methods"]}
    for metric, figure in again["rloo"].items():  # judged anew, trained once
        assert figure["by_seed"] == pytest.approx(rows["rloo"]["metrics"][metric]["by_seed"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "dpp"], "--method dpp: expected one of sft, dpo, ppo, rloo, grpo, best-of-8, critic"),
        ([], "takes what its reward model and PPO took as the budget, and PPO isn't done"),
        (["--budget", "1", "--method", "ppo"], "the reward model alone took"),
    ],
)
def test_a_comparison_that_cant_begin_says_why(program: Program, words: list[str], told: str) -> None:
    ledger = program.run.directory / "costs.jsonl"
    rows = [json.loads(row) for row in ledger.read_text().splitlines()]
    longer = [{**row, "wall_seconds": 50.0} if row["stage"] == "reward" else row for row in rows]
    ledger.write_text("".join(json.dumps(row) + "\n" for row in longer))
    code, _, err = program("compare-methods", *words)
    assert (code, err.count("\n")) == (2, 1)
    assert told in err
