"""``personatune serve`` as a process of its own, watched from outside."""

from __future__ import annotations

import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import httpx
import psutil

MEBIBYTE = 2**20


class Server:
    """A served model on a free port of this machine, with a key; leaving the ``with`` block ends it.

    Args:
        model: what ``--model`` takes.
        personas: one each, ``persona-1`` and so on unless they say a name.
        folder: for its standard error.
        per_minute: requests of one address.
        waiting: requests that may stand in line.
    """

    def __init__(self, model: str, personas: Sequence[str], folder: Path, *, per_minute: int, waiting: int) -> None:
        self.key = secrets.token_urlsafe(16)
        self._errors = folder / "server-stderr.txt"
        words = ["--model", model, "--port", "0", "--per-minute", str(per_minute), "--waiting", str(waiting)]
        words += [word for persona in personas for word in ("--persona", persona)]
        command = [sys.executable, "-m", "personatune", "serve", *words]
        environment = {**os.environ, "PERSONATUNE_API_KEY": self.key, "HF_HUB_OFFLINE": "1"}
        with self._errors.open("w", encoding="utf-8") as errors:
            self._program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        assert self._program.stdout is not None
        line = self._program.stdout.readline()
        found = re.search(r" at (http://\S+)/v1", line)
        if found is None:
            self._program.wait(timeout=30)
            raise SystemExit(f"the server didn't start: {line}{self._errors.read_text(encoding='utf-8')}")
        self.url = found[1]
        self.port = int(self.url.rpartition(":")[2])
        self.models = self._program.stdout.readline().removeprefix("models: ").strip().split(", ")
        self._process = psutil.Process(self._program.pid)
        self.exit_code: int | None = None

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def metrics(self) -> dict[str, float]:
        """Return the server's own figures by name."""
        answered = httpx.get(f"{self.url}/metrics", headers={"Authorization": f"Bearer {self.key}"}, timeout=30)
        answered.raise_for_status()
        lines = [line.rpartition(" ") for line in answered.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def memory(self) -> float:
        """Return the resident memory, in MiB."""
        return float(self._process.memory_info().rss) / MEBIBYTE

    def files(self) -> int:
        """Return the number of open files and sockets."""
        return int(self._process.num_fds())

    def cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def stop(self) -> float:
        """End it as Ctrl-C does; return the seconds it took."""
        began = time.monotonic()
        if self.exit_code is None:
            if self._program.poll() is None:
                self._program.send_signal(signal.SIGINT)
            try:
                self.exit_code = self._program.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self._program.kill()
                self.exit_code = self._program.wait()
        return time.monotonic() - began

    def complaints(self) -> list[str]:
        """Return what it wrote to standard error."""
        return [line for line in self._errors.read_text(encoding="utf-8").splitlines() if line.strip()]


class Watch:
    """Memory and open files over time; each figure is the median of the samples around its moment."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float, int]] = []  # seconds, MiB, files

    def add(self, seconds: float, server: Server) -> None:
        self.samples.append((seconds, server.memory(), server.files()))

    def memory_at(self, share: float) -> float:
        """Return the memory after a share of the time, in MiB."""
        width = max(1, len(self.samples) // 20)
        middle = round(share * (len(self.samples) - 1))
        around = self.samples[max(0, middle - width) : middle + width + 1]
        return statistics.median(memory for _, memory, _ in around)

    def growth_an_hour(self) -> float:
        """Return the slope of the memory from the first third on, in MiB an hour (least squares)."""
        late = self.samples[len(self.samples) // 3 :]
        if len(late) < 2:
            return 0.0
        slope = statistics.linear_regression([at for at, _, _ in late], [memory for _, memory, _ in late]).slope
        return 3600 * slope
