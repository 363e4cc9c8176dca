"""Engagement of a reply: documented features, each 0 to 1, combined with named weights.

The default weights are fitted on people's ratings (`engagement_fit.py`) and shipped with the figure of how far people
agree with them. Equal weights stay as an option, and every evaluation prints both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from personatune.dialogue import Context, Turn
from personatune.errors import UserError, did_you_mean
from personatune.intervals import Estimate, bootstrap, paired_difference
from personatune.judging.probes import ProbeDialogue
from personatune.storage import read_json
from personatune.words import keyword_stems, mend_contractions, words

CLASSIC_FEATURES = ("asks_back", "enthusiasm", "continuation", "empathy", "acknowledgement", "length")
FEATURES = (*CLASSIC_FEATURES, "detail", "laughter", "reasons")
EQUAL_WEIGHTS: Mapping[str, float] = dict.fromkeys(CLASSIC_FEATURES, 1.0)
"""The unfitted formula: the classic six alone, so that its figures compare with what it gave before there was a fit."""
WEIGHTS_FILE = Path(__file__).with_name("engagement_weights.json")

History = str | Context | Sequence[Turn]

_ENTHUSIASM = frozenset(
    """
    wow awesome amazing great fantastic wonderful excellent cool fun love exciting excited yay haha lol nice incredible
    brilliant perfect super lovely beautiful glad happy
    """.split()
)
_EMPATHY = re.compile(
    r"\b(?:sorry to hear|i'm sorry|i am sorry|i understand|i can imagine|i know how|must (?:be|have been)|that's "
    r"(?:sad|tough|hard|rough|terrible|awful)|(?:sounds|sound) (?:hard|tough|rough|sad|difficult|stressful|painful)|"
    r"i hope (?:you|it|your|things)|good luck|congrat\w*|feel better|take care|happy for you|proud of you|"
    r"good for you|poor thing|me too|same here|i feel you|hang in there)\b"
)
_ACKNOWLEDGEMENT = re.compile(
    r"(?:oh|ah|wow|yes|yeah|yep|no|nope|haha|lol|cool|nice|great|awesome|ok|okay|right|sure|exactly|true|really|same|"
    r"thanks|thank you|interesting|good|of course|definitely|absolutely|hmm|aww|i see|i agree|i understand|me too|"
    r"that(?:'s| is| sounds| must)|sounds|how (?:nice|cool|sad|interesting|fun)|what a)\b"
)
_LAUGHTER = re.compile(r"\b(?:[ab]*(?:ha){2,}h?|haha\w*|ha ha|(?:he){2,}|lo+l|lmao|rofl)\b|[:;]-?[)dp](?!\w)")
_REASON = re.compile(r"\b(?:because|cause|cuz|since|so that)\b")
_FULL_DETAIL = 8  # content words; some twenty words of a human turn
_SHARED_WORDS = 2  # of the partner's content words taken up: full marks
_FULL_LENGTH = 12  # words; people's ConvAI2 replies have 11.9
_TOO_LONG = 40  # words; from here on a reply reads as a lecture
_UNREADABLE = 100


class Encoder(Protocol):
    """Turns texts into unit vectors, (n, d)."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class EngagementEvaluator:
    """Scores how much a reply keeps a conversation going.

    Args:
        weights: feature name to weight; features left out count nothing. "fitted" (default): what people rewarded;
            "equal": the classic six, all alike.
        encoder: when given, ``continuation`` is the cosine of reply and partner line, not shared words.
    """

    def __init__(
        self,
        weights: Mapping[str, float] | Literal["fitted", "equal"] = "fitted",
        encoder: Encoder | None = None,
        bootstrap_samples: int = 1000,
        seed: int = 0,
    ) -> None:
        self.weights = _named_weights(weights)
        self.encoder = encoder
        self.bootstrap_samples = bootstrap_samples
        self.seed = seed

    def features(self, reply: str, history: History) -> dict[str, float]:
        """Return the features of one reply to the partner's last line, each 0 to 1.

        asks_back: holds a question. enthusiasm: exclamation marks and glad words, full from two. continuation: takes
        up the partner's content words, full from two (with an encoder: cosine, negative as 0). empathy: an empathic
        phrase. acknowledgement: begins by reacting. length: words up to 12, falling from 40 to nothing at 100. detail:
        content words, full from eight. laughter: "haha", "lol", a smiley. reasons: "because", "since".
        """
        partner = _partner_line(history)
        said = words(reply)
        plain = mend_contractions(reply).lower()
        glad = reply.count("!") + sum(word in _ENTHUSIASM for word in said)
        return {
            "asks_back": float("?" in reply),
            "enthusiasm": min(1.0, glad / 2),
            "continuation": self._continuation(reply, partner),
            "empathy": float(bool(_EMPATHY.search(plain))),
            "acknowledgement": float(bool(_ACKNOWLEDGEMENT.match(plain.lstrip(" \"'")))),
            "length": _length_score(len(said)),
            "detail": min(1.0, len(keyword_stems(reply)) / _FULL_DETAIL),
            "laughter": float(bool(_LAUGHTER.search(plain))),
            "reasons": float(bool(_REASON.search(plain))),
        }

    def calculate_engagement_score(self, reply: str, history: History) -> float:
        """Return the weighted mean of the features, 0 to 1. ``history``: the partner's line, a context or the turns."""
        return self._combine(self.features(reply, history))

    def evaluate_engagement(self, replies: Sequence[str], contexts: Sequence[History]) -> dict[str, Estimate]:
        """Return ``engagement``, ``engagement_equal`` and every feature over replies; the items are replies.

        Raises:
            ValueError: no replies, or not one context for each.
        """
        rows = self._feature_rows(replies, contexts)
        figures = {
            "engagement": self._estimate([self._combine(row) for row in rows]),
            "engagement_equal": self._estimate([_weighted(row, EQUAL_WEIGHTS) for row in rows]),
        }
        return figures | {name: self._estimate([row[name] for row in rows]) for name in FEATURES}

    def evaluate_multi_turn_engagement(self, dialogues: Sequence[ProbeDialogue]) -> dict[str, Estimate]:
        """Return the same with dialogues as items, and ``engagement_1…k`` for each turn."""
        rows = [self._feature_rows(item.replies, _partner_lines(item)) for item in dialogues]
        scores = [[self._combine(row) for row in dialogue] for dialogue in rows]
        equal = [[_weighted(row, EQUAL_WEIGHTS) for row in dialogue] for dialogue in rows]
        figures = {
            "engagement": self._estimate([_mean(dialogue) for dialogue in scores]),
            "engagement_equal": self._estimate([_mean(dialogue) for dialogue in equal]),
        }
        for name in FEATURES:
            figures[name] = self._estimate([_mean([row[name] for row in dialogue]) for dialogue in rows])
        for turn in range(max(map(len, scores))):
            figures[f"engagement_{turn + 1}"] = self._estimate([item[turn] for item in scores if turn < len(item)])
        return figures

    def dialogue_scores(self, dialogues: Sequence[ProbeDialogue]) -> list[float]:
        """Return the mean engagement of each dialogue, for paired comparisons."""
        rows = [self._feature_rows(item.replies, _partner_lines(item)) for item in dialogues]
        return [_mean([self._combine(row) for row in dialogue]) for dialogue in rows]

    def compare_engagement_levels(self, first: Sequence[float], second: Sequence[float]) -> Estimate:
        """Return mean(first - second) of scores on the same items (paired bootstrap); significant if 0 is outside."""
        return paired_difference(first, second, self.bootstrap_samples, self.seed)

    def _feature_rows(self, replies: Sequence[str], contexts: Sequence[History]) -> list[dict[str, float]]:
        if self.encoder is not None:  # one batch fills the encoder's cache
            self.encoder.encode([*replies, *map(_partner_line, contexts)])
        return [self.features(reply, context) for reply, context in zip(replies, contexts, strict=True)]

    def _continuation(self, reply: str, partner: str) -> float:
        if self.encoder is not None:
            vectors = self.encoder.encode([reply, partner])
            return float(min(1.0, max(0.0, float(vectors[0] @ vectors[1]))))
        shared = set(keyword_stems(reply)).intersection(keyword_stems(partner))
        return min(1.0, len(shared) / _SHARED_WORDS)

    def _combine(self, features: Mapping[str, float]) -> float:
        return _weighted(features, self.weights)

    def _estimate(self, values: Sequence[float]) -> Estimate:
        return bootstrap(values, self.bootstrap_samples, self.seed)


