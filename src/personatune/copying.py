"""Whether a reply says a persona sentence word by word: what people seldom do, and what training must not teach."""

from __future__ import annotations

from collections.abc import Sequence

from personatune.dialogue import Persona, Perspective
from personatune.words import mend_contractions, words


def copies_trait(reply: str, persona: Persona) -> bool:
    """Say whether the reply repeats a persona sentence of three words or more word by word.

    Case, punctuation and contractions make no difference ("I'm a nurse" is "i am a nurse").
    """
    said = f" {_plain(reply)} "
    return any(plain.count(" ") >= 2 and f" {plain} " in said for plain in map(_plain, persona.traits))


def copy_share(replies: Sequence[str], persona: Persona) -> float:
    """Return the share of replies that repeat a persona sentence, 0 to 1; no replies are an error."""
    if not replies:
        raise ValueError("copy_share needs at least one reply")
    return sum(copies_trait(reply, persona) for reply in replies) / len(replies)


def copied_turns(perspective: Perspective) -> tuple[bool, ...]:
    """Say for every turn whether it is an own turn that repeats a persona sentence."""
    return tuple(turn.speaker == "self" and copies_trait(turn.text, perspective.persona) for turn in perspective.turns)


def _plain(text: str) -> str:
    expanded = mend_contractions(text).lower().replace("i'm", "i am").replace("n't", " not").replace("'ve", " have")
    return " ".join(words(expanded))
