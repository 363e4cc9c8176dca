"""Makes the two folders that Kaggle takes: ``python notebooks/kaggle/build.py --user NAME``.

``dataset`` holds the package's wheel and what to install; ``kernel`` the six notebooks in one, set to two T4s. Pushing
them is two commands, which are printed (docs/notebooks.md).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from execute import MistakeError, notebooks, parameters, read, set_parameters  # noqa: E402  (beside this folder)

PARAMETERS = {
    "PRESET": "kaggle-2xt4",
    "RUN": "kaggle",
    "RUNS": "runs",  # /kaggle/working/runs, which Kaggle keeps as the kernel's output
    "DESPITE_REWARD": True,  # nobody is there to decide; the notebook says what the reward model missed
}
_USER_PLACE, _WHEEL_PLACE = "INSERT_USER_HERE", "INSERT_WHEEL_HERE"
_USER = re.compile(r"[a-z0-9][a-z0-9-]*")


def build(user: str, out: Path, wheel: Path | None = None) -> tuple[Path, Path]:
    """Write the folders ``kernel`` and ``dataset`` and return them.

    Args:
        user: the name in the address of one's Kaggle profile.
        wheel: of personatune; built from this checkout by default.

    Raises:
        MistakeError: no Kaggle user name, no such wheel, or it can't be built.
    """
    if not _USER.fullmatch(user):
        raise MistakeError(f"--user {user!r}: expected the name in your profile's address: letters, digits and -")
    kernel, dataset = out / "kernel", out / "dataset"
    for folder in (kernel, dataset):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    built = _wheel_into(dataset, wheel)
    for folder, name in (
        (kernel, "kernel-metadata.json"),
        (dataset, "dataset-metadata.json"),
        (dataset, "requirements.txt"),
        (dataset, "requirements-embedded.txt"),
    ):
        text = (HERE / name).read_text(encoding="utf-8").replace(_USER_PLACE, user).replace(_WHEEL_PLACE, built.name)
        (folder / name).write_text(text, encoding="utf-8")
    code_file = json.loads((kernel / "kernel-metadata.json").read_text(encoding="utf-8"))["code_file"]
    _write(joined(HERE.parent), kernel / code_file)
    return kernel, dataset


def joined(folder: Path) -> Any:
    """Return the installation and all notebooks of a folder as one, with one cell of parameters."""
    whole = read(HERE / "install.py")
    for place, file in enumerate(notebooks(folder)):
        notebook = read(file)
        set_parameters(notebook, PARAMETERS)
        parameters(notebook)
        first = next(index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code")
        if place:  # the settings stand in the first notebook's cell
            del notebook.cells[first]
        else:
            whole.metadata = notebook.metadata
        whole.cells += notebook.cells
    for number, cell in enumerate(whole.cells):
        cell["id"] = f"cell-{number}"
    return whole


def main(words: Sequence[str] | None = None) -> int:
    """Build the folders; 0 done, 2 the caller's mistake."""
    parser = argparse.ArgumentParser(description="Make the folders that Kaggle takes.")
    parser.add_argument("--user", default=os.environ.get("KAGGLE_USERNAME", ""), help="your Kaggle user name")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "build" / "kaggle", help="where to put them")
    parser.add_argument("--wheel", type=Path, help="of personatune; built from this checkout by default")
    given = parser.parse_args(words)
    try:
        kernel, dataset = build(given.user, given.out, given.wheel)
    except MistakeError as error:
        print(f"kaggle: {error}", file=sys.stderr)
        return 2
    print(f"kaggle datasets create -p {dataset}     # later: kaggle datasets version -p {dataset} -m again")
    print(f"kaggle kernels push -p {kernel}")
    return 0


def _wheel_into(folder: Path, wheel: Path | None) -> Path:
    if wheel is not None:
        if not wheel.is_file():
            raise MistakeError(f"--wheel {wheel}: no such file")
        return Path(shutil.copy(wheel, folder / wheel.name))
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    done = subprocess.run([*words, str(HERE.parents[1])], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "pip said nothing").splitlines()[-1]
        raise MistakeError(f"the wheel can't be built: {last}")
    return next(folder.glob("*.whl"))


def _write(notebook: Any, target: Path) -> None:
    import nbformat

    nbformat.validate(notebook)
    nbformat.write(notebook, target)


if __name__ == "__main__":
    sys.exit(main())
