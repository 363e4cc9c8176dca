"""Weights of the engagement features from people's ratings, and how far people agree with the score.

Features of a conversation are the means over its replies, so the score of a conversation is the mean score of its
replies, as in the evaluation of a model. How long the conversation was is no feature: a model can't earn it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personatune.data.conversation_ratings import RATINGS, RatedConversation, rated_chitchat
from personatune.errors import UserError
from personatune.evaluation.engagement import EQUAL_WEIGHTS, FEATURES, EngagementEvaluator
from personatune.evaluation.participants import hold_out_people, participant_folds, people_draws
from personatune.intervals import Estimate, bootstrap

Array = NDArray[np.float64]

STRENGTHS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Ridge strengths tried, in units of the number of conversations; 0 is plain non-negative least squares."""
ASIDE = 0.2  # of the conversations; looked at once, after every choice
OUTER_GROUPS = 8
INNER_GROUPS = 6
SCALES = ("mean", *RATINGS)


def fit_on_chitchat(seed: int = 0, samples: int = 1000) -> dict[str, Any]:
    """Fit the weights on chitchat's ratings and return the report as JSON values.

    20 % of the conversations, of people who occur nowhere else, are kept aside first. The rest gives the
    cross-validated correlations and the weights; the ones aside test these weights.

    Raises:
        UserError: the data are missing, too few, or no feature goes up with the ratings.
    """
    skipped: Counter[str] = Counter()
    conversations = rated_chitchat(skipped)
    features = conversation_features(conversations)
    ratings = rating_columns(conversations)
    pairs = [conversation.participants for conversation in conversations]
    work, aside = hold_out_people(pairs, ASIDE, seed)
    worked_pairs = [pairs[index] for index in work]
    held_out_scores = cross_validated_scores(features[work], ratings[work, 0], worked_pairs, seed)
    strength = choose_strength(features[work], ratings[work, 0], worked_pairs, OUTER_GROUPS, seed)
    weights = fit_weights(features[work], ratings[work, 0], strength).round(4)  # as they are shipped
    equal = np.asarray([EQUAL_WEIGHTS.get(name, 0.0) for name in FEATURES])
    return {
        "weights": dict(zip(FEATURES, weights.tolist(), strict=True)),
        "not_rewarded": [name for name, weight in zip(FEATURES, weights, strict=True) if weight == 0],
        "made": {"command": "personatune engagement fit", "seed": seed, "date": date.today().isoformat()},
        "fit": {
            "method": "non-negative ridge on standardised features",
            "strength": strength,
            "target": "ranks of the mean rating",
        },
        "data": {
            "source": "chitchat-dataset",
            "skipped": dict(skipped),
            "conversations": len(conversations),
            "participants": len({person for pair in pairs for person in pair}),
            "worked_on": len(work),
            "kept_aside": len(aside),
            "between_the_two_left_out": len(conversations) - len(work) - len(aside),
        },
        "spearman": {
            "cross_validated": agreement(
                held_out_scores, features[work] @ equal, ratings[work], worked_pairs, samples, seed
            ),
            "kept_aside": agreement(
                features[aside] @ weights,
                features[aside] @ equal,
                ratings[aside],
                [pairs[index] for index in aside],
                samples,
                seed,
            ),
            "each_feature_alone": {
                name: bootstrap_spearman(features[work, column], ratings[work, 0], samples, seed).to_json()
                for column, name in enumerate(FEATURES)
            },
        },
    }


def conversation_features(conversations: Sequence[RatedConversation]) -> Array:
    """Return the mean of each feature over the replies of both speakers, (conversations, features)."""
    evaluator = EngagementEvaluator(EQUAL_WEIGHTS)
    rows = []
    for conversation in conversations:
        exchanges = zip(conversation.turns, conversation.turns[1:], strict=False)
        found = [evaluator.features(reply.text, line.text) for line, reply in exchanges]
        rows.append([sum(row[name] for row in found) / len(found) for name in FEATURES])
    return np.asarray(rows, dtype=np.float64).reshape(-1, len(FEATURES))


def rating_columns(conversations: Sequence[RatedConversation]) -> Array:
    """Return the mean rating, then each rating, (conversations, 4): the columns of ``SCALES``."""
    ratings = np.asarray([[item.ratings[name] for name in RATINGS] for item in conversations]).reshape(-1, len(RATINGS))
    return np.column_stack([ratings.mean(axis=1), ratings])


def fit_weights(features: Array, ratings: Array, strength: float) -> Array:
    """Return weights of 0 and more that sum to 1, for features as they are, (features,).

    Minimises ||y - Zb||² + n·strength·||b||² over b ≥ 0, where Z are the standardised features and y the ranks of the
    ratings (half of them lie at the ends of the scale); the weights are b / sd(feature).

    Raises:
        UserError: no feature goes up with the ratings.
    """
    weights = _Problem(features, ratings).weights(strength)
    if weights is None:
        raise UserError(f"engagement: no feature goes up with the ratings of these {len(ratings)} conversations")
    return weights


