"""Quality: by hand, and in agreement with sacrebleu, rouge-score and the published human row."""

from __future__ import annotations

import math

import pytest
from rouge_score import rouge_scorer
from sacrebleu import corpus_bleu

from personatune.evaluation.quality import QualityEvaluator, tokens, word_f1

HYPOTHESES = [
    "The dog bit the man.",
    "It was not unexpected.",
    "The man bit him first.",
    "I am a chef in a small town.",
]
REFERENCES = [
    "The dog bit the man.",
    "It was not surprising.",
    "The man had just bitten him.",
    "I work as a chef in town.",
]


@pytest.fixture
def evaluator() -> QualityEvaluator:
    return QualityEvaluator(bootstrap_samples=200)


def test_bleu_is_sacrebleus(evaluator):
    found = evaluator.compute_bleu(HYPOTHESES, REFERENCES)
    assert found.value == pytest.approx(corpus_bleu(HYPOTHESES, [REFERENCES]).score)
    assert found.low <= found.value <= found.high
    assert evaluator.compute_bleu(REFERENCES, REFERENCES).value == pytest.approx(100)


def test_rouge_is_rouge_scores(evaluator):
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    found = evaluator.compute_rouge(HYPOTHESES, REFERENCES)
    for name, theirs in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        pairs = zip(HYPOTHESES, REFERENCES, strict=True)
        mean = sum(scorer.score(ref, hyp)[theirs].fmeasure for hyp, ref in pairs) / 4
        assert found[name].value == pytest.approx(100 * mean)


def test_rouges_own_example(evaluator):
    hyp, ref = "The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog"
    found = evaluator.compute_rouge([hyp], [ref])
    assert found["rouge_1"].value == pytest.approx(100 * 2 * 6 / (8 + 9))  # the (twice), quick, brown, dog, jumps
    assert found["rouge_l"].value == pytest.approx(100 * 2 * 5 / (8 + 9))  # the quick brown jumps the


def test_f1_by_hand():
    # {i, have, dog} and {i, have, two, dogs}: two shared
    assert word_f1("I have a dog!", "I have two dogs.") == pytest.approx(2 * 2 / 7)
    assert word_f1("the a an", "dog") == 0.0
    assert word_f1("dog dog", "dog") == pytest.approx(2 / 3)


def test_distinct_by_hand(evaluator):
    replies = ["i am fine", "i am here", "yes"]
    assert evaluator.compute_distinct_n(replies, 1).value == pytest.approx(100 * 5 / 7)
    assert evaluator.compute_distinct_n(replies, 2).value == pytest.approx(100 * 3 / 4)
    with pytest.raises(ValueError, match="at least 4 words"):
        evaluator.compute_distinct_n(replies, 4)


def test_distinct_has_an_interval_around_its_value(evaluator):
    replies = [f"i like {thing} and you" for thing in ("red", "blue", "dogs", "cats", "rain", "tea", "it", "us")]
    found = evaluator.compute_distinct_n(replies, 1)
    assert found.low < found.value < found.high


def test_perplexity_both_ways(evaluator):
    # 30 nats over 15 tokens and 10 words
    found = evaluator.compute_perplexity([(10.0, 5, 4), (20.0, 10, 6)])
    assert found["perplexity_token"].value == pytest.approx(math.exp(2))
    assert found["perplexity_word"].value == pytest.approx(math.exp(3))
    assert found["perplexity_token"].n == 2
    with pytest.raises(ValueError, match="at least one scored"):
        evaluator.compute_perplexity([(1.0, 1, 0)])
    with pytest.raises(ValueError, match="no items"):
        evaluator.compute_perplexity([])


def test_everything_at_once_and_nothing_that_was_not_asked_for(evaluator):
    found = evaluator.evaluate_all(HYPOTHESES, REFERENCES)
    expected = {"bleu", "rouge_1", "rouge_2", "rouge_l", "f1", "distinct_1", "distinct_2", "reply_words"}
    assert set(found) == expected
    assert set(evaluator.evaluate_all(HYPOTHESES, REFERENCES, [(1.0, 2, 2)])) == expected | {
        "perplexity_token",
        "perplexity_word",
    }
    assert all(figure.low <= figure.value <= figure.high for figure in found.values())


def test_replies_without_words_are_measured_not_refused(evaluator):
    found = evaluator.evaluate_all(["", "hm"], ["yes it is", "no it is not"])
    assert found["f1"].value == 0.0
    assert "distinct_2" not in found


def test_every_reply_needs_its_reference(evaluator):
    with pytest.raises(ValueError, match="2 replies for 1"):
        evaluator.compute_bleu(["a", "b"], ["a"])


@pytest.mark.shared
def test_the_human_row_of_convai2_comes_out_as_measured(shared_data, evaluator):
    """First 500 validation dialogues: Distinct-1 7.73, Distinct-2 44.0, 11.94 words."""
    path = shared_data / "convai2" / "valid_self_original_cands_first500.txt"
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    replies = [row[1] for row in rows if len(row) > 1]
    assert len(replies) == 3907
    quick = QualityEvaluator(bootstrap_samples=20)
    assert quick.compute_distinct_n(replies, 1).value == pytest.approx(7.73, abs=0.005)
    assert quick.compute_distinct_n(replies, 2).value == pytest.approx(44.0, abs=0.05)
    assert sum(len(tokens(reply)) for reply in replies) / len(replies) == pytest.approx(11.94, abs=0.005)
