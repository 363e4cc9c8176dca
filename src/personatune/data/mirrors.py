"""Mirrors: the context in which the rejected reply of a pair is the right one, and the chosen one the wrong one.

A pair and its mirror hold the same two replies, each once the better and once the worse. What a reply looks like by
itself (its length, a "not" in it, its topic) then tells nothing: a score that would follow it is wrong as often as it
is right, and only the persona and the partner's line are left to learn from. Lengths that merely match can't do that:
the loss of a pair sees score differences, so it leaves free how scores depend on what both replies share.
"""

from __future__ import annotations

import re
from dataclasses import replace

from personatune.data.contradictions import Edit, agrees_in_polarity
from personatune.data.negatives import Reply, drawn_traits, misplaced_at
from personatune.data.stances import contradicts, stated
from personatune.data.triples import triple_of
from personatune.dialogue import Context, Persona

MIRROR = "mirror | "
"""What the origin of a mirrored pair begins with."""


def exchanged(gold: Reply, other: Reply, kind: str) -> bool:
    """Say whether ``gold`` is as wrong an answer in the context of ``other`` as the other way round.

    ``other`` must tell of its own speaker's persona, and ``gold`` must share no content word with that persona
    ("persona_swap"), nor with what ``other`` answers and says ("off_topic"; "misplaced", where that persona is its
    own), or contradict a trait of it ("conflict").
    """
    if kind == "conflict":
        traits = [triple for trait in other.drawn if (triple := triple_of(trait))]
        return any(contradicts(one, trait) for one in stated(gold.text) for trait in traits)
    if kind == "misplaced":
        return misplaced_at(gold, other)
    taboo = other.persona if kind == "persona_swap" else other.persona | other.asked | other.told
    return bool(other.drawn) and taboo.isdisjoint(gold.told)


def counterfactual(gold: Reply, edit: Edit) -> Context | None:
    """Return the context of a contradicted reply with the persona that the edited reply fits, or None.

    The edit's words are changed in the one persona sentence that holds them ("I have two dogs." becomes "I have five
    dogs."). None where no sentence or more than one holds them, where the edited reply wouldn't tell of the
    new persona, or where the speaker said something of the old sentence before.
    """
    before, arrow, after = edit.change.partition(" -> ")
    pattern = re.compile(rf"(?<!\w){re.escape(before)}(?!\w)", re.IGNORECASE)
    traits = gold.context.persona.traits
    holding = [trait for trait in gold.drawn if len(pattern.findall(trait)) == 1]
    others = [trait for trait in traits if trait not in holding and pattern.search(trait)]
    earlier = " ".join(turn.text for turn in gold.context.history if turn.speaker == "self")
    if not arrow or len(holding) != 1 or others or drawn_traits(earlier, holding):
        return None
    [old] = holding
    new = pattern.sub(lambda found: _cased_as(found[0], after), old)
    if new == old or not agrees_in_polarity(edit.text, new) or not drawn_traits(edit.text, (new,)):
        return None
    persona = Persona(tuple(new if trait == old else trait for trait in traits), gold.context.persona.name)
    return replace(gold.context, persona=persona)


def _cased_as(model: str, text: str) -> str:
    return text[:1].upper() + text[1:] if model[:1].isupper() else text
