"""How a sentence is read: who says what of whom, denied, liked, past or wished for; all decided by hand."""

from __future__ import annotations

import pytest

from personatune.dialogue import Persona, Probe
from personatune.judging.keywords import contradicted_traits, expressed_traits, judge_answer
from personatune.judging.numbers import numbers_in

DOG, FISH, PIZZA, NURSE = "I have a dog.", "I hate fish.", "I love pizza.", "I work as a nurse."
EXPRESSED, CONTRADICTED, NEITHER = "expressed", "contradicted", "neither"


def reading(reply: str, trait: str) -> str:
    """Return what the reply does to the trait."""
    persona = Persona((trait,))
    if expressed_traits(reply, persona):
        return EXPRESSED
    return CONTRADICTED if contradicted_traits(reply, persona) else NEITHER


@pytest.mark.parametrize(
    ("reply", "trait", "expected"),
    [
        # plain negation, near and far
        ("I never had the time for a dog.", DOG, CONTRADICTED),
        ("There isn't a dog in my house.", DOG, CONTRADICTED),
        ("I have neither a dog nor a cat.", DOG, CONTRADICTED),
        ("Neither cats nor dogs, I'm afraid.", DOG, CONTRADICTED),
        ("I live without a dog.", DOG, CONTRADICTED),
        ("Nobody in my family has a dog.", DOG, CONTRADICTED),
        ("I don't think I have a dog.", DOG, CONTRADICTED),
        ("I no longer have a dog.", DOG, CONTRADICTED),
        ("I don't have a dog anymore.", DOG, CONTRADICTED),
        ("I'm not a nurse, I'm a pilot.", NURSE, CONTRADICTED),
        ("I quit being a nurse.", NURSE, CONTRADICTED),
        ("I gave up pizza.", PIZZA, CONTRADICTED),
        ("I refuse to eat pizza.", PIZZA, CONTRADICTED),
        ("I eat everything except pizza.", PIZZA, CONTRADICTED),
        ("Anything but pizza, please.", PIZZA, CONTRADICTED),
        ("I'd rather starve than eat pizza.", PIZZA, CONTRADICTED),
        ("I stay away from pizza.", PIZZA, CONTRADICTED),
        # negation that ends before the keyword
        ("I don't have a cat, but a dog.", DOG, EXPRESSED),
        ("I don't have kids, just a dog.", DOG, EXPRESSED),
        ("I don't have kids I have a dog", DOG, EXPRESSED),
        ("No, I have a dog.", DOG, EXPRESSED),
        ("No I have a dog", DOG, EXPRESSED),
        ("Not me, I love pizza.", PIZZA, EXPRESSED),
        ("My dog doesn't bite.", DOG, EXPRESSED),
        ("I don't eat meat except on pizza.", PIZZA, EXPRESSED),
        ("I'll have soup instead of pizza.", PIZZA, CONTRADICTED),
        # negation that denies nothing
        ("I'd never say no to pizza.", PIZZA, EXPRESSED),
        ("I couldn't live without pizza.", PIZZA, EXPRESSED),
        ("I never leave home without my dog.", DOG, EXPRESSED),
        ("Not a day goes by without pizza.", PIZZA, EXPRESSED),
        ("There isn't a day I don't walk my dog.", DOG, EXPRESSED),
        ("I can't get enough of pizza.", PIZZA, EXPRESSED),
        ("Nothing beats pizza.", PIZZA, EXPRESSED),
        ("Who doesn't love pizza?", PIZZA, EXPRESSED),
        ("Not only do I have a dog, I have three.", DOG, EXPRESSED),
        ("I don't just like pizza, I live on it.", PIZZA, EXPRESSED),
        ("I can't deny I love pizza.", PIZZA, EXPRESSED),
        ("Not gonna lie, pizza it is.", PIZZA, EXPRESSED),
        ("I don't mind pizza.", PIZZA, EXPRESSED),
        ("I'm not allergic to pizza.", PIZZA, EXPRESSED),
        # a question or a fragment that the next sentence answers
        ("Dogs? Not for me.", DOG, CONTRADICTED),
        ("Dogs? No way.", DOG, CONTRADICTED),
        ("A dog? Never.", DOG, CONTRADICTED),
        ("Do I have a dog? No.", DOG, CONTRADICTED),
        ("Dogs? I have two.", DOG, EXPRESSED),
        ("Dogs? I love them.", DOG, EXPRESSED),
        ("Fish? I love it.", FISH, CONTRADICTED),
        ("Fish. I can't stand it.", FISH, EXPRESSED),
        ("Pizza. I can't stand it.", PIZZA, CONTRADICTED),
        ("Do you have a dog?", DOG, NEITHER),
        ("Dogs?", DOG, NEITHER),
        ("Is a dog a lot of work?", DOG, NEITHER),
        # attitude behind the thing
        ("Fish is not for me.", FISH, EXPRESSED),
        ("Fish makes me sick.", FISH, EXPRESSED),
        ("Fish is disgusting.", FISH, EXPRESSED),
        ("Fish and I don't get along.", FISH, EXPRESSED),
        ("Fish is my favourite.", FISH, CONTRADICTED),
        ("Fish is delicious.", FISH, CONTRADICTED),
        ("Pizza is disgusting.", PIZZA, CONTRADICTED),
        ("Pizza isn't my thing.", PIZZA, CONTRADICTED),
        ("My dog is disgusting after a walk.", DOG, EXPRESSED),
        ("I'm not a fan of fish.", FISH, EXPRESSED),
        ("I'm not a fan of pizza.", PIZZA, CONTRADICTED),
        ("I could do without fish.", FISH, EXPRESSED),
        # once, in vain, perhaps
        ("I used to have a dog.", DOG, CONTRADICTED),
        ("I once had a dog.", DOG, CONTRADICTED),
        ("I used to hate fish.", FISH, CONTRADICTED),
        ("I'm used to my dog.", DOG, EXPRESSED),
        ("I used to have a cat, now I have a dog.", DOG, EXPRESSED),
        ("I wish I had a dog.", DOG, CONTRADICTED),
        ("If I had a dog, I'd walk more.", DOG, CONTRADICTED),
        ("I'd like to have a dog.", DOG, NEITHER),
        ("I hope to become a nurse.", NURSE, NEITHER),
        ("I used to work as a nurse.", "I used to be a nurse.", EXPRESSED),
        ("I wish I could fly.", "I wish I could fly.", EXPRESSED),
        # somebody else
        ("My friend has a dog.", DOG, NEITHER),
        ("A friend of mine has a dog.", DOG, NEITHER),
        ("My neighbour's dog barks.", DOG, NEITHER),
        ("My sister is a nurse.", NURSE, NEITHER),
        ("My sister is a nurse, and I am a nurse too.", NURSE, EXPRESSED),
        ("My wife and I have a dog.", DOG, EXPRESSED),
        ("My mother is a nurse.", "My mother works as a nurse.", EXPRESSED),
        ("She is a nurse.", "My mother works as a nurse.", EXPRESSED),
    ],
)
def test_a_reply_is_read_as_a_person_reads_it(reply, trait, expected):
    assert reading(reply, trait) == expected


