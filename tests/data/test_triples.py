"""Persona sentences as triples: who, relation, what."""

from __future__ import annotations

import pytest

from personatune.data.triples import triple_of


@pytest.mark.parametrize(
    ("sentence", "who", "relation", "what", "affirmed"),
    [
        ("I have two dogs.", "i", "have", {"dog"}, True),
        ("i don t have any pets.", "i", "have", {"pet"}, False),
        ("I really love pizza!", "i", "like", {"pizza"}, True),
        ("i can t stand broccoli", "i", "like", {"broccoli"}, False),
        ("I'm not a big fan of horror movies.", "i", "like", {"horror", "film"}, False),
        ("My favorite color is blue.", "i", "favourite color", {"blue"}, True),
        ("blue is my favorite color", "i", "favourite color", {"blue"}, True),
        ("I work as a nurse.", "i", "job", {"nurs"}, True),
        ("i m a nurse", "i", "job", {"nurs"}, True),
        ("I live in Ohio with my parents.", "i", "lives_in", {"ohio"}, True),
        ("I was born in Ohio.", "i", "from", {"ohio"}, True),
        ("I am twenty five years old.", "i", "age", {"25"}, True),
        ("I never learned how to swim.", "i", "can", {"swim"}, False),
        ("My mom is a dentist.", "mother", "kin i", {"dentist"}, True),
        ("My dad does not drive.", "father", "kin doe", {"drive"}, False),
    ],
)
def test_a_sentence_gives_its_triple(sentence: str, who: str, relation: str, what: set[str], affirmed: bool) -> None:
    triple = triple_of(sentence)
    assert triple is not None
    assert (triple.who, triple.relation, set(triple.what), triple.affirmed) == (who, relation, what, affirmed)


@pytest.mark.parametrize("sentence", ["Do you have a dog?", "How are you doing today?", "", "Sounds good!"])
def test_questions_and_small_talk_state_nothing(sentence: str) -> None:
    assert triple_of(sentence) is None


def test_what_is_counted_is_kept_apart_from_what_it_is() -> None:
    two, three = triple_of("I have two cats."), triple_of("I have 3 cats.")
    assert two is not None
    assert three is not None
    assert two.what == three.what
    assert (two.count, three.count) == (2, 3)


def test_synonyms_are_one_thing() -> None:
    movie, film = triple_of("I love movies."), triple_of("I love films.")
    assert movie is not None
    assert film is not None
    assert movie.what == film.what


def test_one_value_excludes_another_only_where_one_is_true() -> None:
    job, food = triple_of("I work as a nurse."), triple_of("I like pizza.")
    assert job is not None
    assert food is not None
    assert job.exclusive
    assert not food.exclusive
