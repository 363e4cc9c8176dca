"""Files of candidates: both formats are read whole, and an incomplete record is one clear line, never a silent zero."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from personatune.data.ranking_files import read_ranking_file
from personatune.dialogue import Turn
from personatune.errors import UserError

RECORD: dict[str, Any] = {
    "persona": ["i have a dog.", "i am a chef."],
    "prefix": ["hi !", "hello .", "any pets ?"],
    "triple": ["i", "have_pet", "dog"],
    "candidates": {
        "label": ["yes , a dog ."],
        "neg": ["i have no pets .", "i hate dogs ."],
        "similar": ["my dog is old ."],
        "rand": ["i like rain .", "yes , a dog ."],
    },
}
TEXT = (
    "1 your persona: i have a dog.\n"
    "2 partner's persona: i am tall.\n"
    "3 hi !\thello .\t\tblue .|hello .\n"
    "4 any pets ?\ta dog .\t\tred .|a dog .\n"
    "1 your persona: i sing.\n"
    "2 __SILENCE__\tho .\t\tha .|ho .\n"
)


def written(folder: Path, content: Any, name: str = "f.json") -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def changed(**changes: Any) -> dict[str, Any]:
    return {**RECORD, **changes}


def with_candidates(**changes: Any) -> dict[str, Any]:
    return changed(candidates={**RECORD["candidates"], **changes})


def test_a_dialogue_nli_record_is_a_task(tmp_path: Path) -> None:
    found = read_ranking_file(written(tmp_path, [RECORD]))
    [task] = found.tasks
    assert found.format == "dialogue-nli"
    assert task.id == "f.json:1"
    assert task.context.persona.traits == ("i have a dog.", "i am a chef.")
    assert task.context.history == (Turn("partner", "hi !"), Turn("self", "hello ."), Turn("partner", "any pets ?"))
    assert task.kinds == ("gold", "neg", "neg", "similar", "rand", "rand")
    assert task.candidates[0] == task.candidates[5] == "yes , a dog ."  # duplicates stay: they count against a model


@pytest.mark.parametrize(
    "content",
    [
        [RECORD, RECORD],
        json.dumps(RECORD) + "\n\n" + json.dumps(RECORD) + "\n",
        {"data": [RECORD, RECORD]},
        "\ufeff" + json.dumps([RECORD, RECORD], indent=1),
    ],
    ids=["list", "object a line", "list under a name", "indented with a mark"],
)
def test_every_natural_json_form_is_read(content: Any, tmp_path: Path) -> None:
    tasks = read_ranking_file(written(tmp_path, content, "records.txt")).tasks
    assert [task.id for task in tasks] == ["records.txt:1", "records.txt:2"]
    assert (
        tasks[0].candidates
        == tasks[1].candidates
        == ("yes , a dog .", "i have no pets .", "i hate dogs .", "my dog is old .", "i like rain .", "yes , a dog .")
    )


def test_a_label_may_be_one_text(tmp_path: Path) -> None:
    [task] = read_ranking_file(written(tmp_path, [with_candidates(label="yes .")])).tasks
    assert (task.candidates[0], task.kinds.count("gold")) == ("yes .", 1)


def test_records_that_lack_a_class_are_counted(tmp_path: Path) -> None:
    found = read_ranking_file(written(tmp_path, [RECORD, with_candidates(similar=[])]))
    assert found.without == {"similar": 1}


def test_silence_is_nobody_speaking(tmp_path: Path) -> None:
    [task] = read_ranking_file(written(tmp_path, [changed(prefix=["__SILENCE__", "i begin .", "ok ."])])).tasks
    assert task.context.history == (Turn("self", "i begin ."), Turn("partner", "ok ."))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (with_candidates(label=[1]), "candidates, label, entry 1: found a number 1, expected a text"),
        (with_candidates(label=[]), "candidates, label: found an empty list, expected at least one text"),
        (with_candidates(neg=["i hate it .", " "]), "candidates, neg, entry 2: found an empty text"),
        (with_candidates(rand=[None]), "candidates, rand, entry 1: found null null, expected a text"),
        (with_candidates(rnd=["a"]), "unknown class 'rnd', expected label, neg, similar, rand; did you mean 'rand'?"),
        (changed(candidates={"label": ["a"], "neg": ["b"], "rand": ["c"]}), "candidates: 'similar' is missing"),
        (with_candidates(neg=[], similar=[], rand=[]), "found the gold reply alone"),
        (with_candidates(similar=[]), "no record has a candidate of class 'similar', so its rate would always be 0"),
        (changed(candidates=["a", "b"]), 'candidates: found a list ["a", "b"], expected an object with label'),
        (changed(prefix=[]), "prefix: found an empty list, expected at least one text; where nobody has spoken yet"),
        (changed(persona=[]), "persona: found an empty list"),
        ({"prefix": ["hi"], "candidates": {}}, "record 1: 'persona' is missing; found prefix, candidates"),
        (7, "record 1: found a number 7, expected an object with persona, prefix and candidates"),
    ],
)
def test_an_incomplete_record_is_one_line(record: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        read_ranking_file(written(tmp_path, [record]))
    assert message in str(told.value)
    assert str(tmp_path / "f.json") in str(told.value)
    assert "\n" not in str(told.value)


def test_the_record_and_the_line_are_named(tmp_path: Path) -> None:
    broken = with_candidates(neg=[""])
    with pytest.raises(UserError, match=r"f\.json, record 3, candidates, neg, entry 1"):
        read_ranking_file(written(tmp_path, [RECORD, RECORD, broken]))
    with pytest.raises(UserError, match=r"f\.json, line 3, candidates, neg, entry 1"):
        read_ranking_file(written(tmp_path, "\n".join(["", json.dumps(RECORD), json.dumps(broken)])))
    with pytest.raises(UserError, match=r"f\.json, line 2: not valid JSON"):
        read_ranking_file(written(tmp_path, json.dumps(RECORD) + "\n" + json.dumps(RECORD)[:-9]))


def test_convai2_turns_carry_what_was_said_before(tmp_path: Path) -> None:
    found = read_ranking_file(written(tmp_path, TEXT, "v.json"))  # told by content, not by name
    first, second, third = found.tasks
    assert found.format == "convai2"
    assert [task.id for task in found.tasks] == ["v.json:1:1", "v.json:1:2", "v.json:2:1"]
    assert (first.candidates, first.kinds) == (("blue .", "hello ."), ("rand", "gold"))
    assert second.context.history == (Turn("partner", "hi !"), Turn("self", "hello ."), Turn("partner", "any pets ?"))
    assert second.context.persona.traits == ("i have a dog.",)
    assert (third.context.persona.traits, third.context.history) == (("i sing.",), ())


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("red .|a dog .", "red .|blue .|a dog .", "line 4: found 3 candidates, expected 2 as in line 3"),
        ("red .|a dog .", "|a dog .", "line 4: candidate 1 of 2 is empty"),
        ("red .|a dog .", "a dog .|red .", "line 4: the gold reply 'a dog .' is candidate 1 of 2, expected the last"),
        ("red .|a dog .", "red .|no .", "line 4: the gold reply 'a dog .' is no candidate of 2, expected the last"),
        ("red .|a dog .", "a dog .", "line 4: found one candidate"),
        ("\t\tred .|a dog .", "", "line 4: found 2 tab-separated fields without candidates"),
        ("any pets ?\t", "\t", "line 4: the partner line is empty"),
        ("1 your persona: i sing.\n", "", "expected a numbered line"),
        ("i sing.", "", "line 5: an empty persona sentence"),
    ],
)
def test_an_incomplete_turn_is_one_line(before: str, after: str, message: str, tmp_path: Path) -> None:
    text = TEXT.replace(before, after) if after or "sing" not in before else TEXT.replace(before, "")
    if message == "expected a numbered line":
        text = TEXT.replace(before, "i sing.\n")
    with pytest.raises(UserError) as told:
        read_ranking_file(written(tmp_path, text))
    assert message in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (" \n", "the file is empty"),
        ("hello\n", "line 1: found 'hello', expected dialogue-NLI records as JSON"),
        ("[]", "found an empty list"),
        ('{"a": 1}', "found an object with ['a']"),
        ("1 your persona: i sing.\n", "no turn with candidates"),
        ("1 hi\tho\t\tha|ho\n", "line 1: a turn without a persona before it"),
    ],
)
def test_a_file_of_another_kind_is_told(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        read_ranking_file(written(tmp_path, content))
    assert message in str(told.value)


def test_a_missing_file_and_other_encodings_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_ranking_file(tmp_path / "none.json")
    file = tmp_path / "latin.txt"
    file.write_bytes(b"1 your persona: i sing.\n2 caf\xe9\tho\t\tha|ho\n")
    with pytest.raises(UserError, match=r"latin\.txt, line 2: bytes that are not UTF-8"):
        read_ranking_file(file)
