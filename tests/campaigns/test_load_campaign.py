"""Fifty people and a crowd of strangers at the server, in short; and that the campaign sees what it looks for."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.folders import CAMPAIGNS

if TYPE_CHECKING:
    from crowd.people import Person, Tally


@pytest.mark.slow
def test_the_server_keeps_its_promises_under_load() -> None:
    words = [sys.executable, str(CAMPAIGNS / "load.py"), "--quick"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["broken"] == found["errors"] == found["mixed_up"] == found["complaints"] == []
    assert found["replies"] >= found["clients"] == 12
    assert found["streamed"] > 0
    assert found["given_up"] > 0
    assert found["distinct_alone"] >= 0.8 * found["alone"]
    assert len(found["by_design"]) >= 18
    assert all(count > 0 for count in found["by_design"].values())


def _people() -> list[Person]:
    from crowd.people import Person, code_words

    words = code_words(8, random.Random(0))
    return [Person(number, words, 2, 2, 16, random.Random(number)) for number in range(8)]


def _checked(text: str, alone: str) -> Tally:
    from crowd.people import Reply, Tally

    tally = Tally()
    _people()[0]._check(Reply(text, 0.1), alone, tally)
    return tally


def test_a_reply_of_another_conversation_is_seen() -> None:
    assert _checked("I fish.", "I fish.").mixed_up == []
    assert len(_checked("I swim.", "I fish.").mixed_up) == 1


def test_anothers_code_word_is_seen_wherever_it_stands() -> None:
    own, other = (person.word for person in _people()[:2])
    assert _checked(f"My word is {own}.", f"My word is {own}.").mixed_up == []
    said = f"My word is {other.upper()}."
    assert len(_checked(said, said).mixed_up) == 1


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({"errors": ["a"]}, "no errors"),
        ({"mixed_up": ["a"]}, "no mixed-up conversation"),
        ({"distinct_alone": 3}, "replies that show a mix-up"),
        ({"fewest_replies_of_a_client": 0}, "every client is heard"),
        ({"memory_mib": {"start": 100.0, "third": 100.0, "end": 104.0}}, "flat memory"),
        ({"files": {"before": 20, "most": 90, "after": 60}}, "no files left open"),
        ({"late_tokens": 9}, "at most one late token a cancelled reply"),
        ({"tokens_when_idle": 5.0}, "nothing computed when all have left"),
        ({"cpu_seconds_of_two_idle": 1.9}, "nothing computed when all have left"),
        ({"failed": 1}, "the model never failed"),
        ({"complaints": ["Traceback"]}, "nothing on standard error"),
        ({"exit_code": -9}, "a clean stop within 10 s"),
    ],
)
def test_a_broken_promise_is_told(change: dict[str, Any], promise: str) -> None:
    from load import _broken

    good: dict[str, Any] = {
        "errors": [], "mixed_up": [], "alone": 10, "distinct_alone": 10, "fewest_replies_of_a_client": 3,
        "memory_mib": {"start": 90.0, "third": 100.0, "end": 101.0}, "files": {"before": 20, "most": 90, "after": 21},
        "late_tokens": 4, "cancelled_in_the_making": 5, "tokens_when_idle": 0.0, "cpu_seconds_of_two_idle": 0.0,
        "failed": 0, "complaints": [], "exit_code": 0, "stopped_after": 1.0, "seconds": 600.0,
    }  # fmt: skip
    assert _broken(good) == []
    assert _broken({**good, **change}) == [promise]


def test_code_words_are_never_part_of_one_another() -> None:
    from crowd.people import code_words

    words = code_words(300, random.Random(1))
    assert len(set(words)) == 300
    assert not any(one in other for one in words for other in words if one != other)
