"""From loaded dialogues to saved splits: windows, limits, grounding and statistics."""

from collections import Counter
from pathlib import Path

import pytest

from personatune.data.grounding import persona_turns, traits_by_use
from personatune.data.inspection import describe, plot
from personatune.data.processing import DataProcessor, PreparedData
from personatune.data.sources import DatasetLoader, LoadedData
from personatune.data.splits import Splits, leakage
from personatune.dialogue import Dialogue, Persona, Perspective, Turn
from personatune.errors import UserError
from personatune.settings import DataConfig

DOG, CHEF, IOWA = "I have a dog.", "I am a chef.", "I live in Iowa."


def perspective(*texts: str, traits: tuple[str, ...] = (DOG, CHEF, IOWA), first: str = "partner") -> Perspective:
    names = ("partner", "self") if first == "partner" else ("self", "partner")
    return Perspective("p", Persona(traits), tuple(Turn(names[i % 2], text) for i, text in enumerate(texts)))


def test_a_persona_turn_brings_up_what_the_partner_did_not() -> None:
    view = perspective(
        "Any pets?", "Two dogs!", "I own dogs.", "Dogs are fun.", "Job?", "Cooking. I'm a chef in Iowa.", "?", "Ok."
    )
    assert persona_turns(view) == (False, True, False, False, False, True, False, False)


def test_small_talk_words_alone_say_nothing_of_the_persona() -> None:
    view = perspective("Hi!", "I have to work.", "Oh.", "I nurse people.", traits=("I work as a nurse.",))
    assert persona_turns(view) == (False, False, False, True)


def test_the_window_is_the_one_richest_in_persona_turns() -> None:
    processor = DataProcessor(DataConfig(max_turns=4, min_traits=1), seed=0)
    view = perspective("a", "b", "c", "d", "Job?", "I'm a chef.", "Home?", "Iowa.", "g", "h", "i")
    window = processor.window(view)
    assert window is not None
    assert [turn.text for turn in window.turns] == ["Job?", "I'm a chef.", "Home?", "Iowa."]
    started = processor.window(perspective("Hello", "Hi", "My dog!", first="self"))
    assert started is not None
    assert [turn.speaker for turn in started.turns] == ["partner", "self"]
    assert processor.window(perspective("Hello", "Hi", first="self")) is None


def test_a_copied_persona_sentence_makes_a_window_richer_only_where_copies_count() -> None:
    view = perspective(
        "Any pets?", DOG, "And your job?", CHEF, "Nice.", "Thanks.", "Do you walk it?", "My dog walks me."
    )
    for count, expected in ((False, ["Do you walk it?", "My dog walks me."]), (True, ["Any pets?", DOG])):
        window = DataProcessor(DataConfig(max_turns=2, copies_count=count), 0).window(view)
        assert window is not None
        assert [turn.text for turn in window.turns] == expected


def test_the_traits_a_dialogue_is_about_are_kept() -> None:
    processor = DataProcessor(DataConfig(max_traits=2, min_traits=1), seed=0)
    view = perspective("Home?", "Iowa.", "Job?", "A chef.", traits=(DOG, CHEF, "I swim.", IOWA))
    assert traits_by_use(view)[:2] == [CHEF, IOWA]
    window = processor.window(view)
    assert window is not None
    assert window.persona.traits == (CHEF, IOWA)


def loaded(count: int = 60, split: str | None = None) -> LoadedData:
    dialogues = []
    for n in range(count):
        traits = tuple(f"I own {thing}{n}." for thing in ("boat", "horse", "farm"))
        turns = [Turn("AB"[i % 2], f"Line {i} of {n}.") for i in range(8)]
        turns[1] = Turn("B", f"My boat{n} is new.") if n % 2 else turns[1]
        dialogues.append(Dialogue(f"d{n}", tuple(turns), {"B": Persona(traits), "A": Persona(("I run.",))}, split))
    return LoadedData(dialogues, Counter({"no persona": 2}), "made", "made by hand")


def test_prepared_data_survives_saving_and_counts_every_loss(tmp_path: Path) -> None:
    prepared = DataProcessor(DataConfig(max_dialogues=20, max_turns=6), seed=0).process(loaded())
    assert len(prepared.train) == 20
    assert all(any(persona_turns(view)) for view in prepared.train), "those richest in persona turns come first"
    assert prepared.counts["skipped: no persona"] == 2
    assert prepared.counts["dropped: fewer than 3 traits"] == 60
    assert prepared.counts["dropped: beyond max_dialogues"] == 60 - 12 - 20
    assert all(len(view.turns) == 6 for view in prepared.test)
    assert leakage(Splits(prepared.train, prepared.validation, prepared.test, Counter())) == []
    prepared.save(tmp_path / "prepare")
    assert PreparedData.load(tmp_path / "prepare") == prepared
    names = {path.name for path in (tmp_path / "prepare").iterdir()}
    assert names == {"train.jsonl", "validation.jsonl", "test.jsonl", "data.json"}


def test_nothing_left_to_train_on_says_why() -> None:
    with pytest.raises(UserError, match="all rows are validation or test rows"):
        DataProcessor(DataConfig(), 0).process(loaded(split="test"))
    with pytest.raises(UserError, match="fewer than 4 traits 120"):
        DataProcessor(DataConfig(min_traits=4), 0).process(loaded())


def test_description_and_plots(tmp_path: Path) -> None:
    dialogue = Dialogue("d", (Turn("A", "Any pets?"), Turn("B", "Two dogs, yes!")), {"B": Persona((DOG, CHEF))})
    statistics = describe([dialogue, dialogue])
    assert statistics["dialogues"] == 2
    assert statistics["personas"] == 1
    assert statistics["vocabulary"] == 5
    assert statistics["persona_turn_share"] == 1.0
    assert statistics["words_per_turn"] == 2.5
    assert statistics["turn_lengths"] == {"2": 2, "3": 2}
    assert describe(dialogue.perspectives())["traits"] == {"2": 1}
    written = plot(statistics, tmp_path)
    assert {path.name for path in written} == {"traits.png", "turn_lengths.png", "turn_counts.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


@pytest.mark.shared
def test_real_data_is_split_without_leak_and_official_rows_are_never_trained_on(shared_data: Path) -> None:
    source = DatasetLoader(str(shared_data / "synthetic-persona-chat"), fraction=0.03, seed=1).load()
    held_out = {dialogue.id for dialogue in source.dialogues if dialogue.split == "validation"}
    prepared = DataProcessor(DataConfig(), seed=0).process(source)
    assert {view.id.split("/")[0] for view in prepared.test} == held_out
    assert held_out.isdisjoint(view.id.split("/")[0] for view in prepared.train + prepared.validation)
    assert leakage(Splits(prepared.train, prepared.validation, prepared.test, Counter())) == []
    assert not any("name]" in turn.text.lower() for view in prepared.train for turn in view.turns)
