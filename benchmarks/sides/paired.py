"""Two processes that take turns on one machine, each measuring itself: the benchmark's end of it.

Both sides are alive all the time and one works while the other waits for its turn, so whatever else runs on the machine
slows both alike. The first turn of each warms up and is not counted.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sides.turns import MARK

BENCHMARKS = Path(__file__).resolve().parents[1]


class Side:
    """A worker process that waits for its turns (see `sides.turns`)."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self._log = log
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), os.environ.get("PYTHONPATH", "")]),
            # Threads spin for a moment, as on a quiet machine (cli/options.py), then sleep: the side whose
            # turn it isn't costs nothing. It goes before OMP_WAIT_POLICY.
            "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "200000"),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "TRL_EXPERIMENTAL_SILENCE": "1",
        }
        with log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )

    def turn(self) -> dict[str, Any]:
        """Let the side work once; returns what it reports, ``seconds`` among it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Return the side's next line."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                return dict(json.loads(line.removeprefix(MARK)))
        raise self._failed()

    def stop(self) -> None:
        """End the process if it is still there."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _failed(self) -> RuntimeError:
        self.stop()
        tail = self._log.read_text(encoding="utf-8", errors="replace")[-1500:]
        return RuntimeError(f"{self.name} ended too early; its last words:\n{tail}")


def alternate(
    sides: Mapping[str, Side], rounds: int, say: Callable[[str], None] = lambda line: print(line, file=sys.stderr)
) -> dict[str, dict[str, Any]]:
    """Give each side ``rounds`` turns after one to warm up, in turn; returns each side's ``ready``, ``turns``, ``end``.

    ``ready`` is what a side said before its first turn, ``end`` what it says after its last: peak memory and versions.
    """
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    try:
        ready = {name: side.hear() for name, side in sides.items()}
        for number in range(rounds + 1):
            for name, side in sides.items():
                turns[name].append(side.turn())
                say(f"{'warm-up' if number == 0 else f'round {number}'}: {name} {turns[name][-1]['seconds']:.2f} s")
        return {name: {"ready": ready[name], "turns": turns[name], "end": side.hear()} for name, side in sides.items()}
    finally:
        for side in sides.values():
            side.stop()


def median_seconds(found: Mapping[str, Any]) -> float:
    """Return the median of a side's turns without the first."""
    return statistics.median(turn["seconds"] for turn in found["turns"][1:])


def summary(peer: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``time_ratio`` and ``memory_ratio`` (peer over ours) and what they are made of."""
    sides = {"peer": peer, "ours": ours}
    return {
        "time_ratio": round(median_seconds(peer) / median_seconds(ours), 3),
        "memory_ratio": round(peer["end"]["peak_bytes"] / ours["end"]["peak_bytes"], 3),
        "seconds": {name: [round(turn["seconds"], 3) for turn in side["turns"][1:]] for name, side in sides.items()},
        "warm_up_seconds": {name: round(side["turns"][0]["seconds"], 3) for name, side in sides.items()},
        "peak_bytes": {name: side["end"]["peak_bytes"] for name, side in sides.items()},
        "versions": {name: side["end"]["versions"] for name, side in sides.items()},
    }
