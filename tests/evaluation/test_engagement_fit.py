"""Weights fitted on people: planted weights are found, nobody is on both sides, the shipped file is what is made."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from personatune.data.conversation_ratings import RatedConversation, read_rated
from personatune.dialogue import Turn
from personatune.errors import UserError
from personatune.evaluation.engagement import FEATURES, WEIGHTS_FILE, fitted_weights
from personatune.evaluation.engagement_fit import (
    conversation_features,
    cross_validated_scores,
    fit_on_chitchat,
    fit_weights,
    rating_columns,
    spearman,
)
from personatune.evaluation.participants import hold_out_people, participant_folds, people_draws


def meetings(count, people, seed=0):
    """Pairs among people of whom a few talk far more often than the others."""
    rng = np.random.default_rng(seed)
    often = 1 / np.arange(1, people + 1)
    drawn = (rng.choice(people, size=2, replace=False, p=often / often.sum()) for _ in range(count))
    return [(f"p{min(pair):03}", f"p{max(pair):03}") for pair in drawn]


def ratings_from(weights, count=600, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.random((count, len(weights))) * np.linspace(0.2, 1.0, len(weights))
    return features, features @ np.asarray(weights) + noise * rng.standard_normal(count) * 0.2


def test_the_fit_finds_planted_weights_whatever_the_spread_of_the_features():
    planted = [0.5, 0.0, 0.3, 0.2]
    features, ratings = ratings_from(planted, noise=0.05)
    assert fit_weights(features, ratings, 0.0) == pytest.approx(planted, abs=0.03)


def test_what_people_dislike_gets_no_weight_and_weights_sum_to_one():
    features, ratings = ratings_from([1.0, -0.5, 0.4])
    weights = fit_weights(features, ratings, 0.1)
    assert weights[1] == 0
    assert weights.sum() == pytest.approx(1)


def test_only_the_order_of_the_ratings_counts():
    features, ratings = ratings_from([0.7, 0.3])
    assert fit_weights(features, ratings, 0.1) == pytest.approx(fit_weights(features, np.exp(3 * ratings), 0.1))


def test_a_feature_that_never_changes_gets_no_weight():
    features, ratings = ratings_from([0.6, 0.4])
    weights = fit_weights(np.column_stack([features, np.ones(len(features))]), ratings, 0.0)
    assert weights[2] == 0


def test_nothing_rewarded_is_said():
    features, ratings = ratings_from([1.0, 0.5])
    with pytest.raises(UserError, match="no feature goes up with the ratings of these 600"):
        fit_weights(features, -ratings, 0.0)


def test_cross_validation_sees_planted_weights_and_no_pattern_in_noise():
    pairs = meetings(600, 120)
    features, ratings = ratings_from([0.5, 0.0, 0.3, 0.2])
    found = cross_validated_scores(features, ratings, pairs, groups=4)
    assert spearman(np.column_stack([found, ratings])) > 0.7
    noise = np.random.default_rng(5).standard_normal(600)
    unseen = cross_validated_scores(features, noise, pairs, groups=4)
    assert abs(spearman(np.column_stack([unseen, noise]))) < 0.12


def test_every_conversation_is_tested_once_and_nobody_is_on_both_sides():
    pairs = meetings(500, 100)
    folds = participant_folds(pairs, 8, seed=3)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(500))
    for train, test in folds:
        trained = {person for index in train for person in pairs[index]}
        assert trained.isdisjoint(person for index in test for person in pairs[index])


def test_the_people_kept_aside_occur_nowhere_else_and_bring_the_wanted_share():
    pairs = meetings(500, 150, seed=1)
    work, aside = hold_out_people(pairs, 0.2, seed=0)
    worked = {person for index in work for person in pairs[index]}
    assert worked.isdisjoint(person for index in aside for person in pairs[index])
    assert 100 <= len(aside) < 130
    assert len(work) > 100


def test_a_circle_of_friends_is_kept_aside_whole():
    circle = [(f"a{i}", f"a{j}") for i in range(5) for j in range(i + 1, 5)]
    others = [(f"b{i}", f"b{j}") for i in range(10) for j in range(i + 1, 10)]
    _, aside = hold_out_people([*others, *circle, ("a0", "b0")], 10 / 56, seed=0)
    assert {person for index in aside for person in [*others, *circle, ("a0", "b0")][index]} == {
        f"a{i}" for i in range(5)
    }


def test_resampled_people_bring_their_conversations_together():
    pairs = [("a", "b"), ("a", "b"), ("c", "d")]
    for draw in people_draws(pairs, 50, seed=0):
        times = Counter(draw.tolist())
        assert times[0] == times[1]


def test_rank_correlation_by_hand():
    assert spearman(np.asarray([[1, 10], [2, 20], [3, 40], [4, 30.0]])) == pytest.approx(0.8)
    assert spearman(np.asarray([[1, 1], [1, 2], [2, 3.0]])) == pytest.approx(np.sqrt(3) / 2)
    assert spearman(np.asarray([[1, 1], [1, 2.0]])) == 0


def test_a_conversation_has_the_mean_features_of_both_speakers_replies():
    turns = [Turn("ann", "Hi!"), Turn("bob", "haha hi"), Turn("ann", "why?"), Turn("bob", "because")]
    held = RatedConversation("1", ("ann", "bob"), tuple(turns), {"witty": 10.0, "interesting": 4.0, "upbeat": 7.0})
    row = dict(zip(FEATURES, conversation_features([held])[0], strict=True))
    assert row["laughter"] == row["asks_back"] == row["reasons"] == pytest.approx(1 / 3)
    assert row["enthusiasm"] == pytest.approx(1 / 6)  # the opening answers nobody
    assert rating_columns([held]).tolist() == [[7.0, 10.0, 4.0, 7.0]]


def record(name, ratings, people=("ann", "bob"), turns=6):
    said = [[{"sender": people[turn % len(people)], "text": f"line {turn}"}] for turn in range(turns)]
    return {"id": name, "messages": said, **({"ratings": ratings} if ratings else {})}


def test_what_is_no_rating_of_a_talk_of_two_is_left_out_and_counted():
    fives = {"witty": 5, "interesting": 5, "upbeat": 5}
    some = {**fives, "witty": 8}
    skipped: Counter[str] = Counter()
    records = [
        record("kept", some),
        record("slider", fives),
        record("alone", some, people=("ann",)),
        record("short", some, turns=5),
        record("unrated", None),
    ]
    assert [item.id for item in read_rated(records, skipped)] == ["kept"]
    assert sorted(skipped.values()) == [1, 1, 1, 1]
    assert skipped["all three ratings 5: untouched sliders"] == 1


@pytest.mark.parametrize("value", [0, 11, "8", None, True])
def test_a_rating_off_the_scale_names_its_conversation(value):
    with pytest.raises(UserError, match=r"conversation odd: rating witty is .*expected a number from 1 to 10"):
        read_rated([record("odd", {"witty": value, "interesting": 5, "upbeat": 5})], Counter())


def test_the_shipped_weights_say_how_they_were_made_and_beat_equal_weights_on_people_kept_aside():
    shipped = json.loads(WEIGHTS_FILE.read_text(encoding="utf-8"))
    assert set(fitted_weights()) == set(FEATURES)
    assert shipped["made"]["command"] == "personatune engagement fit"
    assert [name for name, weight in shipped["weights"].items() if weight == 0] == shipped["not_rewarded"]
    aside = shipped["spearman"]["kept_aside"]
    assert aside["fitted"]["mean"]["value"] > aside["equal"]["mean"]["value"]


@pytest.mark.slow
def test_the_shipped_file_is_what_the_command_makes():
    made = fit_on_chitchat()
    shipped = json.loads(WEIGHTS_FILE.read_text(encoding="utf-8"))
    assert made["weights"] == pytest.approx(shipped["weights"])
    assert made["data"] == shipped["data"]
    for where in ("cross_validated", "kept_aside"):
        for score, scales in shipped["spearman"][where].items():
            for scale, figure in scales.items():
                assert made["spearman"][where][score][scale] == pytest.approx(figure, abs=1e-6)
