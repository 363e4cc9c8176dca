"""Right answer, wrong question: what a character of a written dialogue says elsewhere in it, as the worse reply here.

The commonest mistake of a small trained model is not to deny its persona but to tell another sentence of it than the
one that was asked for (docs/experiments.md, 2026-11-26). Both replies of such a pair fit the persona, so only
the question tells which is better; and the same two replies stand the other way round behind the other question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from personatune.data.mirrors import MIRROR
from personatune.data.negatives import of_like_length
from personatune.dialogue import Context, PreferencePair, WrittenDialogue
from personatune.words import words

OTHER_TRAIT = "other_trait"


def other_answers(
    dialogues: Sequence[WrittenDialogue], max_history_turns: int, tolerance: float
) -> Iterator[PreferencePair]:
    """Yield pairs two by two: two answers of like length of one character, each the better one behind its question.

    The second of two is the mirror of the first. Each answer stands in two pairs at most. Left out are answers on one
    persona sentence, and a worse reply that was just said in the history.
    """
    for dialogue in dialogues:
        left = set(dialogue.wrong)  # answers that rest on the persona have a wrong twin
        for first, second in combinations(sorted(left), 2):
            if {first, second} <= left and _exchangeable(dialogue, first, second, max_history_turns, tolerance):
                left -= {first, second}
                yield _pair(dialogue, first, second, max_history_turns)
                mirror = _pair(dialogue, second, first, max_history_turns)
                yield replace(mirror, origin=MIRROR + mirror.origin)


def _exchangeable(dialogue: WrittenDialogue, first: int, second: int, max_history_turns: int, tolerance: float) -> bool:
    turns, rests_on = dialogue.view.turns, dialogue.rests_on
    if first in rests_on and rests_on[first] == rests_on.get(second):
        return False
    if first >= second - max_history_turns:  # it would be repeated
        return False
    one, other = turns[first].text, turns[second].text
    return one != other and of_like_length(len(words(other)), len(words(one)), tolerance)


def _pair(dialogue: WrittenDialogue, here: int, elsewhere: int, max_history_turns: int) -> PreferencePair:
    view = dialogue.view
    context = Context(view.persona, view.turns[max(0, here - max_history_turns) : here])
    origin = f"written | {view.id}/{here} | {elsewhere}"
    return PreferencePair(context, view.turns[here].text, view.turns[elsewhere].text, OTHER_TRAIT, origin)
