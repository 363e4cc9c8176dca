"""Contenders by reference, replies made elsewhere, and `rank` that goes on where it was interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from personatune.data.ranking_files import RankingFile, read_ranking_file
from personatune.dialogue import Context, Persona, RankingTask, Turn
from personatune.errors import UserError
from personatune.pipeline.contenders import Contender, load_contender
from personatune.pipeline.given_replies import GivenReplies
from personatune.pipeline.ranking import forget_scores, rank_files

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

PERSONA = Persona(("I have two dogs.", "I live in Rome."))
HI = Context(PERSONA, (Turn("partner", "Hi !"),))
PETS = Context(PERSONA, (Turn("partner", "Hi !"), Turn("self", "Hello."), Turn("partner", "Any pets?")))


def rows_in(folder: Path, *rows: Any) -> Path:
    file = folder / "replies.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return file


def records(folder: Path, dialogues: type[HandMadeDialogues], count: int) -> RankingFile:
    rows = [
        {
            "persona": list(view.persona.traits),
            "prefix": [turn.text for turn in view.turns[:3]],
            "candidates": {
                "label": [view.turns[3].text],
                "neg": [f"I have {number} mice."],
                "similar": [view.persona.traits[0]],
                "rand": ["No.", "I see."],
            },
        }
        for number, view in enumerate(dialogues.perspectives(count))
    ]
    file = folder / "records.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    return read_ranking_file(file)


def test_replies_are_found_by_history_and_persona(tmp_path: Path) -> None:
    file = rows_in(
        tmp_path,
        {"history": ["Hi  !", "Hello.", "Any pets?"], "reply": " Two dogs. "},
        {"persona": ["I live in Rome.", "I have two dogs."], "history": [["partner", "Hi !"]], "reply": "Ciao."},
        {"persona": ["I am tall."], "history": ["Hi !"], "reply": "Up here."},
    )
    contender = load_contender(str(file))
    assert (contender.kind, contender.name) == ("replies", "replies.jsonl")
    assert contender.respond is not None
    assert contender.respond([HI, PETS, HI]) == ["Ciao.", "Two dogs.", "Ciao."]
    assert contender.rank is None
    assert "can't score" in str(contender.why_no_rank)


def test_replies_without_histories_stand_in_order(tmp_path: Path) -> None:
    given = GivenReplies.read(rows_in(tmp_path, {"reply": "a"}, {"reply": "b"}))
    assert given.respond([PETS, HI]) == ["a", "b"]
    with pytest.raises(UserError, match=r"found 2 replies for 1 contexts \(row 2 is the first too many\)"):
        given.respond([HI])
    with pytest.raises(UserError, match=r"found 2 replies for 3 contexts \(nothing after row 2\)"):
        given.respond([HI, HI, HI])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the file is empty"),
        (["{"], "row 1: not valid JSON"),
        ([{"reply": "a"}, {"text": "b"}], r"row 2: found keys \['text'\], expected an object with the text 'reply'"),
        ([{"reply": " "}], "row 1: the reply is empty"),
        ([{"reply": "a"}, {"reply": "b", "history": ["x"]}], "row 2: a history, while row 1 has none"),
        ([{"reply": "a", "history": "x"}], "row 1: 'history' is 'x', expected a list of texts"),
    ],
)
def test_a_file_that_holds_no_replies_is_told(rows: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        GivenReplies.read(rows_in(tmp_path, *rows))


def test_replies_to_other_contexts_are_told(tmp_path: Path) -> None:
    given = GivenReplies.read(rows_in(tmp_path, {"history": ["Bye"], "reply": "Bye."}))
    with pytest.raises(
        UserError, match=r"no reply to context 1 of 1, which ends in 'Hi !'; its 1 rows answer other con"
    ):
        given.respond([HI])
    other = GivenReplies.read(rows_in(tmp_path, {"persona": ["I am tall."], "history": ["Hi !"], "reply": "Ho."}))
    with pytest.raises(UserError, match="row 1 answers this history for another persona"):
        other.respond([HI])
    twice = GivenReplies.read(rows_in(tmp_path, *[{"history": ["Hi !"], "reply": text} for text in "ab"]))
    assert twice.respond([HI, HI]) == ["a", "b"]
    with pytest.raises(UserError, match="answered by 2 rows and asked for more often"):
        twice.respond([HI, HI, HI])


def test_floors_and_people_need_no_model() -> None:
    task = RankingTask("f:1", PETS, ("I have two dogs.", "Rain."), ("gold", "rand"))
    for name in ("tfidf", "copier", "human"):
        contender = load_contender(name, pool=["Two dogs."], human={PETS: "Two."})
        assert contender.rank is not None
        [[gold, rand]] = contender.rank([task])
        assert gold > rand
        assert contender.respond is not None
        assert "wo" in contender.respond([PETS])[0]
    assert load_contender("tfidf").respond is None
    assert load_contender("human").respond is None


def test_a_model_folder_and_an_adapter_folder_are_contenders(tiny: TinyModels, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = tiny.save(tmp_path / "model")
    peft = get_peft_model(tiny.model(), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    peft.save_pretrained(str(tmp_path / "adapter"))
    task = RankingTask("f:1", PETS, ("I have two dogs.", "Rain."), ("gold", "rand"))
    plain, tuned = load_contender(str(base)), load_contender(str(tmp_path / "adapter"), base=str(base))
    assert plain.rank is not None
    assert tuned.rank is not None
    assert plain.rank([task]) != tuned.rank([task])
    assert plain.identity != tuned.identity
    named = load_contender("base", base=str(base))
    assert named.rank is not None
    assert named.rank([task])[0] == pytest.approx(plain.rank([task])[0], abs=1e-5)  # loaded twice: rounding may differ


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("sft", r"--model sft: which run's\? add --run NAME, or write NAME/sft"),
        ("tfid", "did you mean 'tfidf'"),
        ("none.jsonl", "none.jsonl: no such file"),
        ("./none/here", "./none/here"),
    ],
)
def test_a_reference_to_nothing_is_told(reference: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_contender(reference)


def test_an_interrupted_ranking_goes_on_and_gives_the_same_figures(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    file, aside = records(tmp_path, dialogues, 6), tmp_path / "unfinished"
    place = tiny.save(tmp_path / "model")
    [whole] = rank_files([file], [lambda: load_contender(str(place))], tmp_path / "elsewhere")

    ranked: list[str] = []

    def stopping_after(limit: int) -> Contender:
        contender = load_contender(str(place))
        score = contender.rank
        assert score is not None

        def rank(tasks):
            if len(ranked) == limit:
                raise KeyboardInterrupt
            ranked.extend(task.id for task in tasks)
            return score(tasks)

        return Contender("m", "model", None, rank, identity=contender.identity, scoring=contender.scoring)

    with pytest.raises(KeyboardInterrupt):
        rank_files([file], [lambda: stopping_after(4)], aside)
    [kept] = aside.glob("*.jsonl")
    with kept.open("a", encoding="utf-8") as stream:
        stream.write('{"scores": [-1.0, ')  # killed while writing
    [resumed] = rank_files([file], [lambda: stopping_after(99)], aside)
    assert ranked == [task.id for task in file.tasks]  # nothing twice
    assert {**resumed, "model": ""} == {**whole, "model": ""}
    assert set(resumed) >= {"hits1", "entail1", "rand1", "contradict1", "n"}
    assert sum(resumed[name] for name in ("hits1", "entail1", "rand1", "contradict1")) == pytest.approx(100)
    forget_scores([file], ["m"], aside)
    assert not aside.exists()


def test_kept_scores_of_other_weights_are_not_taken_up(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    file, aside = records(tmp_path, dialogues, 2), tmp_path / "unfinished"
    calls: list[str] = []

    def weights(mark: str) -> Contender:
        def rank(tasks):
            calls.append(mark)
            return [[1.0, 0.0, 0.0, 0.0, 0.0] for _ in tasks]

        return Contender("m", "model", None, rank, identity={"weights": mark})

    for mark in ("old", "old", "new"):
        rank_files([file], [lambda mark=mark: weights(mark)], aside)  # type: ignore[misc]
    assert calls == ["old", "old", "new", "new"]


def test_the_command_writes_one_object_for_one_model_and_a_list_for_more(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from personatune.cli import app

    file = records(tmp_path, dialogues, 3).path
    place, out = tiny.save(tmp_path / "model"), tmp_path / "out.json"
    app(["rank", str(file), "--model", str(place), "--json", str(out)], standalone_mode=False)
    one = json.loads(out.read_text("utf-8"))
    assert one["n"] == 3
    assert one["intervals"]["hits1"]["low"] <= one["hits1"] <= one["intervals"]["hits1"]["high"]
    assert one["scoring"]["score"] == "mean token log-likelihood, end token included"
    app(["rank", str(file), "--model", "tfidf", "--model", "human", "--json", str(out)], standalone_mode=False)
    several = json.loads(out.read_text("utf-8"))
    assert [(row["model"], row["n"]) for row in several] == [("tfidf", 3), ("human", 3)]
    assert several[1]["hits1"] == 100
    assert "Contradict@1" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out.json", "records.json"]


def test_a_file_of_replies_cannot_rank(dialogues: type[HandMadeDialogues], tmp_path: Path) -> None:
    replies = rows_in(tmp_path, {"reply": "a"})
    with pytest.raises(UserError, match=r"--model replies\.jsonl: .* holds replies, no model"):
        rank_files([records(tmp_path, dialogues, 1)], [lambda: load_contender(str(replies))], tmp_path / "aside")
