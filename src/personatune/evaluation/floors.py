"""Floors and the ceiling: what needs no training, as chatbots and as rankers. Every table shows them beside the models.

A model below a floor has learnt less than word counting; one that beats people on a measure exposes the measure.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personatune.data.generic_replies import generic_reply
from personatune.dialogue import Context, RankingTask
from personatune.errors import UserError
from personatune.words import keyword_stems, stems

FLOORS = ("tfidf", "copier", "generic")
CEILING = "human"

_TOKEN_PATTERN = r"[a-z0-9']+"  # part of the published figure: another tokenisation moves it by several points
_GENERIC_REPLIES = 60


class TfidfFloor:
    """Takes the reply with most weighted words in common with persona and last line.

    TF-IDF as scikit-learn's ``TfidfVectorizer(token_pattern=r"[a-z0-9']+")`` computes it.
    """

    def __init__(self, pool: Sequence[str] = ()) -> None:
        """Prepare the floor.

        Args:
            pool: replies of a training set, which it answers with as a chatbot; none are needed for ranking.
        """
        self._pool = list(dict.fromkeys(reply for reply in pool if reply.strip()))
        self._fitted: tuple[Any, Any] | None = None

    def rank(self, tasks: Sequence[RankingTask]) -> list[list[float]]:
        """Score candidates by cosine with persona and last line joined; IDF is that of all candidates of ``tasks``.

        Give it all tasks of a file at once: the IDF is part of the figure.
        """
        return tfidf_scores(tasks, [_persona_and_last_line(task.context) for task in tasks])

    def respond(self, contexts: Sequence[Context]) -> list[str]:
        """Answer with the reply of the pool that is nearest to persona and last line; the first of equals.

        Raises:
            UserError: it was made without a pool.
        """
        if not self._pool:
            raise UserError("tfidf answers with replies of a training set; none was given")
        if self._fitted is None:
            vectorizer = _vectorizer().fit(self._pool)
            self._fitted = vectorizer, vectorizer.transform(self._pool).T.tocsr()
        vectorizer, pool_V_P = self._fitted
        asked = vectorizer.transform([_persona_and_last_line(context) for context in contexts])
        return [self._pool[int((asked[row] @ pool_V_P).toarray().argmax())] for row in range(len(contexts))]


class PersonaCopier:
    """Repeats a persona sentence: consistent by the word, but no conversation. It must never win overall."""

    def rank(self, tasks: Sequence[RankingTask]) -> list[list[float]]:
        """Score candidates by TF-IDF cosine with the persona alone; give it all tasks of a file at once."""
        return tfidf_scores(tasks, [" ".join(task.context.persona.traits) for task in tasks])

    def respond(self, contexts: Sequence[Context]) -> list[str]:
        """Answer with the trait that shares most words with the last line (keywords first); of equals the least said.

        Raises:
            UserError: a persona without traits.
        """
        return [self._reply(context) for context in contexts]

    def _reply(self, context: Context) -> str:
        if not context.persona.traits:
            raise UserError("copier repeats persona sentences; found a persona without any")
        asked = _last_line(context)
        keywords, asked_stems = set(keyword_stems(asked)), set(stems(asked))
        said = [turn.text for turn in context.history if turn.speaker == "self"]

        def nearness(trait: str) -> tuple[int, int, float]:
            own = set(stems(trait))
            return (
                len(keywords & set(keyword_stems(trait))),
                -said.count(trait),
                len(own & asked_stems) / max(1, len(own)),
            )

        return max(context.persona.traits, key=nearness)


class GenericReplier:
    """Says what fits anything: contradicts nobody, tells nothing."""

    def rank(self, tasks: Sequence[RankingTask]) -> list[list[float]]:
        """Score candidates by the TF-IDF cosine with the nearest generic reply; give it all tasks of a file at once."""
        vectorizer = _vectorizer()
        candidates = vectorizer.fit_transform(_all_candidates(tasks))
        nearest = (candidates @ vectorizer.transform(generic_replies()).T.tocsr()).max(axis=1)
        return _per_task(tasks, np.asarray(nearest.todense()).ravel())

    def respond(self, contexts: Sequence[Context]) -> list[str]:
        """Answer with a generic reply not said yet in the dialogue, drawn by the last line and the turn."""
        return [self._reply(context) for context in contexts]

    def _reply(self, context: Context) -> str:
        said = {turn.text for turn in context.history if turn.speaker == "self"}
        choice = [reply for reply in generic_replies() if reply not in said] or list(generic_replies())
        return random.Random(f"{len(context.history)} {_last_line(context)}").choice(choice)


class HumanCeiling:
    """The person's own reply: what a measure gives to people is what it can give at most with good reason."""

    def __init__(self, replies: Mapping[Context, str] | None = None) -> None:
        """Prepare the ceiling.

        Args:
            replies: what the person said in each context, for answering.
        """
        self._replies = replies

    def rank(self, tasks: Sequence[RankingTask]) -> list[list[float]]:
        """Give 1 to gold replies and 0 to all others."""
        return [[float(kind == "gold") for kind in task.kinds] for task in tasks]

    def respond(self, contexts: Sequence[Context]) -> list[str]:
        """Answer with the person's reply.

        Raises:
            UserError: nobody has answered one of the contexts (probe dialogues have no human side).
        """
        replies = self._replies or {}
        missing = next((context for context in contexts if context not in replies), None)
        if missing is not None:
            raise UserError(f"human: no person has answered {_last_line(missing)!r} for this persona; leave human out")
        return [replies[context] for context in contexts]


def tfidf_scores(tasks: Sequence[RankingTask], queries: Sequence[str]) -> list[list[float]]:
    """Return the TF-IDF cosine of each task's candidates with its query; IDF over all candidates of all tasks."""
    vectorizer = _vectorizer()
    candidates = vectorizer.fit_transform(_all_candidates(tasks))
    owners = np.repeat(np.arange(len(tasks)), [len(task.candidates) for task in tasks])
    cosines = candidates.multiply(vectorizer.transform(queries)[owners]).sum(axis=1)
    return _per_task(tasks, np.asarray(cosines).ravel())


@cache
def generic_replies() -> tuple[str, ...]:
    """Return the fixed, varied list of generic replies: 2 to 24 words, half of them with a question back."""
    rng = random.Random(0)
    drawn: dict[str, None] = {}
    while len(drawn) < _GENERIC_REPLIES:
        drawn[generic_reply(rng.randint(2, 24), rng, asks=len(drawn) % 2 == 1, exclaims=False)] = None
    return tuple(drawn)


def _vectorizer() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(token_pattern=_TOKEN_PATTERN)


def _all_candidates(tasks: Sequence[RankingTask]) -> list[str]:
    return [candidate for task in tasks for candidate in task.candidates]


def _per_task(tasks: Sequence[RankingTask], scores: NDArray[np.float64]) -> list[list[float]]:
    ends = np.cumsum([len(task.candidates) for task in tasks])
    return [part.tolist() for part in np.split(scores, ends[:-1])]


def _persona_and_last_line(context: Context) -> str:
    return " ".join([*context.persona.traits, _last_line(context)])


def _last_line(context: Context) -> str:
    return next((turn.text for turn in reversed(context.history) if turn.speaker == "partner"), "")
