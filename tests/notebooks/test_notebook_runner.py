"""The runner of the notebooks: in order, stopping at the first failing cell, mistakes told before anything runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

PARAMETERS = '# %% tags=["parameters"]\nNAME = "plain"  # who\nCOUNT = 1\n'


def write(folder: Path, name: str, *cells: str) -> None:
    text = "# %% [markdown]\n# Words\n\n" + PARAMETERS + "".join(f"\n# %%\n{cell}\n" for cell in cells)
    (folder / name).write_text(text, encoding="utf-8")


def outputs(file: Path) -> str:
    notebook = json.loads(file.read_text(encoding="utf-8"))
    texts = [out.get("text", "") for cell in notebook["cells"] for out in cell.get("outputs", [])]
    return "".join("".join(text) for text in texts)


def test_it_stops_at_the_first_failing_cell_and_names_it(
    runner: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "01_good.py", "print(NAME, COUNT)")
    write(tmp_path, "02_bad.py", "print('before')", "1 / 0", "print('after')")
    write(tmp_path, "03_never.py", "print('never')")
    out = tmp_path / "executed"
    code = runner.main(["--folder", str(tmp_path), "--out", str(out), "--set", "NAME=other", "--set", "COUNT=7"])
    printed = capsys.readouterr()
    assert code == 1
    assert printed.err.splitlines()[0] == "notebooks: 02_bad.py, cell 3 of 4: ZeroDivisionError: division by zero"
    assert "02_bad.ipynb" in printed.err
    assert "      before" in printed.out  # what a cell prints is shown while it runs
    assert outputs(out / "01_good.ipynb") == "other 7\n"
    assert outputs(out / "02_bad.ipynb") == "before\n"
    assert not (out / "03_never.ipynb").exists()
    assert not list(out.glob(".*"))


def test_parameters_keep_their_comments_and_the_first_value_stays_where_none_is_given(
    runner: ModuleType, tmp_path: Path
) -> None:
    write(tmp_path, "01_good.py", "pass")
    notebook = runner.read(tmp_path / "01_good.py")
    runner.set_parameters(notebook, {"NAME": "it's"})
    assert notebook.cells[1].source == 'NAME = "it\'s"  # who\nCOUNT = 1'
    assert runner.parameters(notebook) == {"NAME": "it's", "COUNT": 1}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "NAM=x"], "--set NAM: no such parameter; there are NAME, COUNT"),
        (["--set", "NAME"], "--set NAME: expected NAME=VALUE"),
        (["07"], "07: no such notebook; there are 01_good"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(
    runner: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    write(tmp_path, "01_good.py", "print(NAME)")
    assert runner.main(["--folder", str(tmp_path), "--out", str(tmp_path / "executed"), *words]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"notebooks: {told}")
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "executed").exists()


def test_a_notebook_without_settings_and_an_empty_folder_are_told(
    runner: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner.main(["--folder", str(tmp_path)]) == 2
    assert "no notebook" in capsys.readouterr().err
    (tmp_path / "01_bare.py").write_text("# %%\nprint(1)\n", encoding="utf-8")
    assert runner.main(["--folder", str(tmp_path)]) == 2
    assert "the first code cell is not tagged 'parameters'" in capsys.readouterr().err


def test_values_are_python_or_text(runner: ModuleType) -> None:
    given = ["A=None", "B=['x=1', 'y']", "C=kaggle-2xt4", "D=True", "E=a=b"]
    found = runner.parse_values(given)
    assert found == {"A": None, "B": ["x=1", "y"], "C": "kaggle-2xt4", "D": True, "E": "a=b"}


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_reaches_the_cell_so_that_it_can_save(folder: Path, tmp_path: Path) -> None:
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    cell = (
        f"import time\nfrom pathlib import Path\nPath({str(ready)!r}).touch()\ntry:\n    time.sleep(60)\n"
        f"except KeyboardInterrupt:\n    Path({str(saved)!r}).touch()\n    raise"
    )
    write(tmp_path, "01_long.py", cell)
    words = [sys.executable, str(folder / "execute.py"), "--folder", str(tmp_path), "--out", str(tmp_path / "executed")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        for _ in range(3000):  # a busy machine starts a kernel slowly
            if ready.exists() or child.poll() is not None:
                break
            time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=300)
    assert child.returncode == 130
    told = err.splitlines()  # libzmq in the dying kernel may write a line of its own before
    assert "notebooks: 01_long.py, cell 2 of 2: stopped" in told, err
    assert saved.exists()
