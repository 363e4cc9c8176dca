"""Numbers in a row of words: "thirty", "four" are 34; "a hundred and six" is 106; "26" is itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personatune.lexicon import NUMBER_DIGITS
from personatune.words import digits_value, stem

_VALUES = {stem(word): int(digits) for word, digits in NUMBER_DIGITS.items()}


@dataclass(frozen=True, slots=True)
class Number:
    """A number and the words it is said with: places ``start`` to ``end`` (exclusive) of the row."""

    value: int
    start: int
    end: int


def numbers_in(row: Sequence[str]) -> list[Number]:
    """Return the numbers in a row of stems or words, in order; number words that belong together are one."""
    found: list[Number] = []
    for place, word in enumerate(row):
        value = _VALUES.get(stem(word)) if (digits := digits_value(word)) is None else digits
        if value is None:
            continue
        last = found[-1] if found and not row[found[-1].end - 1].isdecimal() else None
        linked = last and list(row[last.end : place]) in ([], ["and"] if last.value >= 100 else [])
        if last and linked and (joined := _join(last.value, value)) is not None:
            found[-1] = Number(joined, last.start, place + 1)
        else:
            found.append(Number(value, place, place + 1))
    return found


def _join(first: int, second: int) -> int | None:
    if second in (100, 1000) and 0 < first < second:
        return first * second
    if first >= 20 and first % 10 == 0 and 0 < second < 10:
        return first + second
    if 11 <= first <= 20 and 10 <= second < 100:
        return first * 100 + second  # a year or a price: "nineteen eighty", "fourteen fifty"
    return first + second if first >= 100 and first % 100 == 0 and 0 < second < 100 else None
