"""The one error that a user can cause: it carries a single line and ends the program with exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the input, told in one line: where, what was found, what was expected, the way out."""

    exit_code = 2


class DamagedFileError(UserError):
    """A file that came with the installation isn't what was published: nobody may go on without it as if it were."""


class ToldElsewhereError(UserError):
    """A user's mistake that another process of the same run tells: this one only ends with the same exit code."""


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known word, or an empty string."""
    nearest = difflib.get_close_matches(found, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""
