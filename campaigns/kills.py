"""Kills a run at random moments, over and over, and compares what it comes to with a run that nobody disturbed.

    python campaigns/kills.py [--kills 60] [--stops 20] [--seed 0] [--quick] [--embedded] [--keep FOLDER]

A random model small enough to be trained in a minute goes through every stage of ``personatune run`` and through
``personatune dpo``, as real processes. Each is killed with SIGKILL (the whole process group) at a random moment of a
stage, the stages in turn, or while it writes: every second kill of stages with checkpoints waits until a file or
folder is being written there. Others are stopped with SIGTERM or Ctrl-C, which must end them within ten seconds with
exit code 130. The same command goes on each time. When a run is done it is compared with the undisturbed one: every
file, the weights byte for byte, every figure but those of clocks, every row of the trackers once. Runs are begun anew
until all kills are spent.

The last line is one JSON object; exit code 1 when something differs, a stop took longer or a command failed.
``--quick``: 8 kills and 4 stops. ``--embedded``: the embedded model and dialogues, which take minutes a run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from killing.differences import differences
from killing.setting import CHECKPOINTED, NAME, commands, environment, make_setting

STAGES = ("prepare", "baseline", "sft", "preferences", "reward", "ppo", "evaluate", "compare", "report", "dpo")
PROMISED_SECONDS = 10.0
PER_RUN = 20
"""Disturbances of one run at most: the rest go to another one."""

Kind = Literal["kill", "write", "SIGTERM", "SIGINT"]


@dataclass
class Tally:
    """What was done to the runs and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    in_writes: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    stop_seconds: list[float] = field(default_factory=list)
    resumes: int = 0
    rounds: int = 0
    broken: list[str] = field(default_factory=list)

    def spent(self) -> int:
        return self.kills.total() + self.stops.total()

    def to_json(self) -> dict[str, Any]:
        return {
            "kills": self.kills.total(),
            "kills_by_stage": dict(self.kills),
            "during_a_write": self.in_writes.total(),
            "stops": self.stops.total(),
            "slowest_stop_seconds": round(max(self.stop_seconds, default=0.0), 2),
            "resumes": self.resumes,
            "runs": self.rounds,
            "broken": self.broken,
        }


def _heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has background jobs ignore it


