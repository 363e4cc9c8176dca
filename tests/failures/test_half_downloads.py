"""A model folder that is half there: the line names the file and what is missing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from personatune.errors import UserError
from personatune.model.backbone import load_base_model, load_tokenizer

if TYPE_CHECKING:
    from tests.conftest import TinyModels
    from tests.failures.conftest import Program

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def whole(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders with the same model: in one file, and in shards."""
    folder = tmp_path_factory.mktemp("whole")
    tiny.save(folder / "one")
    tiny.model().save_pretrained(folder / "shards", max_shard_size="40KB")
    tiny.tokenizer().save_pretrained(folder / "shards")
    return folder


def cut(file: Path, share: float = 0.5) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("model-*.safetensors"))


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def pointer(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "utf-8")


def no_map(folder: Path) -> None:
    (folder / f"{WEIGHTS}.index.json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "spoil", "told"),
    [
        ("shards", lambda folder: shards(folder)[1].unlink(), "1 of {count} weight files are missing, as {second}"),
        ("shards", lambda folder: cut(shards(folder)[1]), "{second} is cut off: {half:,} of {size:,} bytes"),
        ("shards", no_map, "1 of 1 weight files are missing, as those that model.safetensors.index.json should name"),
        ("shards", lambda folder: cut(folder / f"{WEIGHTS}.index.json"),
         "model.safetensors.index.json is no valid JSON, as after an interrupted download"),
        ("one", lambda folder: cut(folder / WEIGHTS), "model.safetensors is cut off: {half:,} of {size:,} bytes"),
        ("one", lambda folder: cut(folder / WEIGHTS, 0), "model.safetensors is cut off after 0 bytes, or no safe"),
        ("one", lambda folder: cut(folder / WEIGHTS, 0.002), "model.safetensors is cut off after "),
        ("one", pointer, "model.safetensors is a pointer of Git LFS in place of the weights; git lfs pull fetches"),
        ("one", remove(WEIGHTS), "no weights in it, such as model.safetensors"),
        ("one", lambda folder: cut(folder / "config.json"), "config.json is no valid JSON, as after an interrupted"),
    ],
    ids=["missing shard", "cut shard", "index without shards", "cut index", "cut weights", "empty weights",
         "cut head", "pointer", "config without weights", "cut config"],
)  # fmt: skip
def test_weights_that_are_not_whole(
    whole: Path, tmp_path: Path, kind: str, spoil: Callable[[Path], None], told: str
) -> None:
    folder = tmp_path / "half"
    shutil.copytree(whole / kind, folder)
    files = shards(folder) or [folder / WEIGHTS]
    named = files[min(1, len(files) - 1)]
    size = named.stat().st_size
    expected = told.format(count=len(files), second=named.name, half=size // 2, size=size)
    spoil(folder)
    with pytest.raises(UserError) as caught:
        load_base_model(str(folder))
    assert str(caught.value).startswith(f"{folder}: can't be loaded ({expected}")
    assert str(caught.value).endswith("; check the folder")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (no_tokenizer, "no tokenizer in it, such as tokenizer.json"),
        (lambda folder: cut(folder / "tokenizer.json"), "tokenizer.json is no valid JSON, as after an interrupted"),
    ],
    ids=["missing", "cut"],
)
def test_a_tokenizer_that_is_not_whole(whole: Path, tmp_path: Path, spoil: Callable[[Path], None], told: str) -> None:
    folder = tmp_path / "half"
    shutil.copytree(whole / "one", folder)
    spoil(folder)
    with pytest.raises(UserError) as caught:
        load_tokenizer(str(folder))
    assert str(caught.value).startswith(f"{folder}: can't be loaded ({told}")


def test_a_run_that_met_half_a_model_begins_when_the_rest_is_there(
    program: Program, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "half"
    shutil.copytree(whole / "shards", folder)
    lost = shards(folder)[0]
    content = lost.read_bytes()
    lost.unlink()
    ended = program.begin("prepare", model=str(folder))
    assert ended.code == 2
    assert "weight files are missing, as model-00001-of-" in ended.line
    assert not (program.run / "manifest.jsonl").exists()
    lost.write_bytes(content)
    assert program.begin("prepare", model=str(folder)).code == 0
    assert [json.loads(row)["stage"] for row in (program.run / "manifest.jsonl").read_text("utf-8").splitlines()] == [
        "prepare"
    ]
