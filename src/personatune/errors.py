"""The one error that a user can cause: it carries a single line and ends the program with exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from personatune.plain_text import one_line, without_secrets


class UserError(Exception):
    """A mistake in the input, told in one line: where, what was found, what was expected, the way out.

    The line may quote what a stranger or a library wrote: whatever would break it, steer a terminal or tell a secret of
    the environment is taken out here.
    """

    exit_code = 2

    def __init__(self, line: str) -> None:
        super().__init__(one_line(without_secrets(line)))


class DamagedFileError(UserError):
    """A file that came with the installation isn't what was published: nobody may go on without it as if it were."""


class ToldElsewhereError(UserError):
    """A user's mistake that another process of the same run tells: this one only ends with the same exit code."""


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known word, or an empty string."""
    nearest = difflib.get_close_matches(found, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""
