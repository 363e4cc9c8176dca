"""What a tracker wrote is read back from its store: W&B's run directory, TensorBoard's events, trackio's database."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from personatune.errors import UserError
from personatune.plain_text import without_secrets
from personatune.settings import TrackingConfig
from personatune.training.tracking import open_tracker

HOSTILE = '<script>alert("x")</script> | **b**\nnew row'
KEY = "0123456789abcdef0123456789abcdef01234567"
SETTINGS = {"sft": {"learning_rate": 0.001}, "data": {"source": f"https://me:{KEY}@example.org/data"}}


def drawing() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (12, 8), "red").save(stream, "png")
    return stream.getvalue()


def write_interrupted_stage(directory: Path, backend: str) -> None:
    """Log steps 1 to 5, interrupt, resume at step 3, log 4 to 6 with other values, and close with everything else."""
    settings = TrackingConfig.model_validate({"backends": [backend], "project": "reading-back"})
    tracker = open_tracker(directory, settings, run="demo", stage="sft", config=SETTINGS)
    for step in range(1, 6):
        tracker.log({"loss": 1 / step}, step)
    tracker.samples("replies", [{"line": "Hi!", "reply": HOSTILE}], 5)
    tracker.close()
    tracker = open_tracker(directory, settings, run="demo", stage="sft", resume_step=3, config=SETTINGS)
    for step in range(4, 7):
        tracker.log({"loss": 10 / step, "kl": 0.5}, step)
    tracker.samples("replies", [{"line": "Hi again!", "reply": "Hello."}, {"line": "And?", "note": "late column"}], 6)
    tracker.figures({"curve": drawing()}, 6)
    (directory / "report.md").write_text("# Report\n\nof this run", encoding="utf-8")
    tracker.files("demo-report", "report", [directory / "report.md"])
    tracker.close()


def wandb_records(file: Path) -> Iterator[Any]:
    """Read a ``.wandb`` file: LevelDB's log format, blocks of 32 KiB, records as protocol buffers (after 7 bytes)."""
    from wandb.proto import wandb_internal_pb2

    data, position, whole = file.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # the only or last part of a record
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def eventually(found: Callable[[], Any]) -> Any:
    """Wait for W&B's own process, which ends a moment after the run."""
    deadline = time.monotonic() + 60
    while not (result := found()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return result


def items(entries: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in entries:
        *above, name = entry.nested_key or [entry.key]
        place = found
        for key in above:
            place = place.setdefault(key, {})
        place[name] = json.loads(entry.value_json)
    return found


@pytest.fixture(scope="module")
def wandb_stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("wandb")
    directory = tmp_path_factory.mktemp("wandb-stage") / "sft"
    before = os.environ.get("WANDB_API_KEY")
    os.environ["WANDB_API_KEY"] = KEY
    try:
        write_interrupted_stage(directory, "wandb")
    finally:
        del os.environ["WANDB_API_KEY"]
        if before is not None:
            os.environ["WANDB_API_KEY"] = before
    return directory


def runs_of(stage: Path) -> list[list[Any]]:
    """Return the records of each offline directory, in the order of their making."""
    files = sorted((stage / "wandb").glob("offline-run-*/*.wandb"))
    eventually(lambda: all(any(r.WhichOneof("record_type") == "exit" for r in wandb_records(file)) for file in files))
    return [list(wandb_records(file)) for file in files]


def test_a_resumed_wandb_stage_is_one_run_whose_rows_go_on(wandb_stage: Path) -> None:
    runs = runs_of(wandb_stage)
    heads = [record.run for records in runs for record in records if record.WhichOneof("record_type") == "run"]
    assert len(runs) == 2
    assert len({head.run_id for head in heads}) == 1
    assert {(head.project, head.run_group, head.display_name) for head in heads} == {
        ("reading-back", "demo", "demo/sft")
    }
    rows = [
        [items(record.history.item) for record in records if record.WhichOneof("record_type") == "history"]
        for records in runs
    ]
    losses = [[(row["_step"], row["step"], row["loss"]) for row in part if "loss" in row] for part in rows]
    assert losses[0] == [(step, step, 1 / step) for step in range(1, 6)]
    assert losses[1] == [(step, step, 10 / step) for step in range(4, 7)]


def test_a_wandb_run_holds_settings_summary_table_figure_and_artefact(wandb_stage: Path) -> None:
    records = runs_of(wandb_stage)[-1]
    settings = next(items(r.run.config.update) for r in records if r.WhichOneof("record_type") == "run")
    assert settings["sft.learning_rate"] == 0.001
    assert settings["data.source"] == "https://(hidden)@example.org/data"
    summary: dict[str, Any] = {}
    for record in records:
        if record.WhichOneof("record_type") == "summary":
            summary |= items(record.summary.update)
    assert (summary["loss"], summary["kl"], summary["step"]) == (10 / 6, 0.5, 6)
    last = [items(r.history.item) for r in records if r.WhichOneof("record_type") == "history"][-1]
    assert last["loss"] == 10 / 6
    directory = sorted((wandb_stage / "wandb").glob("offline-run-*"))[-1] / "files"
    table = json.loads((directory / last["replies"]["path"]).read_text(encoding="utf-8"))
    assert table["columns"] == ["line", "reply", "note"]
    assert table["data"] == [["Hi again!", "Hello.", ""], ["And?", "", "late column"]]
    assert (directory / last["figures/curve"]["path"]).read_bytes().startswith(b"\x89PNG")
    artefacts = [record.artifact for record in records if record.WhichOneof("record_type") == "artifact"]
    kept = next(artefact for artefact in artefacts if artefact.name == "demo-report")
    assert kept.type == "report"
    assert [Path(entry.path).name for entry in kept.manifest.contents] == ["report.md"]
    copy = Path(kept.manifest.contents[0].local_path)
    assert copy.is_relative_to(wandb_stage.resolve())
    assert copy.read_text(encoding="utf-8") == "# Report\n\nof this run"


def test_no_key_stands_in_anything_that_wandb_left(wandb_stage: Path) -> None:
    runs_of(wandb_stage)  # all is written
    files = [file for file in wandb_stage.rglob("*") if file.is_file()]
    assert len(files) > 10
    assert [file for file in files if KEY.encode() in file.read_bytes()] == []


def test_a_wandb_stage_begun_anew_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    for _ in range(2):
        tracker = open_tracker(tmp_path, TrackingConfig(backends=["wandb"]), run="demo", stage="sft")
        tracker.close()
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1


def test_wandb_online_without_a_key_says_what_to_do_instead_of_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    settings = TrackingConfig(backends=["wandb"], online=True)
    with pytest.raises(UserError, match=r"wandb can't start \(tracking\.online needs a key: run wandb login") as caught:
        open_tracker(tmp_path / "sft", settings, run="demo", stage="sft")
    assert "tracking.backends=[csv]" in str(caught.value)


def test_a_resumed_tensorboard_stage_has_each_step_once_tables_and_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_interrupted_stage(tmp_path / "sft", "tensorboard")
    events = EventAccumulator(str(tmp_path / "sft/tensorboard"))
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("loss")}
    assert len(events.Scalars("loss")) == 6
    assert losses == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3, 4: 2.5, 5: 2.0, 6: 10 / 6})
    tables = [event.tensor_proto.string_val[0].decode() for event in events.Tensors("replies/text_summary")]
    assert tables[-1].splitlines() == [  # TensorBoard hides scalars of repeated steps, never texts
        "| line | reply | note |",
        "| --- | --- | --- |",
        "| Hi again! | Hello. |  |",
        "| And? |  | late column |",
    ]
    image = events.Images("figures/curve")[0]
    assert (image.width, image.height) == (12, 8)
    report = events.Tensors("demo-report/report.md/text_summary")[0]
    assert report.tensor_proto.string_val[0].decode().startswith("# Report")


