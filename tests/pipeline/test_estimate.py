"""Estimates of whole runs: the machine, the data's lengths, settings that fit, and runs that are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from typer.testing import CliRunner

from personatune.cli import app
from personatune.config import load_config
from personatune.costs.estimate.quantities import Architecture, Place
from personatune.errors import UserError
from personatune.model.architecture import find_config, read_architecture
from personatune.pipeline import estimate as estimating
from personatune.pipeline.estimate import (
    Estimate,
    _smaller,
    assumed_lengths,
    measured_lengths,
    nearest_that_fits,
    predict,
    preset_place,
    this_machine,
    too_little,
)
from personatune.settings import Config
from personatune.training.sft_dialogues import encode_dialogues

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

MIB = 2**20


@pytest.fixture(scope="module")
def medium() -> Architecture:
    return read_architecture(find_config("gpt2-medium"), "gpt2-medium", Config(), torch.float32)


def estimated(config: Config, architecture: Architecture, memory: int) -> Estimate:
    place = Place("gpu", memory=memory)
    return estimating._predict(config, place, assumed_lengths(config), (), architecture, "a test")


def test_a_preset_names_its_machine_and_others_mean_this_one() -> None:
    kaggle = preset_place(load_config("kaggle-2xt4"))
    assert (kaggle.kind, kaggle.processes) == ("gpu", 2)
    assert kaggle.memory is not None
    assert 14 * 2**30 < kaggle.memory < 16 * 2**30
    here = preset_place(load_config("quick"))
    assert here.kind == this_machine(load_config("quick")).kind
    assert here.memory
    assert here.memory > 0


def test_the_preset_for_two_t4s_fits_them_with_its_own_model_and_with_gpt2_medium() -> None:
    for model in ("HuggingFaceTB/SmolLM2-360M-Instruct", "gpt2-medium"):
        config = load_config("kaggle-2xt4", [f"model.base={model}"])
        found = predict(config, preset_place(config))
        assert found.fits, too_little(config, found)


def test_lengths_of_data_are_counted_and_never_above_the_models(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    prompts, views = tiny.prompts(), dialogues.perspectives(6, turns=9)
    config = load_config("quick")
    found = measured_lengths(config, prompts, views)
    assert found.dialogue == max(len(encoded.input_ids) for encoded in encode_dialogues(prompts, views, config.sft))
    assert 0 < found.loss_share < 1
    assert found.prompt < found.dialogue
    assumed = assumed_lengths(load_config("quick", ["model.max_length=100"]))
    assert assumed.dialogue == 100
    assert assumed.prompt < 100


def test_the_settings_proposed_fit_and_change_results_only_if_they_must(medium: Architecture) -> None:
    config = load_config("standard", ["sft.batch_size=16", "data.max_turns=12"])
    found = estimated(config, medium, 8 * 2**30)
    assert not found.fits
    flags = nearest_that_fits(config, found)
    assert flags is not None
    changed = load_config("standard", ["sft.batch_size=16", "data.max_turns=12", *flags])
    assert estimated(changed, medium, 8 * 2**30).fits
    assert flags[0].startswith("sft.micro_batch_size=")  # the same updates, fewer rows at once
    line = too_little(config, found)
    assert all(f"--set {flag}" in line for flag in flags)


def test_fewer_branch_layers_are_proposed_down_to_the_critics(medium: Architecture) -> None:
    settings = ["branch.layers=12", "branch.critic_layers=5"]
    config = load_config("standard", settings)
    found = estimated(config, medium, 8 * 2**30)
    assert dict(_smaller(config, found.lengths))["branch.layers"] == [6]
    for gib in (1, 2, 3, 4):
        load_config("standard", settings + (nearest_that_fits(config, estimated(config, medium, gib * 2**30)) or []))


def test_where_nothing_fits_that_is_said(medium: Architecture) -> None:
    config = load_config("standard")
    found = estimated(config, medium, 100 * MIB)
    assert nearest_that_fits(config, found) is None
    assert "no smaller setting fits" in too_little(config, found)


def test_a_setting_that_fits_is_left_alone(medium: Architecture) -> None:
    found = estimated(load_config("standard"), medium, 2**40)
    assert found.fits


def test_a_run_is_refused_before_it_trains_where_memory_is_short_and_goes_on_if_told(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = tmp_path / "model", tmp_path / "dialogues.jsonl"
    tiny.save(model)
    dialogues.write(data, 30)
    start = ["prepare", "--runs", str(tmp_path), "--name", "small", "--data", str(data), "--model", str(model)]
    assert CliRunner().invoke(app, start, catch_exceptions=False).exit_code == 0
    here = this_machine(load_config("quick"))
    monkeypatch.setattr(estimating, "this_machine", lambda _config: replace(here, memory=here.floor + MIB))
    sft = ["sft", "--runs", str(tmp_path), "--run", "small"]
    with pytest.raises(UserError, match=r"^sft needs about .* GiB.*--despite-memory goes on"):
        CliRunner().invoke(app, sft, catch_exceptions=False)
    assert not (tmp_path / "small" / "sft" / "adapter").exists()
    told = CliRunner().invoke(app, [*sft, "--despite-memory"], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert (tmp_path / "small" / "sft" / "adapter").exists()


def test_the_command_prints_every_stage_and_what_fits() -> None:
    options = ["estimate", "--preset", "kaggle-2xt4", "--model", "gpt2-medium"]
    fine = CliRunner().invoke(app, [*options, "--json"], catch_exceptions=False)
    found = json.loads(fine.output)
    assert fine.exit_code == 0
    assert found["fits"]
    assert found["parameters"] == 354_823_168
    assert list(found["stages"]) == ["sft", "preferences", "reward", "ppo", "evaluate", "compare"]
    tight = CliRunner().invoke(app, [*options, "--memory", "6GB", "--explain"], catch_exceptions=False)
    assert tight.exit_code == 1
    assert "this fits: --set" in tight.output or "no smaller setting fits" in tight.output


@pytest.mark.parametrize("text", ["much", "-3GB", "0", "12 parsecs"])
def test_a_size_that_is_none_is_a_users_mistake(text: str) -> None:
    with pytest.raises(UserError, match="--memory"):
        CliRunner().invoke(app, ["estimate", "--memory", text], catch_exceptions=False)
