"""People's votes as preference pairs, split by persona as all data is.

The web demo (docs/demo.md) writes them; they train the reward model beside the pairs that a run makes itself.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from personatune.data.preference_files import read_preference_file
from personatune.data.processing import PreparedData
from personatune.data.splits import sentence_components, sentence_key
from personatune.dialogue import VOTE, Persona, PreferencePair


@dataclass(frozen=True)
class SplitVotes:
    """Votes by use.

    Attributes:
        file: where they come from; None: there are none.
        dropped: how many are in neither part, by reason.
    """

    file: str | None = None
    train: list[PreferencePair] = field(default_factory=list)
    test: list[PreferencePair] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file, "train": len(self.train), "test": len(self.test), "dropped": dict(self.dropped),
        }  # fmt: skip


def split_votes(
    file: Path,
    data: PreparedData,
    *,
    max_history_turns: int,
    held_out_share: float,
    foreign: Iterable[Persona] = (),
) -> SplitVotes:
    """Read votes and split them so that no persona sentence crosses, also not to or from the dialogues of a run.

    Votes whose personas share sentences stay together. They go where one of their sentences already is: training or
    validation; where none is, ``held_out_share`` of them, drawn by a hash of the sentences, test the reward model. What
    would cross, or touches the test split or ``foreign`` personas (those of a benchmark), is left out and counted.

    Args:
        max_history_turns: of a context; earlier ones are cut off, as in the other pairs.

    Raises:
        UserError: no such file, or a row that is no pair (names it).
    """
    votes = [_as_vote(pair, max_history_turns) for pair in read_preference_file(file)]
    keys = [frozenset(_sentences([pair.context.persona])) for pair in votes]
    known = {name: _sentences(view.persona for view in getattr(data, name)) for name in ("train", "validation", "test")}
    benchmark = _sentences(foreign)
    split = SplitVotes(str(file))
    for members in sentence_components(range(len(votes)), keys):
        sentences = frozenset().union(*(keys[index] for index in members))
        found = [votes[index] for index in members]
        if not sentences.isdisjoint(known["test"] | benchmark):
            split.dropped["shares a persona sentence with what models are tested on"] += len(found)
        elif not sentences.isdisjoint(known["train"]) and not sentences.isdisjoint(known["validation"]):
            split.dropped["shares persona sentences with training and with validation"] += len(found)
        elif not sentences.isdisjoint(known["train"]):
            split.train.extend(found)
        elif not sentences.isdisjoint(known["validation"]) or _drawn(sentences) < held_out_share:
            split.test.extend(found)
        else:
            split.train.extend(found)
    return split


def _as_vote(pair: PreferencePair, max_history_turns: int) -> PreferencePair:
    context = replace(pair.context, history=pair.context.history[-max_history_turns:])
    return replace(pair, context=context, kind=VOTE)


def _sentences(personas: Iterable[Persona]) -> set[str]:
    return {key for persona in personas for trait in persona.traits if (key := sentence_key(trait))}


def _drawn(sentences: Iterable[str]) -> float:
    """Return a number from 0 to 1 that belongs to these sentences, whatever else is in the file."""
    digest = hashlib.sha256("\n".join(sorted(sentences)).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
