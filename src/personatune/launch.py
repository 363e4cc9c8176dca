"""What ``accelerate launch`` and ``torchrun`` tell each process they start, in its environment."""

from __future__ import annotations

import os


def launched_processes() -> int:
    """Return how many processes were started together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_number() -> int:
    """Return this process's number among them; 0 is the main one, which prints and writes."""
    return int(os.environ.get("RANK", "0"))
