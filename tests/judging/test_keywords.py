"""Keyword measures: word boundaries, negation, copies, and the verdict on an answer."""

from __future__ import annotations

import pytest

from personatune.copying import copies_trait, copy_share
from personatune.dialogue import Persona, Probe
from personatune.judging.keywords import (
    contradicted_traits,
    expressed_traits,
    judge_answer,
    trait_coverage,
)
from personatune.words import mend_contractions

PERSONA = Persona(("I have a dog.", "I don't like fish.", "I am allergic to cats.", "I m a nurse."))
PETS = Probe("I have two dogs.", "Do you have any pets?", ("dog", "puppi"), ("cat", "hamster"))
FEAR = Probe("I am afraid of clowns.", "What are you afraid of?", ("clown",))
DRIVING = Probe("I don t drive.", "Do you have a car?", ("drive",))
COLOUR = Probe("My favorite color is red.", "What's your favorite color?", ("red",), ("blue", "green"))


def test_coverage_is_the_share_of_traits_with_a_keyword():
    assert trait_coverage("My dog waits while I work as a nurse.", PERSONA) == 0.5
    assert trait_coverage("How are you today?", PERSONA) == 0.0


def test_coverage_without_traits_is_an_error_and_not_zero():
    with pytest.raises(ValueError, match="at least one trait"):
        trait_coverage("Hi!", Persona(()))


def test_a_keyword_is_matched_at_word_boundaries_only():
    persona = Persona(("I have a cat.", "I play in a band.", "I have an ant farm."))
    assert expressed_traits("My education was a husband and a giant elephant.", persona) == []
    assert expressed_traits("Two cats and two bands.", persona) == [0, 1]


@pytest.mark.parametrize(
    ("reply", "expressed", "contradicted"),
    [
        ("I don't have a dog", [], [0]),
        ("I do not have any dogs, sorry", [], [0]),
        ("I dont have a dog", [], [0]),
        ("I have no dog", [], [0]),
        ("I hate fish", [1], []),
        ("I can't stand fish", [1], []),
        ("I really love fish", [], [1]),
        ("I'm allergic to cats, but I have a dog", [0, 2], []),
        ("No, I work as a nurse", [3], []),
        ("I'm not a nurse, I have a dog", [0], [3]),
        ("I don't have kids but a dog", [0], []),
        ("Not only do I have a dog", [0], []),
        ("Do you have a dog?", [], []),
        ("I can't wait to see my dog", [0], []),
    ],
)
def test_negation_and_aversion_decide_what_a_mention_means(reply, expressed, contradicted):
    assert expressed_traits(reply, PERSONA) == expressed
    assert contradicted_traits(reply, PERSONA) == contradicted


@pytest.mark.parametrize(
    ("found", "mended"),
    [("i don t drive", "i don't drive"), ("i m tall", "i'm tall"), ("I cant", "I can't"), ("we ve met", "we've met")],
)
def test_lost_apostrophes_come_back(found, mended):
    assert mend_contractions(found) == mended


@pytest.mark.parametrize(
    ("answer", "probe", "verdict"),
    [
        ("Yes, two dogs!", PETS, "consistent"),
        ("I have 2 puppies", PETS, "consistent"),
        ("A dog and a cat", PETS, "consistent"),
        ("I have a cat", PETS, "contradicting"),
        ("I have three dogs", PETS, "contradicting"),
        ("No.", PETS, "contradicting"),
        ("No, I don't have any pets.", PETS, "contradicting"),
        ("I don't have dogs", PETS, "contradicting"),
        ("Yes!", PETS, "neutral"),
        ("I like hotdogs.", PETS, "neutral"),
        ("", PETS, "neutral"),
        ("Clowns!", FEAR, "consistent"),
        ("I'm terrified of clowns", FEAR, "consistent"),
        ("I love clowns", FEAR, "contradicting"),
        ("Spiders.", FEAR, "neutral"),
        ("No.", DRIVING, "consistent"),
        ("I don't drive", DRIVING, "consistent"),
        ("Yes, I drive a truck", DRIVING, "contradicting"),
        ("Red, of course.", COLOUR, "consistent"),
        ("Blue!", COLOUR, "contradicting"),
        ("Red and blue", COLOUR, "neutral"),
        ("I don't like blue, so red", COLOUR, "consistent"),
    ],
)
def test_the_verdict_on_an_answer(answer, probe, verdict):
    assert judge_answer(answer, probe) == verdict


def test_a_copy_is_a_whole_persona_sentence_whatever_its_case_and_contractions():
    assert copies_trait("Hi! I'm a nurse, and you?", PERSONA)
    assert copies_trait("well , I HAVE A DOG !", PERSONA)
    assert not copies_trait("I have a big dog.", PERSONA)
    assert copy_share(["I have a dog.", "Hello.", "I'm a nurse", "Dogs?"], PERSONA) == 0.5
