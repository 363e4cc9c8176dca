"""Names that strangers chose (of runs, models, files, stages, personas) never lead out of their folder."""

from __future__ import annotations

import json
import re
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personatune.config import get_default_config
from personatune.errors import UserError
from personatune.export.names import safe_name
from personatune.pipeline.run import Run
from personatune.pipeline.variants import check_name

OUTSIDE = (
    "..", "../x", "a/../../x", "/etc/x", "a/b", "", ".", ".hidden", "-rf", "a\n", "a\x00b", "a b", "~", "a\\b", "ä",
    "$(id)", "a;b", "C:x", "a\u202egnp",
)  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_runs_name_is_a_plain_folder_name_and_nothing_is_made_for_another(name: str, tmp_path: Path) -> None:
    runs = tmp_path / "deep" / "runs"
    with pytest.raises(UserError, match="expected letters, digits"):
        Run.open(runs, name, get_default_config())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in OUTSIDE if name != "a/b"])
def test_a_variants_name_stays_in_its_runs_folder(name: str) -> None:
    with pytest.raises(UserError, match=r"--as|expected letters"):
        check_name(name)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the runs that nothing may touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine").write_text("mine", encoding="utf-8")
    return tmp_path / "outside"


def untouched(outside: Path) -> bool:
    return [file.name for file in outside.iterdir()] == ["mine"] and (outside / "mine").read_text("utf-8") == "mine"


@pytest.mark.parametrize("stage", ["../../outside", "/tmp", "sft/../../../outside", "", 5, None, "a\x00"])
def test_a_strangers_manifest_deletes_nothing_outside_its_run(stage: object, outside: Path) -> None:
    run = Run.open(outside.parent / "runs", "stranger", get_default_config())
    row = {"stage": stage, "of": "ppo", "finished": "2026-01-01T00:00:00+00:00"}
    (run.directory / "manifest.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.jsonl, row 1: stage .* is no name of a stage or a model"):
        run.forget("reward")
    with pytest.raises(UserError, match="no name of a stage"):
        run.done()
    assert untouched(outside)


def test_a_link_in_a_strangers_run_is_not_followed_when_a_stage_is_forgotten(outside: Path) -> None:
    run = Run.open(outside.parent / "runs", "stranger", get_default_config())
    run.mark_done("sft", {})
    (run.directory / "sft").symlink_to(outside, target_is_directory=True)
    run.forget("sft")
    assert untouched(outside)
    assert not (run.directory / "sft").exists()
    assert run.done() == []


def test_a_link_in_the_way_to_a_models_folder_is_not_followed_either(outside: Path) -> None:
    run = Run.open(outside.parent / "runs", "stranger", get_default_config())
    (outside / "deep").mkdir()
    (run.directory / "others").symlink_to(outside, target_is_directory=True)
    run.forget("others/deep")
    assert (outside / "deep").is_dir()


@pytest.mark.parametrize("name", ["../../../outside/mine", "/etc/hostname", "../state.json", "x.bin", "a/b.json", ""])
def test_a_strangers_checkpoint_names_no_file_outside_its_folder(name: str, outside: Path) -> None:
    import torch

    from personatune.training.checkpoints import CheckpointManager

    manager = CheckpointManager(outside.parent / "run" / "checkpoints")
    folder = manager.save(1, {"adapter": {"a": torch.ones(2)}}, {"step": 1})
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["sha256"][name] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match="is no file of a checkpoint"):
        manager.load_last()


def test_a_strangers_mark_of_the_best_checkpoint_names_a_checkpoint(outside: Path) -> None:
    import torch

    from personatune.training.checkpoints import CheckpointManager

    manager = CheckpointManager(outside.parent / "run" / "checkpoints")
    folder = manager.save(1, {"adapter": {"a": torch.ones(2)}}, {"step": 1}, best=True)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**manifest, "best": "../../outside"}), encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.json: damaged"):
        manager.load_best()
    assert untouched(outside)


def test_a_link_in_an_archive_of_a_card_stays_a_file_and_nothing_is_unpacked(tmp_path: Path) -> None:
    from personatune.cards.files import convert, read_card

    card = {"spec": "chara_card_v3", "spec_version": "3.0", "data": {"name": "Mara"}}
    link = zipfile.ZipInfo("assets/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "card.charx", "w") as archive:
        archive.writestr("card.json", json.dumps(card))
        archive.writestr(link, "/etc/passwd")
    convert(read_card(tmp_path / "card.charx"), tmp_path / "again.charx", None, None)
    with zipfile.ZipFile(tmp_path / "again.charx") as archive:
        assert all(info.external_attr >> 16 in (0, 0o600, 0o644) for info in archive.infolist())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.charx", "card.charx"]


@settings(deadline=None)
@given(st.text(max_size=80) | st.sampled_from(OUTSIDE))
def test_an_exported_name_is_letters_digits_and_hyphens_whatever_a_card_is_called(text: str) -> None:
    name = safe_name(text, "persona-1")
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,42}", name)
    assert name not in ("con", "nul", "aux", "prn")
