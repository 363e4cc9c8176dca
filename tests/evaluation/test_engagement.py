"""Engagement: each feature does what its name says, and the weights decide the score."""

from __future__ import annotations

import numpy as np
import pytest

from personatune.dialogue import Context, Persona, ProbeScript, Turn
from personatune.errors import UserError
from personatune.evaluation.engagement import CLASSIC_FEATURES, EngagementEvaluator, fitted_weights
from personatune.judging.probes import judge_dialogue


@pytest.fixture
def evaluator() -> EngagementEvaluator:
    return EngagementEvaluator(bootstrap_samples=200)


@pytest.mark.parametrize(
    ("feature", "reply", "partner", "value"),
    [
        ("asks_back", "I see. And you?", "Hi.", 1.0),
        ("asks_back", "I see.", "Hi.", 0.0),
        ("enthusiasm", "Wow, a dog!", "I have a dog.", 1.0),
        ("enthusiasm", "A dog!", "I have a dog.", 0.5),
        ("continuation", "What kind of dog is at the beach?", "My dog swims at the beach.", 1.0),
        ("continuation", "I sell cars.", "My dog swims at the beach.", 0.0),
        ("empathy", "I'm sorry to hear that.", "My cat died.", 1.0),
        ("empathy", "Cats die.", "My cat died.", 0.0),
        ("acknowledgement", "Oh, that is something.", "I moved.", 1.0),
        ("acknowledgement", "Cats die.", "I moved.", 0.0),
        ("length", "one two three four five six", "Hi.", 0.5),
        ("length", " ".join(["word"] * 70), "Hi.", 0.5),
        ("length", " ".join(["word"] * 200), "Hi.", 0.0),
        ("detail", "My grandfather built wooden boats.", "Hi.", 0.5),
        ("detail", "It was so and so, you know.", "Hi.", 0.0),
        ("laughter", "Hahaha that is it", "Hi.", 1.0),
        ("laughter", "That is it :D", "Hi.", 1.0),
        ("laughter", "He has a hat (a:b)", "Hi.", 0.0),
        ("reasons", "I moved because of work.", "Hi.", 1.0),
        ("reasons", "I moved for work.", "Hi.", 0.0),
    ],
)
def test_a_feature_by_hand(evaluator, feature, reply, partner, value):
    assert evaluator.features(reply, partner)[feature] == value


def test_the_score_is_the_mean_weighted_as_people_do_or_the_plain_one_of_the_classic_six(evaluator):
    reply, partner = "Oh, I'm sorry to hear that, because your dog was old! Was he?", "My dog died today."
    found, weights = evaluator.features(reply, partner), fitted_weights()
    by_people = sum(weights[name] * value for name, value in found.items()) / sum(weights.values())
    plain = sum(found[name] for name in CLASSIC_FEATURES) / 6
    assert evaluator.calculate_engagement_score(reply, partner) == pytest.approx(by_people)
    assert EngagementEvaluator("equal").calculate_engagement_score(reply, partner) == pytest.approx(plain)
    both = evaluator.evaluate_engagement([reply], [partner])
    assert both["engagement"].value == pytest.approx(by_people)
    assert both["engagement_equal"].value == pytest.approx(plain)


def test_weights_are_named_and_checked():
    only_asking = EngagementEvaluator({"asks_back": 2.0})
    assert only_asking.calculate_engagement_score("And you?", "Hi.") == 1.0
    with pytest.raises(UserError, match="did you mean 'empathy'"):
        EngagementEvaluator({"emphaty": 1.0})
    with pytest.raises(UserError, match="all are 0"):
        EngagementEvaluator({"empathy": 0.0})
    with pytest.raises(UserError, match="found 'even', expected fitted, equal"):
        EngagementEvaluator("even")  # type: ignore[arg-type]


def test_the_history_may_be_a_line_turns_or_a_context(evaluator):
    turns = (Turn("partner", "Hi."), Turn("self", "Hello."), Turn("partner", "My dog swims."))
    forms = ["My dog swims.", turns, Context(Persona(("I swim.",)), turns)]
    assert len({evaluator.calculate_engagement_score("A swimming dog!", form) for form in forms}) == 1


def test_replies_and_dialogues_carry_their_counts(evaluator):
    found = evaluator.evaluate_engagement(["And you?", "Hm."], ["Hi.", "Hi."])
    assert found["asks_back"].value == 0.5
    assert found["engagement"].n == 2
    script = ProbeScript(Persona(("I swim.",)), (("Hi.", None), ("So?", None)))
    held = [judge_dialogue(script, ["And you?", "Hm."]), judge_dialogue(script, ["And you?", "Why?"])]
    turns = evaluator.evaluate_multi_turn_engagement(held)
    assert turns["asks_back"].value == 0.75
    assert turns["engagement_equal"].n == 2
    scores = evaluator.dialogue_scores(held)
    by_asking = EngagementEvaluator({"asks_back": 1.0}, bootstrap_samples=200).evaluate_multi_turn_engagement(held)
    assert (by_asking["engagement_1"].value, by_asking["engagement_2"].value) == (1.0, 0.5)
    assert evaluator.compare_engagement_levels(scores, scores).value == 0.0
    assert evaluator.compare_engagement_levels([0.9, 0.8, 0.9], [0.1, 0.2, 0.1]).low > 0


def test_an_encoder_turns_continuation_into_a_cosine():
    class Axes:
        def encode(self, texts):
            return np.asarray([[1.0, 0.0] if "dog" in text else [0.6, 0.8] for text in texts], dtype=np.float32)

    found = EngagementEvaluator(encoder=Axes()).features("A puppy.", "My dog.")
    assert found["continuation"] == pytest.approx(0.6)