def test_hostile_samples_stay_one_escaped_row_of_a_tensorboard_table(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = open_tracker(tmp_path, TrackingConfig(backends=["tensorboard"]), run="demo", stage="sft")
    tracker.samples("replies", [{"reply": HOSTILE}], 1)
    tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    text = events.Tensors("replies/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text.splitlines()[2] == r'| &lt;script&gt;alert("x")&lt;/script&gt; \| \*\*b\*\* new row |'


READ_TRACKIO = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_tracking_backends import write_interrupted_stage
write_interrupted_stage(Path(sys.argv[1]), "trackio")
from trackio.sqlite_storage import SQLiteStorage
(name,) = SQLiteStorage.get_runs("reading-back")
print(json.dumps({
    "name": name,
    "logs": SQLiteStorage.get_logs("reading-back", name),
    "config": SQLiteStorage.get_run_config("reading-back", name),
}, default=str))
"""


def test_a_resumed_trackio_stage_is_one_run_in_its_store_with_tables_figures_and_artefact(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    elsewhere = {"TRACKIO_SPACE_ID": "someone/else", "TRACKIO_SERVER_URL": "http://127.0.0.1:1/"}  # once exported
    environment = {**os.environ, **elsewhere, "TRACKIO_DIR": str(tmp_path / "store"), "HF_TOKEN": f"hf_{KEY}"}
    command = [sys.executable, "-c", READ_TRACKIO, str(tmp_path / "sft"), str(Path(__file__).parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1  # trackio itself says nothing
    found = json.loads(lines[0])
    assert found["name"].startswith("demo/sft-")
    losses = [(row["step"], row["loss"]) for row in found["logs"] if "loss" in row]
    assert losses[:5] == [(step, 1 / step) for step in range(1, 6)]
    assert losses[5:] == [(step, 10 / step) for step in range(4, 7)]
    tables = [row["replies"]["_value"] for row in found["logs"] if "replies" in row]
    assert tables[0][0]["reply"] == r'&lt;script&gt;alert("x")&lt;/script&gt; \| \*\*b\*\* new row'
    assert tables[1][0] == {"line": "Hi again!", "reply": "Hello."}
    image = next(row["figures/curve"] for row in found["logs"] if "figures/curve" in row)
    assert (tmp_path / "store/media" / image["file_path"]).read_bytes().startswith(b"\x89PNG")
    assert found["config"]["data.source"] == "https://(hidden)@example.org/data"
    blobs = [file for file in (tmp_path / "store/artifacts").rglob("*") if file.is_file()]
    assert [blob.read_text(encoding="utf-8") for blob in blobs] == ["# Report\n\nof this run"]
    stored = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file for file in stored if KEY.encode() in file.read_bytes()] == []


def test_a_trackio_store_that_cannot_be_written_is_told_before_anything_is_lost(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    (tmp_path / "store").write_text("a file where the folder should be", encoding="utf-8")
    script = (
        "import sys; from pathlib import Path; from personatune.settings import TrackingConfig\n"
        "from personatune.training.tracking import open_tracker\n"
        "open_tracker(Path(sys.argv[1]), TrackingConfig(backends=['trackio']), run='demo', stage='sft')"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "sft")]
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "store")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "trackio can't start (its store" in done.stderr.splitlines()[-1]
    assert "TRACKIO_DIR names another" in done.stderr.splitlines()[-1]


def test_secrets_are_taken_out_of_texts_and_nothing_else() -> None:
    environment = {"MY_API_KEY": "abcdefgh1234", "DEBUG_TOKEN": "1", "HOME": "/home/me"}
    text = "abcdefgh1234 at /home/me 1 hf_ABCDEFGHIJKLMNOPQRST https://me:pw@host/x https://host/a@b"
    shown = "(hidden) at /home/me 1 (hidden) https://(hidden)@host/x https://host/a@b"
    assert without_secrets(text, environment) == shown
    commit = "revision 0123456789abcdef0123456789abcdef01234567"
    assert without_secrets(commit, {}) == commit
