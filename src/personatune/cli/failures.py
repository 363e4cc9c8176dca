"""What the machine does to a command: nobody reads its output, the terminal lacks letters, memory or disk give out."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from personatune.costs.memory import out_of_memory
from personatune.errors import UserError

UNREAD = 128 + 13
"""The exit code where nobody reads the output any more: that of a program ended by SIGPIPE."""

_MACHINE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE,
}  # fmt: skip
"""Failures of the file system. Another, as of a file that isn't there, may be a mistake of ours: its trace tells."""


def prepare_streams() -> None:
    """Let letters that the terminal's encoding lacks be written as escapes (``\\u2248``) and not end the program."""
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
        reconfigure = getattr(stream, "reconfigure", None)  # a replaced stream may not have it
        if reconfigure is not None and not encoding.startswith("utf"):
            reconfigure(errors="backslashreplace")


@contextmanager
def quiet_when_unread() -> Iterator[None]:
    """End without a trace where nobody reads the output any more, as in ``personatune runs | head -1``."""
    try:
        yield
        _flush()
    except BrokenPipeError:
        _discard_output()
        sys.exit(UNREAD)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer and rich then exit with 1, which means more here
            _discard_output()
            sys.exit(UNREAD)
        try:
            _flush()
        except BrokenPipeError:
            _discard_output()
            sys.exit(ended.code or UNREAD)
        raise


def machine_failure(error: BaseException) -> str | None:
    """Return in a line what the machine lacks; None where the error may be a mistake of the program's."""
    if out_of_memory(error):
        return "out of memory; close other programs, or take a smaller model or a larger machine"
    if isinstance(error, OSError) and error.errno in _MACHINE:
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror}; what was complete before stays as it was"
    return None


def _flush() -> None:
    """Write what is left of the output now: the interpreter would meet a closed pipe or a full disk while it ends."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        with suppress(OSError):
            print(f"personatune: the output can't be written ({error.strerror or error})", file=sys.stderr)
        sys.exit(UserError.exit_code)


def _discard_output() -> None:
    # A replaced stream may have no file behind it.
    with suppress(OSError, ValueError, AttributeError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
