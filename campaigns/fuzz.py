"""Feeds every reader with hostile files for half an hour: damaged valid ones, and ones that were never valid.

Allowed is a result, or a `UserError` of one plain line that names the file. Everything else is a finding: any other
exception, more than 20 s of the processor or 1 GiB of memory for one input, a process that dies. Its input is kept.
Each reader works in a process of its own; hypothesis draws the inputs, so that a seed gives them again.

    python campaigns/fuzz.py [--minutes 30] [--quick] [--reader NAME] [--keep FOLDER] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from hostile.readers import Reader, readers
from hostile.worker import Tally, keep, work

QUICK_MINUTES = 3.0
_SILENT_SECONDS = 300.0  # without a sign of life; an input may take 20 s of a processor that others use too
_LEAST_SECONDS = 1.0


def fuzz(reader: Reader, folder: Path, seconds: float, number: int) -> Tally:
    """Feed one reader; a worker that dies or falls silent is a finding, and another one goes on."""
    folder.mkdir(parents=True)
    left, lost = seconds, 0
    while left > _LEAST_SECONDS:
        begin = time.monotonic()
        command = [
            sys.executable,
            __file__,
            "--worker",
            reader.name,
            str(folder),
            str(left),
            str(number + 100_000 * lost),
        ]
        code = _watched(command, folder)
        left -= time.monotonic() - begin
        if code == 0:
            break
        lost += 1
        tally = _tally(reader, folder)
        now = folder / "now.txt"
        name, made = now.read_text(encoding="utf-8").split("\n")[:2] if now.is_file() else ("none", "before any input")
        content = (folder / name).read_bytes() if (folder / name).is_file() else b""
        why = "silent for minutes" if code is None else f"exit code {code}"
        keep(tally, folder, f"died: {why}", name, made, content)
        tally.write(folder)
        if name == "none":  # it would die again and again
            break
    return _tally(reader, folder)


def _watched(command: list[str], folder: Path) -> int | None:
    """Run a worker to its end; None: it fell silent and was killed."""
    with subprocess.Popen(command) as child:
        begin = time.time()
        while True:
            try:
                return child.wait(timeout=2)
            except subprocess.TimeoutExpired:
                sign = folder / "now.txt"
                last = sign.stat().st_mtime if sign.is_file() else begin
                if time.time() - max(last, begin) > _SILENT_SECONDS:
                    child.kill()
                    child.wait()
                    return None


def _tally(reader: Reader, folder: Path) -> Tally:
    place = folder / "tally.json"
    if not place.is_file():
        return Tally(reader.name)
    return Tally(**json.loads(place.read_text(encoding="utf-8")))


def run(folder: Path, minutes: float, names: list[str] | None = None, number: int = 0) -> list[Tally]:
    """Feed the readers one after the other, each for its share of the time."""
    every = readers(folder)
    chosen = [reader for reader in every if not names or reader.name in names]
    tallies = []
    print(f"{'reader':<20} {'inputs':>8} {'accepted':>9} {'refused':>8} {'findings':>9}", flush=True)
    for place, reader in enumerate(chosen):
        tally = fuzz(reader, folder / f"reader-{place:02d}", 60 * minutes / len(chosen), number)
        tallies.append(tally)
        print(
            f"{tally.reader:<20} {tally.inputs:>8,} {tally.accepted:>9,} {tally.refused:>8,} "
            f"{sum(tally.findings.values()):>9,}",
            flush=True,
        )
    return tallies


def main() -> int:
    """Run the campaign; return 1 where something was found."""
    if sys.argv[1:2] == ["--worker"]:
        name, folder, seconds, number = sys.argv[2:]
        work(name, Path(folder), float(seconds), int(number))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_MINUTES:.0f} minutes")
    parser.add_argument("--reader", action="append", help="only this one; several times")
    parser.add_argument("--keep", type=Path, help="a new folder for the inputs of findings")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="personatune-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    known = [reader.name for reader in readers(folder)]
    if odd := set(options.reader or ()) - set(known):
        parser.error(f"no reader {odd.pop()!r}; there are {', '.join(known)}")
    tallies = run(folder, QUICK_MINUTES if options.quick else options.minutes, options.reader, options.seed)
    findings = {f"{tally.reader}: {kind}": count for tally in tallies for kind, count in tally.findings.items()}
    for kind, count in findings.items():
        print(f"{count:>6,} × {kind}")
    total = sum(tally.inputs for tally in tallies)
    print(f"{total:,} inputs, {sum(findings.values()):,} findings of {len(findings)} kinds; inputs kept in {folder}")
    print(
        json.dumps(
            {"campaign": "fuzz", "inputs": total, "findings": findings, "readers": [asdict(one) for one in tallies]}
        )
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
