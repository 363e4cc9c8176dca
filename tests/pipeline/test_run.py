"""The whole road on a tiny model: every stage joined, each resumable, mistakes told in one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from tests.program import call

from personatune.config import save_config
from personatune.dialogue import Context, Persona, PreferencePair, Turn
from personatune.pipeline.run import BUILDS_ON, STAGES, Run
from personatune.training.tracking import open_tracker

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

pytestmark = pytest.mark.xdist_group("a whole run")

SMALL = (
    "model.max_length=384", "lora.rank=4", "data.validation_share=0.2", "data.test_share=0.2",
    "tracking.backends=[csv]", "data.max_dialogues=24", "sft.batch_size=4", "sft.learning_rate=1e-2",
    "sft.validation_dialogues=6",
    "sft.evaluations=2", "preferences.pairs=16", "preferences.test_pairs=10", "preferences.ppo_prompts=12",
    "preferences.max_new_tokens=6", "branch.layers=1", "branch.rank=2", "reward.epochs=1", "ppo.updates=2",
    "ppo.prompts_per_update=2", "ppo.max_new_tokens=6", "ppo.judge_every=1", "ppo.judge_personas=2",
    "ppo.kl_budget=100",
    "evaluation.personas=3", "evaluation.turns=5", "evaluation.quality_contexts=4", "evaluation.perplexity_dialogues=4",
    "evaluation.max_new_tokens=6", "evaluation.bootstrap_samples=100", "compare.target_evaluation=1",
)  # fmt: skip
Outcome = tuple[int, str, str]


def beginning(command: str, name: str, base: Path, runs: Path, *settings: str) -> list[str]:
    """The words that begin a run with small settings."""
    chosen = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    places = ["--model", str(base / "model"), "--data", str(base / "made.jsonl"), "--runs", str(runs)]
    return [command, "--name", name, *places, *chosen]


class CommandLine:
    """Calls the program on one folder of runs and keeps what it printed."""

    def __init__(self, folder: Path, base: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self.base, self._capture = folder, base, capture

    def __call__(self, *words: str) -> Outcome:
        self._capture.readouterr()
        code = call(*words)
        printed = self._capture.readouterr()
        return code, printed.out, printed.err

    def begin(self, command: str = "run", name: str = "tiny", *settings: str) -> Outcome:
        return self(*beginning(command, name, self.base, self.folder, *settings))

    def stage(self, command: str, *more: str, name: str = "tiny") -> Outcome:
        return self(command, "--run", name, "--runs", str(self.folder), *more)


@pytest.fixture(scope="module")
def base(tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base model and dialogues."""
    folder = tmp_path_factory.mktemp("base")
    tiny.save(folder / "model", layers=2, spread=0.05)
    dialogues.write(folder / "made.jsonl", 60)
    return folder


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs after one whole run, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    assert call(*beginning("run", "tiny", base, folder)) == 0
    return folder


@pytest.fixture
def program(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The program with an empty folder of runs."""
    return CommandLine(tmp_path / "runs", base, capsys)


@pytest.fixture
def done(program: CommandLine, finished: Path) -> CommandLine:
    """The program with a finished run called tiny."""
    shutil.copytree(finished, program.folder)
    return program


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def times(folder: Path) -> dict[str, int]:
    """Return when each file was written; the lock's own is touched by whoever takes it (filelock before 3.20)."""
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("[!.]*") if file.is_file()}


def manifest(runs: Path, name: str = "tiny") -> list[str]:
    rows = (runs / name / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(row)["stage"] for row in rows]


