"""The hand-written dialogues: every packaged line keeps the rules of writing, and they join the right splits."""

import json
from collections import Counter
from pathlib import Path
from statistics import mean

import pytest

from personatune.data.grounding import persona_turns
from personatune.data.preferences import PreferenceGenerator
from personatune.data.processing import DataProcessor
from personatune.data.sources import LoadedData
from personatune.data.splits import sentence_key
from personatune.data.written_dialogues import held_out, written_dialogues
from personatune.dialogue import Dialogue, Persona, Perspective, Turn, WrittenDialogue
from personatune.errors import UserError
from personatune.judging.persona_probes import load_persona_probes
from personatune.judging.persona_probes.dialogues import probe_dialogues
from personatune.settings import DataConfig, PreferencesConfig
from personatune.words import words

LINE = {
    "persona": ["I have two grey cats.", "I don't drive."],
    "turns": [
        {"partner": "Hi!", "bot": "Hello, nice to see you.", "trait": None},
        {"partner": "Anyone at home?", "bot": "Two cats, both asleep.", "trait": 0, "wrong": "Only my dog, as ever."},
        {"partner": "A car?", "bot": "No, I take the bus.", "trait": 1, "wrong": "Yes, I drive daily."},
    ],
}


@pytest.fixture(scope="module")
def packaged() -> list[WrittenDialogue]:
    return written_dialogues()


def test_replies_are_short_whole_and_nobodys_persona_sentence(packaged: list[WrittenDialogue]) -> None:
    assert len(packaged) >= 400
    for dialogue in packaged:
        traits = {sentence_key(trait) for trait in dialogue.view.persona.traits}
        assert 4 <= len(traits) <= 6, dialogue.view.id
        for turn in dialogue.view.turns[1::2]:
            assert turn.speaker == "self"
            assert turn.text[-1] in '.!?"', turn
            assert 2 <= len(words(turn.text)) <= 28, turn
            assert sentence_key(turn.text) not in traits, turn


def test_a_wrong_twin_is_as_long_as_the_reply(packaged: list[WrittenDialogue]) -> None:
    differences = []
    for dialogue in packaged:
        for index, wrong in dialogue.wrong.items():
            assert wrong != dialogue.view.turns[index].text
            differences.append(len(words(wrong)) - len(words(dialogue.view.turns[index].text)))
    assert max(map(abs, differences)) <= 6
    assert abs(mean(differences)) < 0.7


def test_personas_are_new_and_none_is_one_of_the_held_out_probes(packaged: list[WrittenDialogue]) -> None:
    uses = Counter(sentence_key(trait) for dialogue in packaged for trait in dialogue.view.persona.traits)
    assert sum(count - 1 for count in uses.values()) < 0.08 * sum(uses.values())
    probed = {
        sentence_key(trait.trait)
        for persona in load_persona_probes()
        if persona.split != "train"
        for trait in persona.traits
    }
    assert probed.isdisjoint(uses)


def test_most_answers_are_seen_to_draw_on_the_persona(packaged: list[WrittenDialogue]) -> None:
    seen = [persona_turns(dialogue.view)[index] for dialogue in packaged for index in dialogue.wrong]
    assert mean(seen) > 0.7


def test_every_training_probe_persona_answers_three_times(tmp_path: Path) -> None:
    dialogues = probe_dialogues()
    trained = load_persona_probes("train")
    assert len(dialogues) == 3 * len(trained)
    first = dialogues[0]
    assert len(first.wrong) == len(trained[0].traits)
    questions = {question for trait in trained[0].traits for question in trait.questions}
    asked = [turn.text for view in dialogues[:3] for turn in view.view.turns[::2]]
    assert sorted(asked) == sorted(questions)


def _file(folder: Path, *lines: object) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("turn", "fault"),
    [
        ({"partner": "A?", "bot": "B.", "trait": 2, "wrong": "C."}, "trait 2 of 2 persona sentences"),
        ({"partner": "A?", "bot": "B.", "trait": 1}, "a wrong twin exactly where it rests on a trait"),
        ({"partner": "A?", "bot": "", "trait": None}, r"turns\.0\.bot: String should have at least 1 character"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, turn: dict[str, object], fault: str) -> None:
    path = _file(tmp_path, LINE, {**LINE, "turns": [turn]})
    with pytest.raises(UserError, match=f"mine.jsonl, line 2: .*{fault}"):
        written_dialogues([path])


def test_pairs_set_a_reply_against_its_wrong_twin(tmp_path: Path) -> None:
    (dialogue,) = written_dialogues([_file(tmp_path, LINE)])
    first, second = dialogue.pairs(max_history_turns=3)
    assert (first.chosen, first.rejected, first.kind) == (
        "Two cats, both asleep.", "Only my dog, as ever.", "contradiction",
    )  # fmt: skip
    assert [turn.text for turn in second.context.history] == ["Anyone at home?", "Two cats, both asleep.", "A car?"]


def _loaded() -> LoadedData:
    dialogues = [
        Dialogue(
            f"d{n}",
            tuple(Turn("AB"[i % 2], f"Line {i} of {n}.") for i in range(6)),
            {"B": Persona(tuple(f"I own {thing}{n}." for thing in ("boat", "horse", "farm")))},
        )
        for n in range(40)
    ]
    return LoadedData(dialogues, Counter(), "made", "made by hand")


def _written(number: int, *traits: str) -> WrittenDialogue:
    turns = (Turn("partner", "Home?"), Turn("self", f"A house with {number} doors."))
    return WrittenDialogue(Perspective(f"written/{number}", Persona(traits), turns), {1: "A tent, as ever."})


def test_written_dialogues_join_training_and_validation_but_never_meet_the_other_side() -> None:
    written = [_written(n, f"I own {n} doors.", f"I like wood {n // 2}.") for n in range(60)]
    plain = DataProcessor(DataConfig(), seed=0).process(_loaded())
    clash = _written(99, plain.test[0].persona.traits[0])
    mixed = DataProcessor(DataConfig(written=None), seed=0).process(_loaded(), [*written, clash])
    names = {part: {view.id for view in getattr(mixed, part)} for part in ("train", "validation", "test")}
    assert names["test"] == {view.id for view in plain.test}
    aside = [dialogue.view.id for dialogue in written if held_out(dialogue)]
    assert 1 <= len(aside) <= 15
    assert names["train"] - {view.id for view in plain.train} <= {one.view.id for one in written} - set(aside)
    assert "written/99" not in names["train"]
    sentences = [{trait for view in part for trait in view.persona.traits} for part in (mixed.train, mixed.validation)]
    assert sentences[0].isdisjoint(sentences[1])
    few = DataProcessor(DataConfig(written=5), seed=0).process(_loaded(), written[::2])
    assert len(few.train) + len(few.validation) == len(plain.train) + len(plain.validation) + 5


def test_hand_written_pairs_make_their_share_of_the_contradictions() -> None:
    view = _loaded().dialogues[0].seen_by("B")
    written = [pair for n in range(9) for pair in _written(n, f"I own {n} doors.").pairs(3)]
    config = PreferencesConfig(kinds={"contradiction": 1.0}, written_share=0.5)
    report = PreferenceGenerator([view], config, written=written).generate(8)
    assert report.counts == {"contradiction": 4}
    assert all(pair.origin.startswith("written") for pair in report.pairs)
