"""From loaded dialogues to the perspectives that training, validation and test use: plain files, counted losses."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personatune.copying import copied_turns
from personatune.data.cleaning import clean_onto
from personatune.data.densest import Densest
from personatune.data.grounding import persona_turns, traits_by_use
from personatune.data.inspection import describe
from personatune.data.lower_case import lower_cased
from personatune.data.recomposed import recomposed_dialogues
from personatune.data.shelf import Shelf, Shelves
from personatune.data.sources import LoadedData, Reading
from personatune.data.splits import PersonaSplit, sentence_key
from personatune.data.written_dialogues import held_out
from personatune.dialogue import Dialogue, Persona, Perspective, WrittenDialogue
from personatune.errors import UserError
from personatune.settings import DataConfig
from personatune.storage import read_json, read_jsonl, write_json, write_jsonl

_PARTS = ("train", "validation", "test")
_MOST_SPEAKERS = 256  # of a dialogue; there are two


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
        _save(directory, {name: getattr(self, name) for name in _PARTS}, self.counts, self.statistics)

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
        counts: Counter[str] = Counter()
        parts = self._parts(loaded, written, Shelves(), counts)
        train, validation, test = (list(parts[name]) for name in _PARTS)
        return PreparedData(train, validation, test, _sorted(counts), _statistics(parts, loaded))

    def process_into(
        self, directory: Path, reading: Reading, written: Sequence[WrittenDialogue] = ()
    ) -> dict[str, int]:
        """Do what `process` does, and write what `PreparedData.save` writes, with a few dialogues in memory at a time.

        What waits between two passes lies in nameless files in ``directory``, about three times the source's size.

        Returns:
            The numbers of perspectives, by split.
        """
        counts: Counter[str] = Counter()
        with Shelves(directory) as shelves:
            parts = self._parts(reading, written, shelves, counts)
            _save(directory, parts, _sorted(counts), _statistics(parts, reading))
            return {name: len(part) for name, part in parts.items()}

    def _parts(
        self,
        loaded: LoadedData | Reading,
        written: Sequence[WrittenDialogue],
        shelves: Shelves,
        counts: Counter[str],
    ) -> dict[str, Shelf[Perspective]]:
        """Return the three splits on shelves, and add what was lost on the way to ``counts``."""
        kept = shelves.dialogues()
        read: Counter[str | None] = Counter()
        cleaned = clean_onto(_counted(loaded.dialogues, read), kept)
        counts.update({f"skipped: {reason}": count for reason, count in loaded.skipped.items()})
        counts.update(cleaned)
        split = PersonaSplit()
        for dialogue in kept:
            split.add(self._with_enough_traits(dialogue, counts))
        split.decide(self.config.validation_share, self.config.test_share, self.seed)
        leaked = split.leaks()
        if leaked:
            raise AssertionError(f"the split leaks {len(leaked)} persona sentences, first {leaked[0]!r}")
        parts = {name: shelves.perspectives() for name in _PARTS}
        limit = self.config.max_dialogues
        densest = None if limit is None else Densest(limit, self.seed)
        for number, (dialogue, places) in enumerate(zip(kept, split.places(), strict=True)):
            for speaker, place in places:
                if place not in parts:
                    counts[place] += 1
                elif place == "train" and densest is not None:
                    self._note(densest, number, dialogue, speaker, counts)
                else:
                    self._add(dialogue.seen_by(speaker), parts[place], counts)
        if densest is not None:
            self._add_densest(densest, kept, parts["train"], counts)
        if not parts["train"]:
            raise UserError(self._nothing_left(loaded.source, read, counts))
        if written:
            self._add_written(written, parts, counts)
        if self.config.lower_case_share:
            self._lower(parts["train"], counts)
        return parts

    def _lower(self, part: Shelf[Perspective], counts: Counter[str]) -> None:
        for place in range(len(part)):
            view = part[place]
            lowered = lower_cased(view, self.config.lower_case_share, self.seed)
            if lowered is not view:
                part[place] = lowered
                counts["shown in lower case"] += 1

    def _add_written(
        self, written: Sequence[WrittenDialogue], parts: dict[str, Shelf[Perspective]], counts: Counter[str]
    ) -> None:
        drawn = list(written)
        random.Random(f"{self.seed}/written").shuffle(drawn)
        drawn = drawn[: self.config.written]
        asked = _sentences(dialogue.view for dialogue in drawn)
        known = {name: _sentences(part, asked) for name, part in parts.items()}
        foreign = {False: known["validation"] | known["test"], True: known["train"]}
        counts["added: written dialogues"] += 0  # told even where none fits
        for aside in (False, True):  # training first: the held-out ones must share nothing with any of it
            views = [dialogue.view for dialogue in drawn if held_out(dialogue) == aside]
            fit = [view for view in views if _sentences([view]).isdisjoint(foreign[aside])]
            counts["dropped: written dialogue with a persona sentence of the other side"] += len(views) - len(fit)
            for view in fit:
                window = self._add(view, parts["validation" if aside else "train"], counts)
                if window is not None:
                    counts["added: written dialogues"] += 1
                    foreign[True] |= set() if aside else _sentences([window])
            if not aside:
                names = {view.id for view in fit}
                self._add_recomposed([dialogue for dialogue in drawn if dialogue.view.id in names], parts, counts)

    def _add_recomposed(
        self, written: Sequence[WrittenDialogue], parts: dict[str, Shelf[Perspective]], counts: Counter[str]
    ) -> None:
        made = recomposed_dialogues(written, self.config.recomposed, self.seed)
        added = sum(self._add(dialogue.view, parts["train"], counts) is not None for dialogue in made)
        if self.config.recomposed:  # told even where too few can meet
            counts["added: recomposed dialogues"] = added

    def _with_enough_traits(self, dialogue: Dialogue, counts: Counter[str]) -> Dialogue:
        personas = {
            speaker: persona
            for speaker, persona in dialogue.personas.items()
            if len(persona.traits) >= self.config.min_traits
        }
        short = len(dialogue.personas) - len(personas)
        if not short:
            return dialogue
        counts[f"dropped: fewer than {self.config.min_traits} traits"] += short
        return dataclasses.replace(dialogue, personas=personas)

    def _add(self, view: Perspective, part: Shelf[Perspective], counts: Counter[str]) -> Perspective | None:
        window = self.window(view)
        if window is None:
            counts["dropped: no reply to the partner"] += 1
        else:
            part.append(window)
        return window

    def _note(self, densest: Densest, number: int, dialogue: Dialogue, speaker: str, counts: Counter[str]) -> None:
        window, marks = self._window(dialogue.seen_by(speaker))
        if window is None:
            counts["dropped: no reply to the partner"] += 1
        else:
            at = list(dialogue.personas).index(speaker)
            densest.add(number * _MOST_SPEAKERS + at, window, sum(marks))

    def _add_densest(
        self, densest: Densest, kept: Shelf[Dialogue], part: Shelf[Perspective], counts: Counter[str]
    ) -> None:
        if len(densest) > densest.limit:
            counts["dropped: beyond max_dialogues"] += len(densest) - densest.limit
        for place in densest.chosen():
            number, at = divmod(place, _MOST_SPEAKERS)
            dialogue = kept[number]
            window = self.window(dialogue.seen_by(list(dialogue.personas)[at]))
            assert window is not None  # it was one when it was noted
            part.append(window)

    def window(self, view: Perspective) -> Perspective | None:
        """Return the window of at most ``max_turns`` turns with most persona turns and the traits it speaks of first.

        It begins with a partner turn and ends with an own one; None when there is no such pair.
        """
        return self._window(view)[0]

    def _window(self, view: Perspective) -> tuple[Perspective | None, Sequence[bool]]:
        """Return `window`, and which of its turns count as persona turns."""
        traits = view.persona.traits
        if len(traits) > self.config.max_traits:
            used = set(traits_by_use(view)[: self.config.max_traits])
            persona = Persona(tuple(trait for trait in traits if trait in used), view.persona.name)
            view = dataclasses.replace(view, persona=persona)
        turns = view.turns
        first = next((index for index, turn in enumerate(turns) if turn.speaker == "partner"), len(turns))
        length = min(len(turns) - first, self.config.max_turns) // 2 * 2
        if length < 2:
            return None, ()
        marks = persona_turns(view)
        if not self.config.copies_count:
            marks = tuple(on and not copied for on, copied in zip(marks, copied_turns(view), strict=True))
        last = len(turns) - length
        start = max(range(first, last + 1, 2), key=lambda begin: (sum(marks[begin : begin + length]), -begin))
        end = start + length
        return Perspective(view.id, view.persona, turns[start:end]), marks[start:end]

    def _nothing_left(self, source: str, read: Counter[str | None], counts: Counter[str]) -> str:
        losses = ", ".join(
            f"{reason.removeprefix('dropped: ')} {count}"
            for reason, count in counts.most_common()
            if reason.startswith(("dropped", "skipped"))
        )
        if all(split in ("validation", "test") for split in read):
            return f"{source}: all rows are validation or test rows, none is left for training; add training files"
        return (
            f"{source}: none of {read.total()} dialogues is left for training ({losses or 'held out'})"
            "; give more dialogues, or lower data.min_traits, data.validation_share and data.test_share"
        )


def _save(
    directory: Path, parts: Mapping[str, Iterable[Perspective]], counts: dict[str, int], statistics: dict[str, Any]
) -> None:
    for name in _PARTS:
        write_jsonl(directory / f"{name}.jsonl", (view.to_json() for view in parts[name]))
    write_json(directory / "data.json", {"counts": counts, "statistics": statistics})


def _statistics(parts: Mapping[str, Iterable[Perspective]], loaded: LoadedData | Reading) -> dict[str, Any]:
    statistics: dict[str, Any] = {name: describe(part) for name, part in parts.items()}
    statistics["source"] = {
        "name": loaded.source, "description": loaded.description, "licence": loaded.licence,
    }  # fmt: skip
    return statistics


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _counted(dialogues: Iterable[Dialogue], read: Counter[str | None]) -> Iterator[Dialogue]:
    """Count what goes by, by the split that the source says."""
    for dialogue in dialogues:
        read[dialogue.split] += 1
        yield dialogue


def _sentences(views: Iterable[Perspective], asked: set[str] | None = None) -> set[str]:
    """Return the keys of all persona sentences, or of those among the asked ones."""
    keys = (sentence_key(trait) for view in views for trait in view.persona.traits)
    return set(keys) if asked is None else {key for key in keys if key in asked}