class _Problem:
    """A least-squares problem cut down to its square root (QR), to be solved for many strengths."""

    def __init__(self, features: Array, ratings: Array) -> None:
        from scipy.stats import rankdata

        self.count = len(ratings)
        spread = features.std(axis=0)
        self.spread = np.where(spread > 0, spread, np.inf)  # what never changes counts nothing
        ranks = rankdata(ratings)
        rotation, self.root = np.linalg.qr((features - features.mean(axis=0)) / self.spread)
        self.target = rotation.T @ (ranks - ranks.mean())

    def weights(self, strength: float) -> Array | None:
        """Return the weights, or none where no feature goes up with the ratings."""
        from scipy.optimize import nnls

        width = len(self.spread)
        ridge = np.sqrt(self.count * strength) * np.eye(width)
        coefficients, _ = nnls(np.vstack([self.root, ridge]), np.concatenate([self.target, np.zeros(width)]))
        weights = coefficients / self.spread
        return weights / weights.sum() if weights.sum() > 0 else None


def choose_strength(features: Array, ratings: Array, pairs: Sequence[tuple[str, str]], groups: int, seed: int) -> float:
    """Return the ridge strength whose weights rank the conversations of unseen people best (the stronger if equal)."""
    folds = participant_folds(pairs, groups, seed)
    scores = np.zeros((len(STRENGTHS), len(pairs)))
    for train, test in folds:
        problem = _Problem(features[train], ratings[train])
        for row, strength in enumerate(STRENGTHS):
            scores[row, test] = _scores(features[test], problem.weights(strength))
    found = [spearman(np.column_stack([row, ratings])) for row in scores]
    return max(zip(STRENGTHS, found, strict=True), key=lambda item: (round(float(item[1]), 4), item[0]))[0]


def cross_validated_scores(
    features: Array, ratings: Array, pairs: Sequence[tuple[str, str]], seed: int = 0, groups: int = OUTER_GROUPS
) -> Array:
    """Return each conversation's score by weights (and strength) that saw neither of its people, (conversations,)."""
    scores = np.zeros(len(pairs))
    for train, test in participant_folds(pairs, groups, seed):
        inner = [pairs[index] for index in train]
        strength = choose_strength(features[train], ratings[train], inner, INNER_GROUPS, seed)
        scores[test] = _scores(features[test], _Problem(features[train], ratings[train]).weights(strength))
    return scores


def _scores(features: Array, weights: Array | None) -> Array:
    """Return the scores by the weights, or by equal ones where the training people reward no feature."""
    return np.asarray(features.mean(axis=1) if weights is None else features @ weights)


def agreement(
    fitted: Array, equal: Array, ratings: Array, pairs: Sequence[tuple[str, str]], samples: int, seed: int
) -> dict[str, Any]:
    """Return for the mean rating and each rating Spearman's rho of both scores, and of fitted minus equal (paired).

    ``low`` and ``high`` resample conversations; ``low_people`` and ``high_people`` resample participants, which is the
    honest width where few people rate many conversations.
    """
    columns = np.column_stack([fitted, equal, ratings])
    measured = _correlations(columns)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(columns), len(columns)) for _ in range(samples))
    bounds = [
        np.quantile([_correlations(columns[drawn]) for drawn in drawn_sets], [0.025, 0.975], axis=0)
        for drawn_sets in (draws, people_draws(pairs, samples, seed))
    ]
    rows: dict[str, Any] = {"fitted": {}, "equal": {}, "fitted_minus_equal": {}}
    for row, name in enumerate(rows):
        for column, scale in enumerate(SCALES):
            (low, high), (low_people, high_people) = (bound[:, row, column].tolist() for bound in bounds)
            found = Estimate(float(measured[row, column]), low, high, len(columns))
            rows[name][scale] = {**found.to_json(), "low_people": low_people, "high_people": high_people}
    return rows


def _correlations(columns: Array) -> Array:
    """Return rho of the fitted score (row 0), the equal one (1) and their difference (2) with each rating, (3, 4).

    ``columns``: fitted score, equal score and the ratings of ``SCALES``, (n, 6).
    """
    from scipy.stats import rankdata

    ranks = rankdata(columns, axis=0)
    ranks -= ranks.mean(axis=0)
    lengths = np.sqrt((ranks**2).sum(axis=0))
    unit = np.divide(ranks, lengths, out=np.zeros_like(ranks), where=lengths > 0)
    both = unit[:, :2].T @ unit[:, 2:]
    return np.vstack([both, both[0] - both[1]])


def bootstrap_spearman(scores: Array, ratings: Array, samples: int, seed: int) -> Estimate:
    """Return Spearman's rho with its interval over conversations."""
    return bootstrap(np.column_stack([scores, ratings]), samples, seed, spearman)


def spearman(items: Array) -> Array:
    """Rank correlation of two columns, ties at their mean rank, (..., n, 2) to (...); 0 where a column is constant."""
    from scipy.stats import rankdata

    ranks = rankdata(items, axis=-2)
    ranks -= ranks.mean(axis=-2, keepdims=True)
    spread = np.sqrt((ranks**2).sum(axis=-2).prod(axis=-1))
    product = ranks.prod(axis=-1).sum(axis=-1)
    return np.asarray(np.divide(product, spread, out=np.zeros_like(product), where=spread > 0))
