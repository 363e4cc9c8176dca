"""How every benchmark ends: a line for a user's mistake (exit code 2) and for Ctrl-C (130), without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from personatune.errors import UserError


def benchmark(main: Callable[[], None]) -> None:
    """Run a benchmark."""
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\nstopped; the same command starts again, behind what it has kept", file=sys.stderr)
        raise SystemExit(130) from None
