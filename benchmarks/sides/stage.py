"""One stage of `savings.py` in a fresh process, so that its peak memory is its own.

    python sides/stage.py WORKFOLDER NAME FUNCTION ARGUMENTS-AS-JSON

It leaves NAME/result.json in the work folder; a stage that has one is done.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers.utils import logging

import conventional.stages
import sides.our_stages
from personatune.storage import write_json
from sides.savings_work import Work
from sides.turns import versions

FUNCTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "conventional.sft": conventional.stages.sft,
    "conventional.reward": conventional.stages.reward,
    "conventional.ppo": conventional.stages.ppo,
    "ours.sft": sides.our_stages.sft,
    "ours.reward": sides.our_stages.reward,
    "ours.ppo": sides.our_stages.ppo,
}


def main() -> None:
    """Run the stage and write its result."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    root, name, function, arguments = Path(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
    folders = {key: root / value for key, value in arguments.items() if key.endswith("_folder")}
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    result = FUNCTIONS[function](Work.load(root), folder, **{**arguments, **folders})
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    write_json(folder / "result.json", {**result, "bytes_stored": stored, "versions": versions()})


if __name__ == "__main__":
    main()
