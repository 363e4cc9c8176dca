"""YAML of strangers: plain values only, no object of Python's, and no file that grows as it is read."""

from __future__ import annotations

from typing import Any

import yaml

from personatune.plain_text import whole_characters

MAX_NESTING = 100
"""Levels of lists and mappings. Settings and probes need five."""


class NotYamlError(ValueError):
    """What is wrong, in a line.

    Attributes:
        line: where, from 1; None: unknown.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def parse_yaml(text: str) -> Any:
    """Return the YAML value of ``text``, read by the safe loader (the compiled one where there is one).

    Anchors and aliases are refused: a few lines of them stand for gigabytes.

    Raises:
        NotYamlError: no YAML, an alias, nested deeper than `MAX_NESTING`, or a value that Python can't hold.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster where libyaml is compiled in
    text = whole_characters(text)
    try:
        _check(text, loader)
        return yaml.load(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise NotYamlError(" ".join(str(error.problem or error).split()), line) from None
    except yaml.YAMLError as error:
        raise NotYamlError(" ".join(str(error).split())) from None
    except (ValueError, OverflowError, TypeError, AttributeError, KeyError, IndexError) as error:
        if isinstance(error, NotYamlError):
            raise
        # the loader's own conversions: a date with month 99, a number of 5,000 digits, "0b" without a digit
        raise NotYamlError(f"a value that can't be read ({' '.join(str(error).split())})") from None


def _line(event: yaml.Event) -> int | None:
    return None if event.start_mark is None else event.start_mark.line + 1


def _check(text: str, loader: Any) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            raise NotYamlError(f"an alias (*{event.anchor}); write the value out", _line(event))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_NESTING:
                raise NotYamlError(f"nested deeper than {MAX_NESTING} levels", _line(event))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
