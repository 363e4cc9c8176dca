"""The side's end of a paired benchmark: wait for the turn, work, say what it took. Standard library only.

It is imported by our side and by the peer's, whose environment has no personatune. A side prints lines that begin with
a mark; whatever else libraries print is passed over.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

MARK = "@side "


class Turns:
    """One side's turns: `begin` waits for the go-ahead and starts the clock, `done` stops it and reports."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds
        self._started = 0.0

    def begin(self) -> None:
        """Wait until it is this side's turn, then start the clock."""
        if sys.stdin.readline().strip() != "go":
            raise SystemExit("the benchmark ended before this side's last turn")
        self._started = time.perf_counter()

    def done(self, **figures: Any) -> None:
        """Report a finished turn and wait for the next one, if there is one."""
        say(seconds=time.perf_counter() - self._started, **figures)
        self.left -= 1
        if self.left > 0:
            self.begin()


def say(**figures: Any) -> None:
    """Print one line for the benchmark."""
    print(MARK + json.dumps(figures), flush=True)


def peak_bytes() -> int:
    """Return the highest resident set this process ever had (VmHWM of proc(5)), in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages, torch and Python first."""
    found = {name: version(name) for name in ("torch", "transformers", "peft", *packages)}
    return {"python": sys.version.split()[0], **found}
