"""Named reward terms: what each pays for, one's own by dotted path, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from personatune.dialogue import Context, Persona, Turn
from personatune.errors import UserError
from personatune.training.reward_terms import BUILT_IN, RewardTerms, repeated_share

PERSONA = Persona(("I have two dogs.", "I work as a nurse."))
CONTEXT = Context(PERSONA, (Turn("partner", "Hi!"), Turn("self", "I like long walks."), Turn("partner", "Why?")))


@pytest.mark.parametrize(
    ("term", "reply", "expected"),
    [
        ("length", "", 0.0),
        ("length", "Yes, I do.", 0.6),
        ("length", "I like it very much.", 1.0),
        ("length", "word " * 20, 1.0),
        ("length", "word " * 30, 0.5),
        ("length", "word " * 60, 0.0),
        ("repetition", "I like long walks.", -1.0),
        ("repetition", "So I like long trips.", -1 / 3),
        ("repetition", "Why? Hi! Why? Hi! Why?", -1 / 3),  # within the reply
        ("repetition", "No.", 0.0),
        ("persona_copy", "Well, I have two dogs!", -1.0),
        ("persona_copy", "My dogs keep me busy.", 0.0),
        ("persona_mention", "My dogs keep me busy.", 1.0),
        ("persona_mention", "I don't have any dogs.", -1.0),
        ("persona_mention", "The sun shines.", 0.0),
        ("distinct_words", "no no no yes", 0.5),
        ("distinct_words", "", 0.0),
        ("question_back", "And you? ", 1.0),
        ("question_back", "Who? Me.", 0.0),
    ],
)
def test_a_built_in_term_pays_for_what_it_says(term: str, reply: str, expected: float) -> None:
    assert BUILT_IN[term](CONTEXT, reply) == pytest.approx(expected)


def test_built_in_terms_stay_between_minus_one_and_one() -> None:
    for reply in ("", "?", "I have two dogs. " * 9, "I have two dogs?", "word " * 30):
        for name, term in BUILT_IN.items():
            assert -1 <= term(CONTEXT, reply) <= 1, (name, reply)


def test_the_partners_words_may_be_taken_up() -> None:
    asked = Context(PERSONA, (Turn("partner", "Do you like long walks?"),))
    assert repeated_share(asked, "Do you like long walks?") == 0.0


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    source = (
        "LIMIT = 3\n"
        "def shouts(context, reply):\n    return float(reply.isupper()) + len(context.history)\n"
        "def fails(context, reply):\n    return 1 / 0\n"
        "def text(context, reply):\n    return 'much'\n"
        "def endless(context, reply):\n    return float('nan')\n"
    )
    name = f"own_terms_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    (tmp_path / f"broken_{name}.py").write_text("def f(:\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in __import__("sys").path if path])
    return name


def test_ones_own_function_is_found_beside_the_place_one_starts_from(own_module: str) -> None:
    terms = RewardTerms({f"{own_module}:shouts": 0.5, "length": 0.1})
    assert terms.values([CONTEXT, CONTEXT], ["HEY!", "hey"]) == {
        f"{own_module}:shouts": [4.0, 3.0],
        "length": [0.2, 0.2],
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lenght", r"no term 'lenght'; did you mean 'length'\?"),
        ("no_such_module:f", "'no_such_module' can't be imported .*ModuleNotFoundError"),
        ("{own}:shout", r"has no function 'shout'; did you mean 'shouts'\?"),
        ("{own}:LIMIT", "has no function 'LIMIT'"),
        ("broken_{own}:f", "can't be imported .SyntaxError"),
    ],
)
def test_a_name_that_leads_nowhere_is_told_before_anything_runs(own_module: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        RewardTerms({name.format(own=own_module): 1.0})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("fails", r"for the reply 'hey' failed \(ZeroDivisionError: division by zero\); expected a finite number"),
        ("text", "for the reply 'hey' gave 'much'; expected a finite number"),
        ("endless", "for the reply 'hey' gave nan; expected a finite number"),
    ],
)
def test_a_term_that_fails_is_one_clear_line(own_module: str, function: str, message: str) -> None:
    terms = RewardTerms({f"{own_module}:{function}": 1.0})
    with pytest.raises(UserError, match=message) as caught:
        terms.values([CONTEXT], ["hey"])
    assert "\n" not in str(caught.value)


def test_no_terms_are_no_values() -> None:
    assert RewardTerms({}).values([CONTEXT], ["hey"]) == {}