@pytest.mark.parametrize(
    ("row", "values"),
    [
        ("thirty four", [34]),
        ("i am 34", [34]),
        ("two hundred and six", [206]),
        ("a hundred and eighty seven", [187]),
        ("fourteen fifty", [1450]),
        ("one hundred twenty", [120]),
        ("two or three", [2, 3]),
        ("two and six", [2, 6]),
        ("26", [26]),
        ("no number", []),
    ],
)
def test_number_words_that_belong_together_are_one_number(row, values):
    assert [number.value for number in numbers_in(row.split())] == values


AGE = Probe("I am thirty-four years old.", "How many birthdays have you had?", ("34", "thirti", "four"), ("forti",))
BROTHERS = Probe("I am one of two brothers.", "Who grew up with you?", ("brother", "two"))


@pytest.mark.parametrize(
    ("answer", "probe", "verdict"),
    [
        ("Thirty-four.", AGE, "consistent"),
        ("34, and my sister is two years older.", AGE, "consistent"),
        ("Forty-four.", AGE, "contradicting"),
        ("Twenty four.", AGE, "neutral"),
        ("Thirty.", AGE, "neutral"),
        ("One of my brothers did, two of us in one room.", BROTHERS, "consistent"),
    ],
)
def test_a_number_is_compared_as_a_whole(answer, probe, verdict):
    assert judge_answer(answer, probe) == verdict


DRIVES = Probe("I don't drive.", "How do you get to work?", ("drive", "driver", "licenc"), ("car", "behind"))
QUIET = Probe("I never drink alcohol.", "What shall I order for you?", ("alcohol", "sober"), ("wine", "beer"))


@pytest.mark.parametrize(
    ("answer", "probe", "verdict"),
    [
        ("On foot, I never learned to drive.", DRIVES, "consistent"),
        ("By car.", DRIVES, "contradicting"),
        ("I drive.", DRIVES, "contradicting"),
        ("I never take the car.", DRIVES, "neutral"),
        ("I used to drive.", DRIVES, "consistent"),
        ("A beer, please.", QUIET, "contradicting"),
        ("No alcohol for me, and no wine either.", QUIET, "consistent"),
    ],
)
def test_hand_written_contradicting_words_count_for_a_trait_that_denies_something(answer, probe, verdict):
    assert judge_answer(answer, probe) == verdict
