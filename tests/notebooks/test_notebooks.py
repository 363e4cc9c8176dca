"""The six notebooks: they parse, share their settings, use only what is there, and hold no figure typed by hand."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from personatune.config import load_config
from personatune.pipeline.notebook import needed_for, open_run, report_plot
from personatune.pipeline.run import STAGES

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

FILES = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9][0-9]_*.py"))
NAMES = ["01_setup_and_eda", "02_baseline_testing", "03_sft_training", "04_reward_and_ppo", "05_evaluation",
         "06_analysis_and_demo"]  # fmt: skip
# A tiny model on hand-made dialogues: every cell of all six in about a minute.
SMALL = (
    "model.max_length=384", "lora.rank=4", "data.validation_share=0.2", "data.test_share=0.2", "data.written=0",
    "tracking.backends=[csv]", "data.max_dialogues=24", "sft.batch_size=4", "sft.learning_rate=1e-2",
    "sft.validation_dialogues=6", "sft.evaluations=2", "preferences.pairs=16", "preferences.test_pairs=10",
    "preferences.ppo_prompts=12", "preferences.max_new_tokens=6", "branch.layers=1", "branch.rank=2",
    "reward.epochs=1", "ppo.updates=2", "ppo.prompts_per_update=2", "ppo.max_new_tokens=6", "ppo.judge_every=1",
    "ppo.judge_personas=2", "ppo.kl_budget=100", "evaluation.personas=3", "evaluation.turns=5",
    "evaluation.quality_contexts=4", "evaluation.perplexity_dialogues=4", "evaluation.max_new_tokens=6",
    "evaluation.bootstrap_samples=100", "compare.target_evaluation=1",
)  # fmt: skip


def code_of(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_the_six_in_order() -> None:
    assert [file.stem for file in FILES] == NAMES


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_every_notebook_begins_with_words_and_its_settings(file: Path, runner: ModuleType) -> None:
    notebook = runner.read(file)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith(f"# {int(file.stem[:2])} · ")
    settings = runner.parameters(notebook)
    assert settings["PRESET"] == "quick"
    load_config(settings["PRESET"], settings["SETTINGS"])


def test_all_six_have_the_same_settings_so_that_they_share_one_run(runner: ModuleType) -> None:
    cells = {code_of(runner.read(file))[0] for file in FILES}
    assert len(cells) == 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_every_cell_compiles_and_imports_only_what_is_there(file: Path, runner: ModuleType) -> None:
    imports = 0
    for source in code_of(runner.read(file)):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("personatune"):
                module = importlib.import_module(str(node.module))
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert missing == []
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert private == []
                imports += 1
    assert imports > 3


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_no_notebook_builds_what_the_package_has(file: Path, runner: ModuleType) -> None:
    """Stages, metrics and plots are the package's: no function or class of its own, no torch, no drawing."""
    for source in code_of(runner.read(file)):
        tree = ast.parse(source)
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        names = [
            alias.name if isinstance(node, ast.Import) else str(node.module)
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        ]
        assert {name.split(".")[0] for name in names} <= {"personatune", "rich", "IPython", "pathlib"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_no_figure_is_typed_into_the_words(file: Path, runner: ModuleType) -> None:
    """Figures come out of cells; the share of an interval is a definition."""
    for cell in runner.read(file).cells:
        if cell.cell_type == "markdown":
            found = re.findall(r"\d+(?:[.,]\d+)?\s*(?:%|per cent|points|seconds|minutes)|\d+\.\d+", cell.source)
            assert [figure for figure in found if figure != "95 %"] == []


def test_together_they_run_every_stage(runner: ModuleType) -> None:
    asked = [
        str(node.args[1].value)  # type: ignore[attr-defined]
        for file in FILES
        for source in code_of(runner.read(file))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "bring_to"
    ]
    assert {stage for wanted in asked for stage in needed_for(wanted)} == set(STAGES)


def test_the_figures_that_notebooks_take_from_the_report_are_there(runner: ModuleType, tmp_path: Path) -> None:
    run = open_run("quick", "mine", runs=tmp_path)
    asked = {
        str(node.args[1].value)  # type: ignore[attr-defined]
        for file in FILES
        for source in code_of(runner.read(file))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "report_plot"
    }
    assert len(asked) > 3
    assert all(report_plot(run, name).name == name for name in asked)


@pytest.mark.slow
def test_the_whole_set_runs_from_top_to_bottom_and_again_without_training(
    runner: ModuleType,
    tiny: TinyModels,
    dialogues: type[HandMadeDialogues],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import nbformat

    tiny.save(tmp_path / "model", layers=2, spread=0.05)
    data = dialogues.write(tmp_path / "made.jsonl", 60)
    settings = [f"model.base={tmp_path / 'model'}", *SMALL]
    words = ["--out", str(tmp_path / "executed")]
    for name, value in (("RUN", "tiny"), ("RUNS", str(tmp_path / "runs")), ("DATA", str(data)), ("SETTINGS", settings)):
        words += ["--set", f"{name}={value!r}"]
    assert runner.main(words) == 0, capsys.readouterr().err
    for name in NAMES:
        notebook = nbformat.read(tmp_path / "executed" / f"{name}.ipynb", as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in cells)
        drawn = [out for cell in cells for out in cell.outputs if "image/png" in out.get("data", {})]
        assert drawn, name
        assert f"{settings!r}" in cells[0].source
    before = (tmp_path / "runs" / "tiny" / "costs.jsonl").read_text(encoding="utf-8")
    assert runner.main([*words, "03"]) == 0
    assert (tmp_path / "runs" / "tiny" / "costs.jsonl").read_text(encoding="utf-8") == before
    assert "sft of run tiny is done already" in capsys.readouterr().out
