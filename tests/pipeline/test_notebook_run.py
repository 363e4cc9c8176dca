"""What notebooks stand on: one run brought as far as needed, floors beside its models, the launch on several GPUs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from personatune.config import load_config
from personatune.errors import UserError
from personatune.pipeline.notebook import (
    _launch,
    as_cell,
    bring_to,
    floor_figures,
    launch_words,
    needed_for,
    open_run,
    report_plot,
)
from personatune.pipeline.run import STAGES, Run
from personatune.progress import SilentProgress
from personatune.report.drawing import Plot
from personatune.report.sections import Table

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

SMALL = ["tracking.backends=[csv]", "data.validation_share=0.2", "data.test_share=0.2", "data.written=0"]


def test_a_stage_needs_what_it_builds_on_in_the_order_of_the_run() -> None:
    assert needed_for("prepare") == ["prepare"]
    assert needed_for("compare") == ["prepare", "sft", "compare"]
    assert needed_for("ppo") == ["prepare", "sft", "preferences", "reward", "ppo"]
    assert needed_for("report") == list(STAGES)
    with pytest.raises(ValueError, match="no stage 'pp0'"):
        needed_for("pp0")


def test_parameters_become_the_settings_of_the_run(tmp_path: Path) -> None:
    run = open_run("quick", "mine", data="made.jsonl", qlora=True, settings=["sft.epochs=3"], runs=tmp_path)
    assert (run.config.data.source, run.config.lora.quantization, run.config.sft.epochs) == ("made.jsonl", "nf4", 3)
    assert open_run("kaggle-2xt4", "other", runs=tmp_path).config == load_config("kaggle-2xt4")


def test_a_run_that_was_begun_otherwise_is_told_in_one_line(tmp_path: Path) -> None:
    open_run("quick", "mine", runs=tmp_path).mark_done("prepare", {})
    with pytest.raises(UserError, match="begun with other settings"):
        open_run("quick", "mine", settings=["sft.epochs=3"], runs=tmp_path)


def test_a_run_goes_on_where_the_last_notebook_stopped_and_floors_stand_beside_its_models(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    tiny.save(tmp_path / "model", layers=1)
    data = dialogues.write(tmp_path / "made.jsonl", 60)
    few = [f"model.base={tmp_path / 'model'}", "evaluation.personas=4", "evaluation.turns=5", *SMALL]
    run = open_run("quick", "mine", data=str(data), settings=few, runs=tmp_path / "runs")
    with pytest.raises(UserError, match="needs prepare first"):
        floor_figures(run)
    assert bring_to(run, "prepare", SilentProgress()) == ["prepare"]
    said: list[str] = []

    class Listening(SilentProgress):
        def say(self, text: str) -> None:
            said.append(text)

    again = open_run("quick", "mine", data=str(data), settings=few, runs=tmp_path / "runs")
    assert bring_to(again, "prepare", Listening()) == []
    assert said == ["prepare of run mine is done already"]
    floors = floor_figures(again)
    assert list(floors) == ["tfidf", "copier", "generic"]
    assert floors["copier"]["copy_share"]["value"] == 1
    assert floors["copier"]["probe_consistency"]["value"] > floors["generic"]["probe_consistency"]["value"]
    assert {figures["probe_consistency"]["n"] for figures in floors.values()} == {4}
    assert any(name.startswith("multi_turn_consistency_") for name in floors["tfidf"])


def test_on_several_gpus_a_stage_is_launched_by_accelerate_with_words_that_both_take(tmp_path: Path) -> None:
    from accelerate.commands.launch import launch_command_parser

    run = Run(tmp_path / "runs" / "mine", load_config("quick"))
    words = launch_words(run, "ppo", 2, despite_reward=True)
    assert words[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    launched = launch_command_parser().parse_args(words[3:])
    assert (launched.multi_gpu, launched.num_processes, launched.module) == (True, 2, True)
    assert launched.training_script == "personatune"
    told = ["ppo", "--run", "mine", "--runs", str(tmp_path / "runs"), "--despite-reward"]
    assert launched.training_script_args == told
    assert launch_words(run, "sft", 2, despite_reward=True)[-1] == str(tmp_path / "runs")


def test_lines_of_a_launched_command_are_passed_on_and_its_failure_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    _launch([sys.executable, "-c", "print('one'); print('two')"])
    assert capfd.readouterr().out == "one\ntwo\n"
    with pytest.raises(UserError, match="ended with 3; its last line: no luck"):
        _launch([sys.executable, "-c", "import sys; print('no luck'); sys.exit(3)"])


def test_a_table_in_a_cell_shows_text_as_text() -> None:
    pytest.importorskip("IPython")
    shown = as_cell(Table("Goals", ("goal", "result"), [("<b>|x", "met")]))
    assert shown.data == "## Goals\n\n| goal | result |\n| --- | --- |\n| &lt;b&gt;\\|x | met |"


def test_a_plot_in_a_cell_is_a_png_with_words_for_who_cant_see_it() -> None:
    pytest.importorskip("IPython")
    shown = as_cell(Plot("Losses", lambda axes: axes.plot([1, 2]), "from 1 to 2"))
    assert shown.data.startswith(b"\x89PNG")
    assert shown.alt == "Losses: from 1 to 2"
    assert as_cell(Plot("Losses", None, "not measured: <no> curve")).data == "Losses: not measured: &lt;no&gt; curve"


def test_a_figure_of_the_report_is_found_by_its_name_before_the_run_is_finished(tmp_path: Path) -> None:
    run = open_run("quick", "mine", runs=tmp_path)
    assert report_plot(run, "supervised-fine-tuning").text.startswith("not measured: ")
    with pytest.raises(ValueError, match="no figure 'nonsense' in the report; it has supervised-fine-tuning, "):
        report_plot(run, "nonsense")
