"""The lexicon: groups of values that stand in each other's place."""

from __future__ import annotations

import pytest

from personatune.lexicon import group_of, groups, siblings, synonyms


@pytest.mark.parametrize(
    ("word", "group"),
    [
        ("dogs", "pet"),
        ("nurse", "job"),
        ("ice cream", "sweet"),
        ("guinea pigs", "pet"),
        ("biology", "school subject"),
        ("biologist", "job"),
        ("seven", "number"),
        ("education", "profession field"),
        ("quixotic", None),
    ],
)
def test_a_value_is_found_in_any_inflection(word, group):
    assert group_of(word) == group


def test_siblings_are_other_things_and_never_synonyms():
    assert "cat" in siblings("dogs")
    assert "dog" not in siblings("dogs")
    assert "author" not in siblings("writer")
    assert siblings("quixotic") == ()
    assert siblings("dog") == siblings("dogs")


def test_synonyms_go_both_ways():
    assert "mom" in synonyms("mother")
    assert "mother" in synonyms("moms")


def test_every_group_offers_an_alternative():
    from personatune.lexicon import group_values

    assert all(len(group_values(group)) >= 2 for group in groups())