@dataclass
class Process:
    """One call of the program on a run."""

    command: list[str]
    run: Path

    def __post_init__(self) -> None:
        self.log = self.run.parent / "log.txt"
        with self.log.open("a", encoding="utf-8") as stream:
            self.process = subprocess.Popen(
                self.command,
                stdout=stream,
                stderr=stream,
                env=environment(),
                start_new_session=True,
                preexec_fn=_heed_ctrl_c,  # noqa: PLW1509  (there are no threads)
            )

    def stage(self) -> str | None:
        """Return the stage it is at, as its lock tells."""
        try:
            found = json.loads((self.run / ".lock.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found.get("stage") if found.get("pid") == self.process.pid else None

    def at(self, stage: str) -> bool:
        """Wait until it is at a stage or beyond; False where it ended before."""
        while self.process.poll() is None:
            here = self.stage()
            if here is not None and STAGES.index(here) >= STAGES.index(stage):
                return True
            time.sleep(0.002)
        return False

    def send(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)

    def end(self) -> int:
        try:
            return self.process.wait()
        except BaseException:  # the campaign is stopped, and so is what it began
            self.send(signal.SIGKILL)
            raise


def main() -> None:
    """Make the undisturbed run, disturb others, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="8 kills, 4 stops")
    parser.add_argument("--embedded", action="store_true", help="the embedded model instead of the random one")
    parser.add_argument("--keep", type=Path, help="work in this folder, leave it there, go on with its undisturbed run")
    asked = parser.parse_args()
    kills, stops = (8, 4) if asked.quick else (asked.kills, asked.stops)
    tally = Tally()
    with TemporaryDirectory() as temporary:
        try:
            campaign(asked.keep or Path(temporary), kills, stops, asked.seed, tally, embedded=asked.embedded)
        except KeyboardInterrupt:
            tally.broken.append("the campaign itself was stopped; the run under way was not compared")
    print_tally(tally)
    print(json.dumps(tally.to_json()))
    sys.exit(bool(tally.broken))


def campaign(folder: Path, kills: int, stops: int, seed: int, tally: Tally, *, embedded: bool = False) -> None:
    """Disturb runs until all kills and stops are spent; everything lies under ``folder``."""
    rng = random.Random(seed)
    setting = None if embedded else make_setting(folder / "setting")
    calm = folder / "calm" / NAME
    calm.parent.mkdir(parents=True, exist_ok=True)
    for command in commands(setting, calm.parent):
        process = Process(command, calm)
        if process.end():
            tally.broken.append(f"the undisturbed run failed: {_last_line(process.log)}")
            return
    took = _seconds(calm)
    while tally.spent() < kills + stops and not tally.broken:
        left = kills - tally.kills.total(), stops - tally.stops.total()
        print(f"run {tally.rounds + 1}: {left[0]} kills and {left[1]} stops left", flush=True)
        runs = folder / f"disturbed-{tally.rounds}"
        shutil.rmtree(runs, ignore_errors=True)
        runs.mkdir(parents=True)
        disturb(commands(setting, runs), runs / NAME, _plan(*left, rng), took, rng, tally)
        tally.rounds += 1
        if not tally.broken:
            tally.broken += [f"run {tally.rounds}: {odd}" for odd in differences(calm, runs / NAME)]


def _plan(kills: int, stops: int, rng: random.Random) -> dict[str, list[Kind]]:
    """Deal kills and stops to the stages, each stage's in random order."""
    stopping: tuple[Kind, ...] = ("SIGTERM", "SIGINT")
    kinds: list[Kind] = ["kill" for _ in range(kills)]
    kinds += [rng.choice(stopping) for _ in range(stops)]
    rng.shuffle(kinds)
    plan: dict[str, list[Kind]] = {stage: [] for stage in STAGES}
    order = list(STAGES)
    rng.shuffle(order)
    for number, kind in enumerate(kinds[:PER_RUN]):
        stage = order[number % len(order)]
        planned = [one for other in CHECKPOINTED for one in plan[other]]
        writes = planned.count("write") <= planned.count("kill")
        plan[stage].append("write" if kind == "kill" and stage in CHECKPOINTED and writes else kind)
    return plan


def disturb(
    calls: Sequence[list[str]],
    run: Path,
    plan: dict[str, list[Kind]],
    took: dict[str, float],
    rng: random.Random,
    tally: Tally,
) -> None:
    """Make one run, disturbed as planned; what can't be placed, because the stage was over too soon, is left out."""
    begun = 0
    for call in calls:
        own = [stage for stage in STAGES if (stage == "dpo") == ("dpo" in call)]
        todo = [(stage, kind) for stage in own for kind in plan[stage]]
        while True:
            process = Process(call, run)
            begun += 1
            while todo and process.at(todo[0][0]):
                stage, kind = todo.pop(0)
                if _strike(process, stage, kind, took.get(stage, 1.0), rng, tally):
                    break
                done = _done(run)
                todo = [(stage, kind) for stage, kind in todo if stage not in done]
            code = process.end()
            if code not in (130, -signal.SIGKILL):
                break
        if code:
            tally.broken.append(f"exit code {code}: {_last_line(process.log)}")
            return
    tally.resumes += begun - len(calls)


def _strike(process: Process, stage: str, kind: Kind, seconds: float, rng: random.Random, tally: Tally) -> bool:
    """Kill or stop a process at a random moment of a stage, or while it writes; False: the stage was over sooner."""
    writing: list[Path] = []
    if kind == "write":
        writing = _wait_for_a_write(process, stage, skip=rng.randrange(3))
        if not writing:
            return False
    else:
        _wait(process, rng.uniform(0, seconds))
    here = process.stage()
    if here is None or process.process.poll() is not None:
        return False
    begun = time.monotonic()
    process.send(signal.SIGKILL if kind in ("kill", "write") else signal.Signals[kind])
    code = process.end()
    if code == 0:  # it was done meanwhile
        return True
    if kind in ("kill", "write"):
        tally.kills[here] += 1
        tally.in_writes[here] += any(path.exists() for path in writing)
        return True
    tally.stops[here] += 1
    tally.stop_seconds.append(time.monotonic() - begun)
    if tally.stop_seconds[-1] > PROMISED_SECONDS or code != 130:
        tally.broken.append(f"{kind} at {here}: exit code {code} after {tally.stop_seconds[-1]:.1f} s")
    return True


def _wait(process: Process, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.process.poll() is None:
        time.sleep(0.002)


def _wait_for_a_write(process: Process, stage: str, skip: int) -> list[Path]:
    """Wait until something is being written in a stage's folders, the ``skip`` first writes left alone.

    The process is halted in the middle of it, to be killed there: a small file is written sooner than a kill arrives.
    """
    seen: set[str] = set()
    while process.process.poll() is None and process.stage() == stage:
        for _ in range(50):
            writing = list(_being_written(process.run / stage))
            if any(path.name not in seen for path in writing):
                seen |= {path.name for path in writing}
                if len(seen) > skip:
                    process.send(signal.SIGSTOP)
                    time.sleep(0.001)
                    if any(path.exists() for path in writing):
                        return writing
                    process.send(signal.SIGCONT)
            time.sleep(0.0002)
    return []


def _being_written(folder: Path) -> Iterator[Path]:
    folders = [folder / "checkpoints", folder]
    if folder.name == "compare":
        folders += [path / "checkpoints" for path in folder.glob("choice-*")]
    for place in folders:
        try:
            with os.scandir(place) as entries:
                yield from (Path(entry.path) for entry in entries if entry.name.endswith(".part"))
        except OSError:
            continue


def _done(run: Path) -> set[str]:
    try:
        lines = (run / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {json.loads(line)["stage"] for line in lines}


def _seconds(run: Path) -> dict[str, float]:
    rows = [json.loads(line) for line in (run / "costs.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["stage"]: float(row["wall_seconds"]) for row in rows}


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing was printed"


def print_tally(tally: Tally) -> None:
    """Print the table."""
    print(f"\n{'stage':<12}{'kills':>7}{'in a write':>12}{'stops':>7}")
    for stage in STAGES:
        print(f"{stage:<12}{tally.kills[stage]:>7}{tally.in_writes[stage]:>12}{tally.stops[stage]:>7}")
    total = tally.kills.total(), tally.in_writes.total(), tally.stops.total()
    print(f"{'all':<12}{total[0]:>7}{total[1]:>12}{total[2]:>7}")
    slowest = max(tally.stop_seconds, default=0.0)
    print(f"{tally.rounds} runs, {tally.resumes} resumes; slowest stop {slowest:.1f} s of {PROMISED_SECONDS:.0f}")
    for line in tally.broken or ["no difference to the undisturbed run"]:
        print(line)


if __name__ == "__main__":
    main()