def test_a_whole_run_leaves_its_report(finished: Path) -> None:
    run = finished / "tiny"
    report = read(run / "report" / "report.json")
    assert manifest(finished) == list(STAGES)
    assert set(report["models"]) >= {"base", "sft", "ppo"}
    for model in ("base", "sft", "ppo"):
        probe = report["models"][model]["probe_consistency"]
        assert 0 <= probe["low"] <= probe["value"] <= probe["high"] <= 1
        assert probe["n"] > 0
        assert {"prompt_to_line", "contradicting_lines", "relevance"} <= set(report["models"][model])
        assert report["judge"][model]["name"].startswith("critic ")
    assert {goal["name"] for goal in report["goals"]}
    assert all(set(goal) >= {"name", "target", "value", "met"} for goal in report["goals"])
    costs = [json.loads(row) for row in (run / "costs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["stage"] for row in costs} == set(STAGES)
    assert all(row["wall_seconds"] > 0 for row in costs)
    for file in ("report.md", "report.html"):
        assert (run / "report" / file).stat().st_size > 1000


def test_sft_learned_and_ppo_started_at_the_reference(finished: Path) -> None:
    sft = read(finished / "tiny" / "sft" / "summary.json")
    assert sft["best"]["loss"] < sft["curve"][0]["loss"]
    ppo = read(finished / "tiny" / "ppo" / "summary.json")
    assert ppo["updates"] == 2
    assert ppo["self_checks"]["kl_of_first_batch"] == 0.0
    assert ppo["kl_start"] == pytest.approx(0.0, abs=1e-3)


def test_the_joined_adapter_is_the_ppo_policy_in_plain_peft(finished: Path, base: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = finished / "tiny"
    ids = torch.tensor([[5, 9, 40, 77, 120, 33]])

    def plain(adapter: Path, model: Any) -> Any:
        return PeftModel.from_pretrained(model, str(adapter))

    untouched = AutoModelForCausalLM.from_pretrained(base / "model")
    two = plain(run / "ppo" / "branch", plain(run / "sft" / "adapter", untouched).merge_and_unload())
    joined = plain(run / "ppo" / "adapter", AutoModelForCausalLM.from_pretrained(base / "model"))
    with torch.no_grad():
        assert torch.allclose(joined(input_ids=ids).logits, two(input_ids=ids).logits, atol=1e-4)


def test_no_checkpoint_is_left_behind(finished: Path) -> None:
    assert list(finished.rglob("checkpoint-*")) == []
    assert list(finished.rglob("*.part")) == []


def test_no_persona_crosses_from_training_into_the_tests(finished: Path) -> None:
    run = finished / "tiny" / "prepare"

    def personas(part: str) -> set[tuple[str, ...]]:
        rows = (run / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
        return {tuple(sorted(json.loads(row)["persona"]["traits"])) for row in rows}

    assert personas("train")
    assert personas("test")
    assert not personas("train") & (personas("test") | personas("validation"))


def test_votes_join_the_pairs_of_a_run_and_are_counted(done: CommandLine, tmp_path: Path) -> None:
    run = done.folder / "tiny"
    trained, tested = (
        json.loads((run / "prepare" / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()[0])
        for part in ("train", "test")
    )
    pairs = {
        name: PreferencePair(
            Context(Persona(tuple(traits)), (Turn("partner", "Hi!"),)), "Hello!", "Go away.", "given", "the demo"
        )
        for name, traits in (("trained", trained["persona"]["traits"]), ("tested", tested["persona"]["traits"]))
    }
    votes = tmp_path / "votes.jsonl"
    votes.write_text("".join(json.dumps(pair.to_json()) + "\n" for pair in pairs.values()), encoding="utf-8")
    made = (run / "preferences" / "train.jsonl").read_text(encoding="utf-8")
    opened = Run.open(done.folder, "tiny")
    opened.forget("preferences")
    opened.config.preferences.votes = str(votes)
    save_config(opened.config, run / "config.yaml")
    code, _, err = done.stage("preferences")
    assert (code, err) == (0, "")
    expected = {**pairs["trained"].to_json(), "kind": "vote"}
    written = (run / "preferences" / "train.jsonl").read_text(encoding="utf-8")
    assert written.startswith(made)
    assert [json.loads(row) for row in written.removeprefix(made).splitlines()] == [expected]
    assert read(run / "preferences" / "summary.json")["votes"] == {
        "file": str(votes), "train": 1, "test": 0,
        "dropped": {"shares a persona sentence with what models are tested on": 1},
    }  # fmt: skip
    votes.unlink()
    code, _, err = done.stage("preferences", "--redo")
    assert (code, err.count("\n")) == (2, 1)
    assert "votes.jsonl: can't be read" in err


def test_a_second_call_does_nothing_and_says_that_it_is_done(done: CommandLine) -> None:
    before = times(done.folder)
    code, out, err = done.begin()
    assert (code, err) == (0, "")
    assert "Run tiny is done already" in out
    assert times(done.folder) == before


def test_other_settings_under_the_same_name_are_refused(done: CommandLine) -> None:
    before = times(done.folder)
    code, out, err = done.begin("run", "tiny", "sft.epochs=7")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "begun with other settings (sft.epochs: 1, now 7); take another --name" in err
    assert times(done.folder) == before


def test_redo_starts_a_stage_over_with_those_that_build_on_it(done: CommandLine) -> None:
    run = done.folder / "tiny"
    sft = times(run / "sft")
    code, _, err = done.stage("ppo", "--redo")
    assert (code, err) == (0, "")
    assert manifest(done.folder) == [s for s in STAGES if s not in ("ppo", "evaluate", "report")] + ["ppo"]
    assert not (run / "evaluate").exists()
    assert not (run / "report").exists()
    assert times(run / "sft") == sft
    costs = [json.loads(row)["stage"] for row in (run / "costs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert costs.count("ppo") == 1  # the cost of what was thrown away is gone with it
    code, _, _ = done.begin()
    assert code == 0
    assert set(manifest(done.folder)) == set(STAGES)
    assert (run / "report" / "report.json").is_file()


def test_a_stage_that_is_done_says_so(done: CommandLine) -> None:
    code, out, _ = done.stage("sft")
    assert (code, out.strip()) == (0, "sft of run tiny is done already; --redo starts it over")


class _CtrlC:
    """Presses Ctrl-C at one step of one stage, the first time it comes."""

    def __init__(self, stage: str, step: int, key: str) -> None:
        self.stage, self.step, self.key = stage, step, key
        self.pressed = False

    def opening(self, open_tracker: Callable[..., Any]) -> Callable[..., Any]:
        def opened(*args: Any, **options: Any) -> Any:
            tracker = open_tracker(*args, **options)
            if options["stage"] == self.stage:
                plain = tracker.log

                def log(metrics: Mapping[str, float], step: int) -> None:
                    plain(metrics, step)
                    if step == self.step and self.key in metrics and not self.pressed:
                        self.pressed = True
                        os.kill(os.getpid(), signal.SIGINT)

                tracker.log = log
            return tracker

        return opened


@pytest.mark.parametrize(("stage", "step", "key"), [("sft", 2, "train_loss"), ("reward", 1, "loss"), ("ppo", 1, "kl")])
def test_after_ctrl_c_the_same_command_goes_on_and_arrives_at_the_same_models(
    done: CommandLine, monkeypatch: pytest.MonkeyPatch, stage: str, step: int, key: str
) -> None:
    run = done.folder / "tiny"
    expected = {name: load_file(run / name / "adapter" / "adapter_model.safetensors") for name in ("sft", "ppo")}
    metrics = (run / stage / "metrics.csv").read_text(encoding="utf-8").splitlines()
    Run.open(done.folder, "tiny").forget(stage)
    ctrl_c = _CtrlC(stage, step, key)
    monkeypatch.setattr("personatune.pipeline.stages.open_tracker", ctrl_c.opening(open_tracker))
    code, _, err = done.stage(stage)
    assert ctrl_c.pressed
    assert code == 130
    assert err.strip().endswith("stopped; what was reached is saved, the same command goes on there")
    assert stage not in manifest(done.folder)
    for later in STAGES[STAGES.index(stage) : STAGES.index("evaluate")]:
        assert done.stage(later)[0] == 0
    for name, tensors in expected.items():
        found = load_file(run / name / "adapter" / "adapter_model.safetensors")
        assert all(torch.equal(found[key], tensor) for key, tensor in tensors.items()), name
    again = (run / stage / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert [row for row in again if "per_second" not in row] == [row for row in metrics if "per_second" not in row]
    segments = [json.loads(row)["stage"] for row in (run / "costs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert segments.count(stage) == 2  # both stretches of work are paid for


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in ("prepare", "report")])
def test_a_stage_before_its_turn_names_the_command_that_is_missing(done: CommandLine, stage: str) -> None:
    needed = BUILDS_ON[stage][0]
    Run.open(done.folder, "tiny").forget("prepare")
    rows = [{"stage": other} for other in STAGES if other not in (stage, needed)]
    (done.folder / "tiny" / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = done.stage(stage)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{stage} of run tiny needs {needed} first; run: personatune {needed} --run tiny" in err
    assert not list((done.folder / "tiny" / stage).glob("*"))


def test_the_command_that_is_named_exists_and_takes_what_is_given(program: CommandLine) -> None:
    """Following the advice of one command after the other leads through the run."""
    code, _, err = program.begin("prepare")
    assert (code, err) == (0, "")
    code, _, err = program.stage("preferences")
    assert code == 2
    advice = err.split("run: personatune ")[1].split()
    assert advice == ["sft", "--run", "tiny"]
    code, _, err = program(*advice, "--runs", str(program.folder))
    assert (code, err) == (0, "")
    assert manifest(program.folder) == ["prepare", "sft"]
    code, _, err = program.stage("report")
    assert code == 2
    assert "run: personatune baseline --run tiny" in err


@pytest.mark.parametrize("name", ["../x", "..", "a/b", "", ".hidden", "a b", "-x/", "x\n"])
def test_a_name_that_is_no_folder_name_is_refused(program: CommandLine, name: str) -> None:
    code, out, err = program.begin("run", name)
    assert (code, out) == (2, "")
    assert "expected letters, digits, '.', '_' and '-' only" in err
    assert err.count("\n") == 1
    assert not program.folder.exists()


def test_an_unknown_run_names_the_nearest(done: CommandLine) -> None:
    code, _, err = done.stage("sft", name="tyni")
    assert (code, err.count("\n")) == (2, 1)
    assert "no such run; did you mean 'tiny'?" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "sft.epoch=2"], "unknown setting sft.epoch; did you mean 'epochs'?"),
        (["--preset", "quik"], "did you mean 'quick'?"),
        (["--data", "/no/such/file.jsonl"], "/no/such/file.jsonl"),
        (["--model", "/no/such/model"], "/no/such/model: no such model folder"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(program: CommandLine, words: list[str], message: str) -> None:
    code, _, err = program(*beginning("run", "tiny", program.base, program.folder), *words)
    assert code == 2
    lines = [line for line in err.splitlines() if line.startswith("personatune: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in err


def test_too_few_personas_for_a_judge_are_a_users_error(program: CommandLine, tmp_path: Path) -> None:
    """Personas whose sentences no probe question fits can't be judged; it is said before anything is trained."""
    rows = [
        {
            "persona": [f"Nothing much {n}{k}." for k in range(3)],
            "turns": ["Hi!", f"Hello {n}.", "Bye.", f"See you {n}."],
        }
        for n in range(30)
    ]
    dull = tmp_path / "dull.jsonl"
    dull.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code, _, err = program(*beginning("run", "tiny", program.base, program.folder), "--data", str(dull))
    assert code == 2
    assert "held-out perspectives has three traits that a probe question fits" in err
    assert manifest(program.folder) == ["prepare"]


def test_without_validation_personas_to_ask_ppo_says_what_is_missing(done: CommandLine) -> None:
    Run.open(done.folder, "tiny").forget("ppo")
    (done.folder / "tiny" / "prepare" / "validation.jsonl").write_text("", encoding="utf-8")
    code, _, err = done.stage("ppo")
    assert code == 2
    assert "none of 0 validation perspectives has three traits that a probe question fits" in err


def test_ppo_refuses_a_reward_model_that_fails_its_own_report_and_names_every_check(done: CommandLine) -> None:
    run = done.folder / "tiny"
    settings = (run / "config.yaml").read_text(encoding="utf-8")
    assert "on_untrusted_reward: warn" in settings  # as the preset quick has it
    (run / "config.yaml").write_text(settings.replace("on_untrusted_reward: warn", "on_untrusted_reward: refuse"))
    report = read(run / "reward" / "report.json")
    report["accuracy"]["all"]["value"], report["length_correlation"]["value"] = 0.7, -0.4
    report["persona_sensitivity"]["value"] = 0.9
    (run / "reward" / "report.json").write_text(json.dumps(report), encoding="utf-8")
    Run.open(done.folder, "tiny").forget("ppo")
    code, _, err = done.stage("ppo")
    assert (code, err.count("\n")) == (2, 1)
    assert "the reward model fails its own report: accuracy 70 % (target ≥ 80 %" in err
    assert "|correlation of score and length| 0.40 (target ≤ 0.20" in err
    assert "persona sensitivity" not in err
    assert "--despite-reward" in err
    assert "ppo" not in manifest(done.folder)
    code, _, err = done.stage("ppo", "--despite-reward")
    assert (code, err) == (0, "")
    missed = read(run / "ppo" / "summary.json")["untrusted_reward"]
    assert missed[0].startswith("accuracy 70 % (target ≥ 80 %")
    assert len(missed) >= 2


def test_a_run_over_conversations_with_terms_of_ones_own(
    done: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = done.folder / "tiny"
    (tmp_path / "own_tone.py").write_text("def calm(context, reply):\n    return -reply.count('!')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    opened = Run.open(done.folder, "tiny")
    opened.forget("preferences")
    opened.config.ppo.turns_per_episode, opened.config.ppo.turn_credit = 2, "discounted"
    opened.config.ppo.reward_terms = {"length": 0.1, "own_tone:calm": 0.5}
    save_config(opened.config, run / "config.yaml")
    for stage in ("preferences", "reward", "ppo"):
        assert done.stage(stage)[0] == 0
    prompts = [json.loads(line) for line in (run / "preferences" / "prompts.jsonl").read_text("utf-8").splitlines()]
    assert sum("lines" in row for row in prompts) >= len(prompts) / 2
    metrics = read(run / "ppo" / "summary.json")["metrics"]
    assert {"score_turn_1", "score_turn_2", "term_length", "term_own_tone:calm", "learned_score"} <= set(metrics[0])
    assert "term_own_tone:calm" in (run / "ppo" / "metrics.csv").read_text(encoding="utf-8")


def test_the_report_of_a_run_tells_which_checks_of_the_reward_model_failed(finished: Path) -> None:
    report = read(finished / "tiny" / "report" / "report.json")
    [goal] = [goal for goal in report["goals"] if goal["name"] == "Reward model passes the checks of its own report"]
    failed = [check["name"] for check in report["reward"]["checks"] if not check["met"]]
    assert failed  # twelve random pairs teach a random model nothing
    assert goal["met"] is False
    assert goal["why"] == f"missed: {', '.join(failed)}"
    assert len(report["ppo"]["untrusted_reward"]) == len(failed)
    page = (finished / "tiny" / "report" / "report.md").read_text(encoding="utf-8")
    assert "| missed |" in page


def test_where_figures_go_may_change_in_the_middle_of_a_run(tmp_path: Path) -> None:
    from personatune.config import load_config
    from personatune.errors import UserError

    Run.open(tmp_path, "mine", load_config("quick")).mark_done("prepare", {})
    sent = load_config("quick", ["tracking.online=true", "tracking.backends=[wandb]"])
    assert Run.open(tmp_path, "mine", sent).config == sent
    assert Run.open(tmp_path, "mine").config.tracking.online
    with pytest.raises(UserError, match=r"begun with other settings \(seed: 0, now 3\)"):
        Run.open(tmp_path, "mine", load_config("quick", ["seed=3", "tracking.online=false"]))


def test_settings_may_change_until_the_first_stage_is_done(tmp_path: Path) -> None:
    from personatune.config import load_config
    from personatune.errors import UserError

    first, second = load_config("quick"), load_config("quick", ["data.source=elsewhere.jsonl"])
    Run.open(tmp_path, "mine", second)  # a mistyped source: the stage prepare ends in an error
    run = Run.open(tmp_path, "mine", first)
    assert Run.open(tmp_path, "mine").config == first
    run.mark_done("prepare", {})
    with pytest.raises(UserError, match=r"data\.source: 'chitchat', now 'elsewhere\.jsonl'"):
        Run.open(tmp_path, "mine", second)


@pytest.mark.parametrize(
    ("stage", "place", "call", "later"),
    [
        ("baseline", "personatune.evaluation.suite.dialogue_nll", 1, "personatune.evaluation.suite.hold_dialogues"),
        ("evaluate", "personatune.evaluation.suite.dialogue_nll", 2, "personatune.evaluation.suite.hold_dialogues"),
        ("preferences", "personatune.pipeline.stages._ppo_prompts", 1, "personatune.model.generation.Chatbot.sample"),
    ],
)
def test_a_stage_without_steps_is_cut_off_by_sigterm_and_goes_on_with_what_it_had(
    done: CommandLine, monkeypatch: pytest.MonkeyPatch, stage: str, place: str, call: int, later: str
) -> None:
    run = done.folder / "tiny"
    expected = {file.name: file.read_bytes() for file in (run / stage).iterdir() if file.is_file()}
    Run.open(done.folder, "tiny").forget(stage)
    module, _, name = place.rpartition(".")
    act, calls = getattr(sys.modules[module], name), [0]

    def pressing(*args: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return act(*args, **options)

    monkeypatch.setattr(place, pressing)
    code, _, err = done.stage(stage)
    assert (code, calls) == (130, [call])
    assert err.strip().endswith("stopped; what was reached is saved, the same command goes on there")
    monkeypatch.undo()

    def again(*_: object, **__: object) -> None:
        raise AssertionError("what was finished is made again")

    monkeypatch.setattr(later, again)
    assert done.stage(stage)[0] == 0
    found = {file.name: file.read_bytes() for file in (run / stage).iterdir() if file.is_file()}
    assert found == expected
    assert not (run / stage / "unfinished").exists()


def test_a_kill_after_a_stage_but_before_the_manifest_says_so_costs_no_training(
    done: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = done.folder / "tiny"
    Run.open(done.folder, "tiny").forget("sft")

    class KilledError(Exception):
        """Stands for the kill: nothing after it is done."""

    def killed(*_: object) -> None:
        raise KilledError

    monkeypatch.setattr(Run, "mark_done", killed)
    with pytest.raises(KilledError):
        done.stage("sft")
    monkeypatch.undo()
    weights = (run / "sft" / "adapter" / "adapter_model.safetensors").read_bytes()
    steps = (run / "sft" / "metrics.csv").read_text(encoding="utf-8")
    monkeypatch.setattr("personatune.training.sft.SFTTrainer._step", killed)
    assert done.stage("sft")[0] == 0
    assert (run / "sft" / "adapter" / "adapter_model.safetensors").read_bytes() == weights
    assert (run / "sft" / "metrics.csv").read_text(encoding="utf-8") == steps
    assert not (run / "sft" / "checkpoints").exists()
