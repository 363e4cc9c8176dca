"""Right reply, wrong moment: what a character of a written dialogue says elsewhere in it, as the worse reply here.

The commonest mistakes of a small trained model are not denials of its persona: it tells another sentence of it than the
one that was asked for, and it answers a greeting with one (docs/experiments.md, 2026-11-26). Both replies of such a
pair fit the persona, so only the partner's line tells which is better; and the same two replies stand the other way
round behind the other line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product

from personatune.data.mirrors import MIRROR
from personatune.data.negatives import of_like_length
from personatune.dialogue import Context, PreferencePair, WrittenDialogue
from personatune.words import words

MISPLACED = "misplaced"


def misplaced_replies(
    dialogues: Sequence[WrittenDialogue], max_history_turns: int, tolerance: float
) -> Iterator[PreferencePair]:
    """Yield pairs two by two: two replies of like length of one character, each the better one behind its line.

    At least one of the two rests on the persona; small talk finds its partner first. The second of two is the mirror of
    the first. Each reply stands in two pairs at most. Left out are replies on one persona sentence, and a worse reply
    that was just said in the history.
    """
    for dialogue in dialogues:
        told = sorted(dialogue.wrong)  # replies that rest on the persona have a wrong twin
        own = [place for place, turn in enumerate(dialogue.view.turns) if turn.speaker == "self" and place]
        small_talk = [place for place in own if place not in dialogue.wrong]
        left = set(own)
        for pair in (*product(small_talk, told), *combinations(told, 2)):
            first, second = sorted(pair)
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
    return PreferencePair(context, view.turns[here].text, view.turns[elsewhere].text, MISPLACED, origin)
