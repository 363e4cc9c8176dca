"""What of a reply says something about its speaker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personatune.judging.assertions import asserted, assertions


@pytest.mark.parametrize(
    ("reply", "asserted"),
    [
        ("I have a cat. I live in Rome!", ["I have a cat.", "I live in Rome!"]),
        ("I have two dogs, how about you?", ["I have two dogs."]),
        ("i love hiking, what do you like to do in your free time?", ["i love hiking."]),
        ("i m a chef and you ?", ["i'm a chef."]),
        ("I am from Texas, right?", ["I am from Texas."]),
        ("i love dogs . do you have any", ["i love dogs ."]),
        ("Dogs? I have two.", ["Dogs? I have two."]),
        ("Dogs? Not for me.", ["Dogs? Not for me."]),
        ("What? I hate fish", ["I hate fish"]),
        ("I met Dr. Smith at 3 p.m. in St. Louis. It was fun :) we sang", None),
        ("I was born in the U.S. and raised in France.", ["I was born in the U.S. and raised in France."]),
        ("I dont like fish", ["I don't like fish"]),
    ],
)
def test_statements_stay_and_questions_go(reply, asserted):
    expected = ["I met Dr. Smith at 3 p.m. in St. Louis.", "It was fun", "we sang"] if asserted is None else asserted
    assert list(assertions(reply)) == expected


@pytest.mark.parametrize(
    "reply",
    ["", "Do you like cats?", "You are so kind.", "Oh, really!", "Me too.", "What about you?", "have you been to rome",
     "Fish? Do you like it?", "Your dogs sound lovely!", ":)", "Is it raining there?"],
)  # fmt: skip
def test_nothing_is_asserted(reply):
    assert assertions(reply) == ()


@given(st.text(alphabet="ab I?.,!you dogs'\n", max_size=60))
def test_no_text_is_too_odd_and_no_sentence_is_made_up(text):
    said = "".join(character for character in text.lower() if character.isalnum())
    for sentence in assertions(text):
        assert "".join(character for character in sentence.lower() if character.isalnum()) in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("I roast coffee. Do you like coffee? I sell it, too.", ("I roast coffee. I sell it, too.",)),
        ("Two crowns.", ()),
        ("How are you?", ()),
    ],
)
def test_a_line_asserts_as_a_whole_or_not_at_all(line: str, said: tuple[str, ...]) -> None:
    assert asserted(line) == said
