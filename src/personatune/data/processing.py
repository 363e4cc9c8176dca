"""From loaded dialogues to the perspectives that training, validation and test use: plain files, counted losses."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personatune.config import DataConfig
from personatune.data.cleaning import clean
from personatune.data.grounding import persona_turns, traits_by_use
from personatune.data.inspection import describe
from personatune.data.sources import LoadedData
from personatune.data.splits import leakage, sentence_key, split_by_persona
from personatune.data.written_dialogues import held_out
from personatune.dialogue import Dialogue, Persona, Perspective, WrittenDialogue
from personatune.errors import UserError
from personatune.storage import read_json, read_jsonl, write_json, write_jsonl

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class PreparedData:
    """The three splits, every turn sequence beginning with the partner and ending with an own turn.

    Attributes:
        counts: rows skipped, dialogues dropped, turns mended and perspectives left out, by reason.
        statistics: `inspection.describe` of each split, and what the source said about itself.
    """

    train: list[Perspective]
    validation: list[Perspective]
    test: list[Perspective]
    counts: dict[str, int]
    statistics: dict[str, Any]

    def save(self, directory: Path) -> None:
        """Write train.jsonl, validation.jsonl, test.jsonl and, last, data.json, whose presence means all is there."""
        for name in _PARTS:
            write_jsonl(directory / f"{name}.jsonl", (view.to_json() for view in getattr(self, name)))
        write_json(directory / "data.json", {"counts": self.counts, "statistics": self.statistics})

    @classmethod
    def load(cls, directory: Path) -> PreparedData:
        """Read what `save` wrote.

        Raises:
            UserError: a file is missing or damaged.
        """
        about = read_json(directory / "data.json")
        parts = (list(map(Perspective.from_json, read_jsonl(directory / f"{name}.jsonl"))) for name in _PARTS)
        train, validation, test = parts
        return cls(train, validation, test, about["counts"], about["statistics"])


class DataProcessor:
    """Cleans, splits by persona and cuts to size, counting what is lost on the way."""

    def __init__(self, config: DataConfig, seed: int) -> None:
        self.config = config
        self.seed = seed

    def process(self, loaded: LoadedData, written: Sequence[WrittenDialogue] = ()) -> PreparedData:
        """Return the three splits of ``loaded``, and ``written`` dialogues beside its training and validation ones.

        Of the written ones as many as ``data.written`` says are drawn by seed; none goes to the test split, and one
        that shares a persona sentence with the other side is left out.

        Raises:
            UserError: nothing is left to train on; says what took it.
        """
        counts = Counter({f"skipped: {reason}": count for reason, count in loaded.skipped.items()})
        cleaned = clean(loaded.dialogues)
        counts.update(cleaned.counts)
        described = list(self._with_enough_traits(cleaned.dialogues, counts))
        splits = split_by_persona(described, self.config.validation_share, self.config.test_share, self.seed)
        counts.update(splits.dropped)
        leaked = leakage(splits)
        if leaked:
            raise AssertionError(f"the split leaks {len(leaked)} persona sentences, first {leaked[0]!r}")
        train, validation, test = (self._cut(part, counts) for part in (splits.train, splits.validation, splits.test))
        train = self._richest(train, counts)
        if not train:
            raise UserError(self._nothing_left(loaded, counts))
        if written:
            train, validation = self._with_written(written, train, validation, test, counts)
        parts = {"train": train, "validation": validation, "test": test}
        statistics: dict[str, Any] = {name: describe(part) for name, part in parts.items()}
        statistics["source"] = {
            "name": loaded.source, "description": loaded.description, "licence": loaded.licence,
        }  # fmt: skip
        return PreparedData(train, validation, test, dict(sorted(counts.items())), statistics)

    def _with_written(
        self,
        written: Sequence[WrittenDialogue],
        train: list[Perspective],
        validation: list[Perspective],
        test: list[Perspective],
        counts: Counter[str],
    ) -> tuple[list[Perspective], list[Perspective]]:
        drawn = list(written)
        random.Random(f"{self.seed}/written").shuffle(drawn)
        drawn = drawn[: self.config.written]
        parts: dict[bool, list[Perspective]] = {}
        for aside in (False, True):  # training first: the held-out ones must share nothing with any of it
            foreign = _sentences([*train, *parts[False]] if aside else [*validation, *test])
            views = [dialogue.view for dialogue in drawn if held_out(dialogue) == aside]
            fit = [view for view in views if _sentences([view]).isdisjoint(foreign)]
            counts["dropped: written dialogue with a persona sentence of the other side"] += len(views) - len(fit)
            parts[aside] = self._cut(fit, counts)
        counts["added: written dialogues"] += len(parts[True]) + len(parts[False])
        return [*train, *parts[False]], [*validation, *parts[True]]

    def _with_enough_traits(self, dialogues: Iterable[Dialogue], counts: Counter[str]) -> Iterable[Dialogue]:
        for dialogue in dialogues:
            personas = {
                speaker: persona
                for speaker, persona in dialogue.personas.items()
                if len(persona.traits) >= self.config.min_traits
            }
            short = len(dialogue.personas) - len(personas)
            if short:
                counts[f"dropped: fewer than {self.config.min_traits} traits"] += short
            yield dialogue if not short else dataclasses.replace(dialogue, personas=personas)

    def _cut(self, views: Iterable[Perspective], counts: Counter[str]) -> list[Perspective]:
        cut: list[Perspective] = []
        for view in views:
            window = self.window(view)
            if window is None:
                counts["dropped: no reply to the partner"] += 1
            else:
                cut.append(window)
        return cut

    def window(self, view: Perspective) -> Perspective | None:
        """Return the window of at most ``max_turns`` turns with most persona turns and the traits it speaks of first.

        It begins with a partner turn and ends with an own one; None when there is no such pair.
        """
        traits = view.persona.traits
        if len(traits) > self.config.max_traits:
            used = set(traits_by_use(view)[: self.config.max_traits])
            persona = Persona(tuple(trait for trait in traits if trait in used), view.persona.name)
            view = dataclasses.replace(view, persona=persona)
        turns = view.turns
        first = next((index for index, turn in enumerate(turns) if turn.speaker == "partner"), len(turns))
        length = min(len(turns) - first, self.config.max_turns) // 2 * 2
        if length < 2:
            return None
        marks = persona_turns(view)
        last = len(turns) - length
        start = max(range(first, last + 1, 2), key=lambda begin: (sum(marks[begin : begin + length]), -begin))
        return dataclasses.replace(view, turns=turns[start : start + length])

    def _richest(self, views: list[Perspective], counts: Counter[str]) -> list[Perspective]:
        """Keep ``max_dialogues``: of every persona the densest view first, then the second densest of each, and so on.

        Density is persona turns per word, so that time goes into what teaches; going round the personas keeps a few
        talkative speakers from filling the set.
        """
        limit = self.config.max_dialogues
        if limit is None or len(views) <= limit:
            return views
        counts["dropped: beyond max_dialogues"] += len(views) - limit
        draw = random.Random(self.seed)
        by_persona: dict[frozenset[str], list[tuple[float, float, Perspective]]] = defaultdict(list)
        for view in views:
            by_persona[frozenset(view.persona.traits)].append((-_density(view), draw.random(), view))
        ranked = [
            (place, density, tie, view)
            for entries in by_persona.values()
            for place, (density, tie, view) in enumerate(sorted(entries, key=lambda entry: entry[:2]))
        ]
        return [view for *_, view in sorted(ranked, key=lambda entry: entry[:3])[:limit]]

    def _nothing_left(self, loaded: LoadedData, counts: Counter[str]) -> str:
        losses = ", ".join(
            f"{reason.removeprefix('dropped: ')} {count}"
            for reason, count in counts.most_common()
            if reason.startswith(("dropped", "skipped"))
        )
        if all(dialogue.split in ("validation", "test") for dialogue in loaded.dialogues):
            return (
                f"{loaded.source}: all rows are validation or test rows, none is left for training; add training files"
            )
        return (
            f"{loaded.source}: none of {len(loaded.dialogues)} dialogues is left for training ({losses or 'held out'})"
            "; give more dialogues, or lower data.min_traits, data.validation_share and data.test_share"
        )


def _sentences(views: Iterable[Perspective]) -> set[str]:
    return {sentence_key(trait) for view in views for trait in view.persona.traits}


def _density(view: Perspective) -> float:
    """Return persona turns per word of the training sequence, the persona's own words included."""
    length = sum(len(text.split()) for text in (*view.persona.traits, *(turn.text for turn in view.turns)))
    return sum(persona_turns(view)) / length
