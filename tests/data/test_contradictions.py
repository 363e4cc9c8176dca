"""An edited reply says the opposite of its persona in whole, clean English."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from personatune.data.contradictions import EDIT_KINDS, agrees_in_polarity, contradict


def _edited(reply: str, trait: str | Sequence[str], kind: str) -> str | None:
    traits = (trait,) if isinstance(trait, str) else trait
    edit = contradict(reply, traits, random.Random(0), (kind,))
    return edit.text if edit else None


@pytest.mark.parametrize(
    ("reply", "trait", "expected"),
    [
        ("I love dogs!", "I like dogs.", "I hate dogs!"),
        ("I like to cook for friends.", "I love to cook.", "I hate to cook for friends."),
        ("i really enjoy hiking .", "i enjoy hiking.", "i really can't stand hiking ."),
        ("Spiders? I hate spiders.", "I hate spiders.", "Spiders? I love spiders."),
        ("I don't like fish.", "I do not like fish.", "I love fish."),
    ],
)
def test_attitudes_turn_round(reply: str, trait: str, expected: str) -> None:
    assert _edited(reply, trait, "attitude") == expected


@pytest.mark.parametrize(
    ("reply", "trait", "expected"),
    [
        ("I have two dogs.", "I have two dogs.", "I don't have any dogs."),
        ("Yes, I have a cat named Tom.", "I have a cat.", "Yes, I don't have a cat named Tom."),
        ("I’m a nurse in Ohio.", "I am a nurse.", "I’m not a nurse in Ohio."),
        ("I am also a chef.", "I am a chef.", "I am also not a chef."),
        ("I work at a bank, and you?", "I work at a bank.", None),  # the sentence is a question
        ("I work at a bank. And you?", "I work at a bank.", "I don't work at a bank. And you?"),
        ("I grew up on a farm.", "I grew up on a farm.", "I didn't grow up on a farm."),
        ("My favorite color is blue!", "My favorite color is blue.", "My favorite color isn't blue!"),
        ("I've always loved trains.", "I love trains.", "I've never loved trains."),
        ("I can play the guitar.", "I play guitar.", "I can't play the guitar."),
        ("i like pizza too .", "i like pizza.", "i don't like pizza either ."),
        ("I usually read some novels.", "I read novels.", "I don't usually read any novels."),
        ("I always ski in winter.", "I like to ski.", "I never ski in winter."),
        ("I was born in Spain.", "I was born in Spain.", "I wasn't born in Spain."),
        ("Hi, I'm Blue.", "My name is Blue.", None),  # a name is no trait to deny
        ("When I have a dog, I smile.", "I have a dog.", None),  # a crooked sentence is worse than none
    ],
)
def test_a_negation_is_put_in(reply: str, trait: str, expected: str | None) -> None:
    assert _edited(reply, trait, "negated") == expected


@pytest.mark.parametrize(
    ("reply", "trait", "expected"),
    [
        ("I don't have any kids.", "I do not have kids.", "I have some kids."),
        ("I'm not married.", "I am not married.", "I'm married."),
        ("I don't eat meat either.", "I never eat meat.", "I eat meat too."),
        ("I've never been to Paris.", "I have never been to Paris.", "I've been to Paris."),
        ("I can't swim.", "I cannot swim.", "I can swim."),
        ("My car isn't red.", "My car is not red.", "My car is red."),
    ],
)
def test_a_negation_is_taken_out(reply: str, trait: str, expected: str) -> None:
    assert _edited(reply, trait, "affirmed") == expected


def test_a_value_is_swapped_for_one_that_excludes_it_with_the_right_article() -> None:
    found = {
        edit.text
        for seed in range(60)
        if (
            edit := contradict(
                "I'm a nurse. Being a nurse is hard.", ("I am a nurse.",), random.Random(seed), ("value",)
            )
        )
    }
    assert len(found) > 10
    for text in found:
        assert "nurse" not in text
        first, second = (sentence.split() for sentence in text.rstrip(".").split(". "))
        assert first[1] == second[1]  # the same article and
        assert first[2:] == second[2:][: len(first) - 2]  # the same job in both sentences
        assert (first[1] == "an") == (first[2][0] in "aeiou")


def test_a_plural_stays_a_plural_and_a_name_keeps_its_capitals() -> None:
    dogs = [_edited_by("I have two dogs.", "I have two dogs.", seed) for seed in range(30)]
    assert all(text.split()[-1].rstrip(".").endswith(("s", "mice", "fish")) for text in dogs)
    states = [_edited_by("I live in Texas.", "I live in texas.", seed) for seed in range(30)]
    assert all(text.removeprefix("I live in ")[0].isupper() for text in states)
    assert any(" York" in text or " Carolina" in text or " Dakota" in text or " Mexico" in text for text in states)


def _edited_by(reply: str, trait: str, seed: int) -> str:
    edit = contradict(reply, (trait,), random.Random(seed), ("value",))
    assert edit is not None
    return edit.text


def test_a_swapped_value_never_is_another_fact_of_the_persona() -> None:
    traits = ("I have a dog.", "I have a cat.", "I have a horse.", "I have a parrot.")
    for seed in range(80):
        edit = contradict("I have a dog.", traits, random.Random(seed), ("value",))
        assert edit is not None
        assert edit.text.split()[-1].rstrip(".") not in {"dog", "cat", "horse", "parrot"}


def test_liking_one_thing_does_not_exclude_another() -> None:
    assert _edited("I like pizza.", "I like pizza.", "value") is None
    favourite = _edited("Pizza is my favorite.", "My favorite food is pizza.", "value")
    assert favourite is not None
    assert "pizza" not in favourite.lower()


@pytest.mark.parametrize(
    ("reply", "trait", "given"),
    [
        ("I have 3 kids.", "I have three kids.", "3"),
        ("I have Four sisters.", "I have four sisters.", "Four"),
        ("I'm 45 years old.", "I am 45.", "45"),
        ("It was built in 1985.", "My house is from 1985.", "1985"),
    ],
)
def test_a_number_of_the_persona_becomes_another(reply: str, trait: str, given: str) -> None:
    text = _edited(reply, trait, "number")
    assert text is not None
    before, after = reply.split(given)
    new = text.removeprefix(before).removesuffix(after)
    assert new != given
    assert new.isdigit() == given.isdigit()
    assert new[0].isupper() == given[0].isupper()


def test_numbers_that_are_no_fact_of_the_persona_stay() -> None:
    assert _edited("I won $90,000 with 2 kids at 24/7.", "I have three kids.", "number") is None


def test_a_denial_of_the_trait_is_never_turned_into_agreement() -> None:
    for kind in EDIT_KINDS:
        assert _edited("I'm not a fan of cats.", "I love cats.", kind) is None
    assert not agrees_in_polarity("I'm not a fan of cats.", "I love cats.")
    assert agrees_in_polarity("Cats are great. I don't like rain.", "I love cats.")
    assert not agrees_in_polarity("It rains.", "I love cats.")


def test_small_talk_is_left_alone() -> None:
    for kind in EDIT_KINDS:
        assert _edited("I have a feeling it will rain.", "I am a nurse.", kind) is None
