"""A million dialogues through reading, cleaning and `personatune prepare`: how much memory, and how fast.

    python campaigns/size.py [--dialogues 1000000] [--data FOLDER] [--model tiny] [--work FOLDER] [--file FILE]
                             [--only reading prepare] [--quick]

The real dialogues of ``--data`` (Synthetic-Persona-Chat where the shared data lie beside the project, else the
embedded chitchat ones) are repeated until there are enough. Every repetition has a turn of its own, every tenth a
persona sentence of its own, and one in twenty is an exact duplicate. The file (2 kB a dialogue) is written to a
temporary folder and deleted at the end; ``--file`` keeps it, and takes it as it is when it is there. Then, each in a
process of its own:

1. *Reading and cleaning*: from the file to cleaned dialogues without duplicates on the disk. Its speed counts
   processor seconds, so that it is that of one core whatever else runs.
2. ``personatune prepare`` on the file, with a model (``tiny`` is a random one, ``embedded`` the shipped base model).

Promised, else exit code 1: under 1.5 GB in both, at least 3,000 dialogues/s in the first, and that nothing is lost:
every row is kept, or dropped for a reason that is counted. ``--quick``: 30,000 dialogues. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from personatune.data.cleaning import clean_onto
from personatune.data.shelf import Shelves
from personatune.data.sources import DatasetLoader
from personatune.dialogue import Dialogue
from personatune.storage import replacing

REPOSITORY = Path(__file__).resolve().parents[1]
MEMORY_LIMIT = 1_500_000_000  # bytes
LEAST_SPEED = 3_000  # dialogues a processor second
DUPLICATES = 0.05
NEW_SENTENCES = 0.1


def main() -> int:
    """Write the file, measure both, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=1_000_000)
    parser.add_argument("--data", default=None)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--work", type=Path, default=None, help="where the temporary folder is made")
    parser.add_argument("--file", type=Path, default=None, help="keep the dialogues there, or take those that are")
    parser.add_argument("--only", nargs="+", choices=("reading", "prepare"), default=("reading", "prepare"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="30,000 dialogues")
    parser.add_argument("--read-and-clean", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read_and_clean:
        print(json.dumps(read_and_clean(options.read_and_clean)))
        return 0
    count = 30_000 if options.quick else options.dialogues
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        file = options.file or Path(folder) / "many.jsonl"
        found: dict[str, Any] = {
            "dialogues": count,
            **write(file, options.data or default_source(), count, options.seed),
        }
        if "reading" in options.only:
            found |= measure_reading(file, count)
        if "prepare" in options.only:
            found |= measure_prepare(file, Path(folder), options.model)
    broken = promises(found)
    for name, value in found.items():
        shown = f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        print(f"{name.replace('_', ' '):>28}  {shown}")
    for name in broken:
        print(f"broken: {name}")
    print(json.dumps({**found, "broken": broken}))
    return 1 if broken else 0


def default_source() -> str:
    """Return the folder of Synthetic-Persona-Chat beside the project, or the embedded dialogues."""
    shared = Path(os.environ.get("PERSONATUNE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    real = shared / "synthetic-persona-chat"
    return str(real) if real.is_dir() else "chitchat"


def write(file: Path, source: str, count: int, seed: int) -> dict[str, Any]:
    """Write the dialogues unless they are there; returns of how many they are made and how large the file is.

    Raises:
        SystemExit: the file that is there has another number of them.
    """
    if file.is_file():
        with file.open("rb") as stream:
            rows = sum(1 for _ in stream)
        if rows != count:
            raise SystemExit(f"{file}: {rows} dialogues, expected {count}; give --dialogues {rows} or delete it")
        return {"file_bytes": file.stat().st_size}
    real = DatasetLoader(source).load().dialogues
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in many(real, count, seed))
    return {"made_of": len(real), "file_bytes": file.stat().st_size}


def measure_reading(file: Path, count: int) -> dict[str, Any]:
    """Return speed and memory of reading and cleaning."""
    used, out = run([sys.executable, __file__, "--read-and-clean", str(file)])
    read = json.loads(out)
    return {
        "reading_core_seconds": read["seconds"],
        "dialogues_a_core_second": count / read["seconds"],
        "reading_peak_bytes": used["peak_bytes"],
        "kept": read["kept"],
        "cleaning_counts": read["counts"],
    }


def measure_prepare(file: Path, folder: Path, model: str) -> dict[str, Any]:
    """Return time and memory of `personatune prepare`, and what it says of the data."""
    place = _tiny(folder) if model == "tiny" else model
    command = [sys.executable, "-m", "personatune", "prepare", "--preset", "standard", "--name", "size"]
    used, _ = run([*command, "--data", str(file), "--model", place, "--runs", str(folder / "runs")])
    about = json.loads((folder / "runs" / "size" / "prepare" / "data.json").read_text(encoding="utf-8"))
    return {
        "prepare_wall_seconds": used["wall_seconds"],
        "prepare_core_seconds": used["core_seconds"],
        "prepare_peak_bytes": used["peak_bytes"],
        "prepare_read": about["statistics"]["source"]["description"],
        "prepare_counts": about["counts"],
        "perspectives": {part: about["statistics"][part]["perspectives"] for part in ("train", "validation", "test")},
    }


def promises(found: Mapping[str, Any]) -> list[str]:
    """Return what was promised and isn't so, of what was measured."""
    checks: dict[str, bool] = {}
    if "kept" in found:
        counts = found["cleaning_counts"]
        gone = sum(count for reason, count in counts.items() if reason.startswith("dropped: "))
        checks |= {
            f"reading and cleaning takes less than {MEMORY_LIMIT:,} bytes": found["reading_peak_bytes"] < MEMORY_LIMIT,
            f"at least {LEAST_SPEED:,} dialogues a core second": found["dialogues_a_core_second"] >= LEAST_SPEED,
            "every row is kept or dropped for a reason": found["kept"] + gone == found["dialogues"],
        }
    if "perspectives" in found:
        checks |= {
            f"prepare takes less than {MEMORY_LIMIT:,} bytes": found["prepare_peak_bytes"] < MEMORY_LIMIT,
            "prepare saw every row": f" {found['dialogues']} rows" in found["prepare_read"],
            "there is something to train on": found["perspectives"]["train"] > 0,
        }
    return [name for name, kept in checks.items() if not kept]


def many(real: Sequence[Dialogue], count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield ``count`` rows in the project's own format: the real dialogues, then changed copies of them."""
    draw = random.Random(seed)
    for number in range(count):
        copy, place = divmod(number, len(real))
        dialogue = real[place]
        turns = [{"speaker": turn.speaker, "text": turn.text} for turn in dialogue.turns]
        personas = {speaker: list(persona.traits) for speaker, persona in dialogue.personas.items()}
        if copy and draw.random() >= DUPLICATES:
            turns[draw.randrange(min(8, len(turns)))]["text"] += f" That was {number} days ago."
            if draw.random() < NEW_SENTENCES:
                traits = personas[draw.choice(list(personas))]
                traits[draw.randrange(len(traits))] = f"I have collected {number} stamps."
        yield {"id": f"{dialogue.id}-{copy}", "turns": turns, "personas": personas}


def read_and_clean(file: Path) -> dict[str, Any]:
    """Do what `prepare` does first, and count this process's own processor seconds."""
    begun = time.process_time()
    with Shelves(file.parent) as shelves:
        kept = shelves.dialogues()
        counts = clean_onto(DatasetLoader(str(file)).stream().dialogues, kept)
        return {"seconds": time.process_time() - begun, "kept": len(kept), "counts": dict(counts)}


def run(command: list[str]) -> tuple[dict[str, float], str]:
    """Run a process; returns its seconds and the most memory it had, and the last line it printed.

    Raises:
        SystemExit: it failed.
    """
    begun = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command[1:4])}: ended with {process.returncode}")
        out.seek(0)
        lines = out.read().splitlines()
    measured = {
        "wall_seconds": time.perf_counter() - begun,
        "core_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }
    return measured, lines[-1] if lines else ""


def _tiny(folder: Path) -> str:
    """Write a random model and its tokenizer, as the tests make them; return where."""
    sys.path.insert(0, str(REPOSITORY))
    from tests.conftest import TinyModels

    return str(TinyModels().save(folder / "model"))


if __name__ == "__main__":
    sys.exit(main())
