"""Named parts of PPO's reward beside the learned one: built-in ones, and functions of one's own by dotted path.

A term maps a context and a reply to a number; the reward of a reply is the learned score (unit-sized, see
`RewardModel.normalise`) plus the sum of weight × term. Built-in terms lie between -1 and 1, so a weight says how many
standard deviations of the learned score a term can move.

A term of one's own is any function ``def tone(context: Context, reply: str) -> float``, named "package.module:tone" in
``ppo.reward_terms``; modules beside the place the program is started from are found.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from personatune.copying import copies_trait
from personatune.dialogue import Context
from personatune.errors import UserError, did_you_mean
from personatune.judging.keywords import contradicted_traits, expressed_traits
from personatune.words import words

RewardTerm = Callable[[Context, str], float]
"""Context (persona and turns so far, the last one the partner's) and reply to a finite number; higher is better."""

_FULL, _LONG, _TOO_LONG = 5, 20, 40
"""Words from which a reply is long enough, up to which it isn't too long, and from which it is nothing but too long.

Human replies of ConvAI2 have 11.9 words on average."""
_NGRAM = 3


def length(_context: Context, reply: str) -> float:
    """Return 1 for 5 to 20 words, less for shorter and longer replies, 0 for none and from 40 words on."""
    count = len(words(reply))
    if count <= _LONG:
        return min(1.0, count / _FULL)
    return max(0.0, (_TOO_LONG - count) / (_TOO_LONG - _LONG))


def repetition(context: Context, reply: str) -> float:
    """Return minus the share of the reply's word triples that the speaker has said before (see `repeated_share`)."""
    return -repeated_share(context, reply)


def persona_copy(context: Context, reply: str) -> float:
    """Return -1 for a reply that repeats a persona sentence word by word, else 0."""
    return -float(copies_trait(reply, context.persona))


def persona_mention(context: Context, reply: str) -> float:
    """Return 1 for a reply that expresses a trait by a keyword, -1 for one that turns a trait round, else 0.

    The headline figure of the evaluation is judged by keywords too: with this term it is trained for, and a judge
    of another kind has to confirm it.
    """
    if contradicted_traits(reply, context.persona):
        return -1.0
    return float(bool(expressed_traits(reply, context.persona)))


def distinct_words(_context: Context, reply: str) -> float:
    """Return the share of different words in the reply, 0 for an empty one."""
    said = words(reply)
    return len(set(said)) / len(said) if said else 0.0


def question_back(_context: Context, reply: str) -> float:
    """Return 1 for a reply that ends with a question, else 0."""
    return float(reply.rstrip().endswith("?"))


BUILT_IN: dict[str, RewardTerm] = {
    term.__name__: term for term in (length, repetition, persona_copy, persona_mention, distinct_words, question_back)
}


def repeated_share(context: Context, reply: str) -> float:
    """Return the share of the reply's word triples said before, by the speaker in this dialogue or in the reply itself.

    0 for a reply of less than three words. The partner's words may be taken up freely.
    """
    seen = {gram for turn in context.history if turn.speaker == "self" for gram in _grams(turn.text)}
    found = _grams(reply)
    repeated = 0
    for gram in found:
        repeated += gram in seen
        seen.add(gram)
    return repeated / len(found) if found else 0.0


class RewardTerms:
    """The terms of a run, found by name.

    Args:
        weights: a built-in term's name, or "package.module:function", to its weight; 0 only logs it.

    Raises:
        UserError: a name that is neither, a module that can't be imported or has no such function.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = dict(weights)
        self._terms = {name: _find(name) for name in weights}

    def values(self, contexts: Sequence[Context], replies: Sequence[str]) -> dict[str, list[float]]:
        """Return every term of every reply, unweighted.

        Raises:
            UserError: a term fails, or gives something that is no finite number.
        """
        return {
            name: [_value(name, term, context, reply) for context, reply in zip(contexts, replies, strict=True)]
            for name, term in self._terms.items()
        }


def _value(name: str, term: RewardTerm, context: Context, reply: str) -> float:
    place = f"ppo.reward_terms: {name} for the reply {reply[:40]!r}"
    try:
        found = term(context, reply)
    except Exception as error:  # somebody's own code: whatever it raises is a mistake to be told
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{place} failed ({reason}); expected a finite number") from error
    try:
        value = float(found)
    except (TypeError, ValueError):
        raise UserError(f"{place} gave {found!r}; expected a finite number") from None
    if not math.isfinite(value):
        raise UserError(f"{place} gave {value}; expected a finite number")
    return value


def _find(name: str) -> RewardTerm:
    module_name, colon, function_name = name.partition(":")
    if not colon:
        if name not in BUILT_IN:
            raise UserError(
                f"ppo.reward_terms: no term {name!r}{did_you_mean(name, BUILT_IN)}; expected one of "
                f"{', '.join(BUILT_IN)}, or package.module:function"
            )
        return BUILT_IN[name]
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last: nothing of the installation is hidden by a file that lies about
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # an import runs somebody's own code
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"ppo.reward_terms: {name}: {module_name!r} can't be imported ({reason})") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UserError(
            f"ppo.reward_terms: {name}: {module_name} has no function {function_name!r}"
            f"{did_you_mean(function_name, vars(module))}"
        )
    term: RewardTerm = function
    return term


def _grams(text: str) -> list[tuple[str, ...]]:
    said = words(text)
    return [tuple(said[start : start + _NGRAM]) for start in range(len(said) - _NGRAM + 1)]
