"""The program as its entry point runs it, in the test's own process."""

from __future__ import annotations

import sys


def call(*words: str) -> int:
    """Run the program with these words; return its exit code."""
    from personatune.cli import main

    before = sys.argv
    sys.argv = ["personatune", *words]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = before
    return 0