def fitted_weights() -> dict[str, float]:
    """Return the shipped weights, which `personatune engagement fit` made."""
    return {name: float(weight) for name, weight in read_json(WEIGHTS_FILE)["weights"].items()}


def _named_weights(weights: Mapping[str, float] | str) -> dict[str, float]:
    if isinstance(weights, str):
        if weights not in ("fitted", "equal"):
            raise UserError(
                f"engagement weights: found {weights!r}, expected fitted, equal or a weight for each feature"
            )
        weights = fitted_weights() if weights == "fitted" else EQUAL_WEIGHTS
    for name, weight in weights.items():
        if name not in FEATURES:
            raise UserError(f"unknown engagement feature {name!r}{did_you_mean(name, FEATURES)}")
        if not 0 <= weight < float("inf"):
            raise UserError(f"engagement weight {name} = {weight}: expected 0 or more")
    if not sum(weights.values()):
        raise UserError("engagement weights: all are 0, expected at least one above 0")
    return dict(weights)


def _weighted(features: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return sum(weight * features[name] for name, weight in weights.items()) / sum(weights.values())


def _length_score(count: int) -> float:
    if count <= _TOO_LONG:
        return min(1.0, count / _FULL_LENGTH)
    return max(0.0, (_UNREADABLE - count) / (_UNREADABLE - _TOO_LONG))


def _partner_line(history: History) -> str:
    if isinstance(history, str):
        return history
    turns = history.history if isinstance(history, Context) else history
    return next((turn.text for turn in reversed(turns) if turn.speaker == "partner"), "")


def _partner_lines(dialogue: ProbeDialogue) -> list[str]:
    return [line for line, _ in dialogue.script.lines]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
