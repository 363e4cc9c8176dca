"""Peak memory of a stretch of work, on CUDA from torch's allocator, on the CPU from the kernel or by sampling."""

from __future__ import annotations

import ctypes
import errno
import sys
import threading
from pathlib import Path

_STATUS = Path("/proc/self/status")
_SMAPS = Path("/proc/self/smaps")
_CLEAR = Path("/proc/self/clear_refs")
_CGROUP = Path("/sys/fs/cgroup")
_SAMPLING_SECONDS = 0.05
_NO_MEMORY = ("can't allocate memory", "annot allocate memory", "bad_alloc", "unable to mmap", "out of memory")
"""How torch's CPU allocator, C++, safetensors and CUDA say it."""


class PeakMemory:
    """Measures the peak between `start` and `stop`, in bytes.

    ``device`` says what was measured: "gpu" (bytes allocated by torch on the fullest device) or "cpu" (resident set
    of this process). The kernel keeps the exact high-water mark of the resident set and lets a process reset its own;
    where that is not allowed, a thread samples it every 50 ms, and a shorter peak can be missed.
    """

    def __init__(self) -> None:
        self.device = "gpu" if _cuda_in_use() else "cpu"
        self._sampler: _Sampler | None = None
        self._peak = 0

    def start(self) -> None:
        """Forget earlier peaks."""
        if self.device == "gpu":
            import torch

            for index in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(index)
        elif not _reset_high_water():
            self._sampler = _Sampler()
            self._sampler.start()

    def peak(self) -> int:
        """Return the peak since `start`, in bytes."""
        if self.device == "gpu":
            import torch

            return max(int(torch.cuda.max_memory_allocated(index)) for index in range(torch.cuda.device_count()))
        if self._sampler is not None:
            return self._sampler.peak
        return _high_water()

    def devices(self) -> int:
        """Return the number of GPUs that held anything since `start`, at least 1; 1 on the CPU."""
        if self.device == "cpu":
            return 1
        import torch

        used = [index for index in range(torch.cuda.device_count()) if torch.cuda.max_memory_allocated(index)]
        return max(len(used), 1)

    def stop(self) -> int:
        """Return the peak since `start` and stop measuring."""
        if self._sampler is not None:
            self._sampler.finish()
        return self.peak()


def _cuda_in_use() -> bool:
    # torch is asked only where something else has loaded it: measuring must not cost its import.
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_available())


def _reset_high_water() -> bool:
    before = _STATUS.exists() and _high_water()
    if not before:
        return False
    try:
        _CLEAR.write_text("5", encoding="ascii")  # proc(5): resets VmHWM to the current resident set
    except OSError:
        return False
    return True


def _high_water() -> int:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


class _Sampler(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="peak-memory", daemon=True)
        import psutil

        self._process = psutil.Process()
        self._done = threading.Event()
        self.peak = int(self._process.memory_info().rss)

    def run(self) -> None:
        while not self._done.wait(_SAMPLING_SECONDS):
            self._look()

    def finish(self) -> None:
        self._done.set()
        self.join()
        self._look()

    def _look(self) -> None:
        self.peak = max(self.peak, int(self._process.memory_info().rss))


def out_of_memory(error: BaseException | None) -> bool:
    """Say whether an error means that there was no memory to be had, in the words of whoever asked for it."""
    while error is not None:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if isinstance(error, MemoryError) or "OutOfMemoryError" in kinds:  # torch's, of a GPU
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if kinds & {"RuntimeError", "SafetensorError"} and any(words in str(error) for words in _NO_MEMORY):
            return True
        error = error.__cause__
    return False


def resident_memory() -> int:
    """Return the bytes that this process holds in memory now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def footprint() -> int:
    """Return what this process can't do without: what it holds in memory, less free heap that new tensors will fill.

    Freed memory stays with the process (`personatune.allocator`), so after a stage most of the heap is free.
    """
    return resident_memory() - free_heap()


def free_heap() -> int:
    """Return the bytes of glibc's heap that are in memory and free; 0 with another C library."""
    try:
        used = _in_use()
        lines = _SMAPS.read_text(encoding="ascii", errors="replace").splitlines()
    except (OSError, AttributeError, ValueError):
        return 0
    heads = [number for number, line in enumerate(lines) if line.endswith("[heap]")]
    sizes = [next(line for line in lines[head:] if line.startswith("Rss:")) for head in heads]
    held = sum(int(size.split()[1]) * 1024 for size in sizes)
    return max(0, held - used)


def _in_use() -> int:
    """Return the bytes that malloc has given out and not got back, blocks mapped on their own left out."""
    libc = ctypes.CDLL("libc.so.6")
    libc.mallinfo2.restype = _Mallinfo2
    return int(libc.mallinfo2().uordblks)


class _Mallinfo2(ctypes.Structure):  # mallinfo2(3), glibc 2.33
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def available_memory() -> int:
    """Return the bytes that this process can still get on this machine: free ones, or fewer under a cgroup's limit."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit, used = (_cgroup_number(name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else max(0, min(free, limit - used))


def _cgroup_number(name: str) -> int | None:
    """Read a number of this container's control group (version 2); None where there is none or no limit."""
    try:
        return int((_CGROUP / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
