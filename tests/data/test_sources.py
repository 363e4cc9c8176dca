"""Every known format, read from tiny files written exactly as the datasets write them."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from personatune.data.sources import DatasetLoader, LoadedData, hub_rows
from personatune.dialogue import Dialogue
from personatune.errors import UserError

DOG, CHEF, IOWA = "I have a dog.", "I am a chef.", "I live in Iowa."


def load(path: Path, **options: Any) -> LoadedData:
    return DatasetLoader(str(path), **options).load()


def only(path: Path) -> Dialogue:
    (dialogue,) = load(path).dialogues
    return dialogue


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def spoken(dialogue: Dialogue) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.text) for turn in dialogue.turns]


def traits(dialogue: Dialogue) -> dict[str, tuple[str, ...]]:
    return {speaker: persona.traits for speaker, persona in dialogue.personas.items()}


USERS = {"User 1": (DOG, IOWA), "User 2": (CHEF,)}
HI = [("User 1", "Hi!"), ("User 2", "Hello. I cook.")]


def test_synthetic_persona_chat_jsonl(tmp_path: Path) -> None:
    row = {"id": "x", "user_1_personas": [DOG, IOWA], "user_2_personas": [CHEF], "conversation": HI}
    dialogue = only(lines(tmp_path / "spc_train_00.jsonl", row))
    assert (dialogue.id, spoken(dialogue), traits(dialogue), dialogue.split) == ("x", HI, USERS, "train")


@pytest.mark.parametrize(
    "columns",
    [
        ("user 1 personas", "user 2 personas", "Best Generated Conversation"),
        ("user_1_persona", "user_2_persona", "utterances"),
        ("user_1_personas", "user_2_personas", "conversation"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_synthetic_persona_chat_tables(tmp_path: Path, columns: tuple[str, str, str], suffix: str) -> None:
    path = tmp_path / f"Synthetic-Persona-Chat_valid.{suffix}"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t" if suffix == "tsv" else ",")
        writer.writerows([columns, (f"{DOG}\n{IOWA}", CHEF, "User 1: Hi!\nUser 2: Hello. I cook.")])
    dialogue = only(path)
    assert (spoken(dialogue), traits(dialogue), dialogue.split) == (HI, USERS, "validation")


def test_persona_chat_keeps_the_last_row_of_each_conversation_and_the_gold_candidate(tmp_path: Path) -> None:
    rows = [
        {"personality": [DOG], "conv_id": n, "utterance_idx": i, "history": history, "candidates": ["wrong", gold]}
        for n in (0, 1)
        for i, (history, gold) in enumerate(
            [(["hi"], "hello, i walk my dog"), (["hi", "hello, i walk my dog", "nice"], f"bye {n}")]
        )
    ]
    expected = ["hi", "hello, i walk my dog", "nice"]
    for given in (rows, [{k: v for k, v in row.items() if k not in ("conv_id", "utterance_idx")} for row in rows]):
        first, second = load(lines(tmp_path / "personachat.jsonl", *given)).dialogues
        assert [turn.text for turn in first.turns] == [*expected, "bye 0"]
        assert [turn.text for turn in second.turns] == [*expected, "bye 1"]
        assert [turn.speaker for turn in first.turns] == ["partner", "self", "partner", "self"]
        assert traits(first) == {"self": (DOG,)}


def test_persona_chat_in_one_json_with_splits(tmp_path: Path) -> None:
    utterances = [
        {"history": ["hi"], "candidates": ["no", "yo"]},
        {"history": ["hi", "yo", "so?"], "candidates": ["ok"]},
    ]
    tree = {name: [{"personality": [DOG], "utterances": utterances}] for name in ("train", "valid")}
    path = tmp_path / "personachat_self_original.json"
    path.write_text(json.dumps(tree))
    train, valid = load(path).dialogues
    assert (train.split, valid.split) == ("train", "validation")
    assert spoken(train) == [("partner", "hi"), ("self", "yo"), ("partner", "so?"), ("self", "ok")]


def test_convai2_text_with_both_personas(tmp_path: Path) -> None:
    path = tmp_path / "train_both_original.txt"
    episode = (
        f"1 your persona: {DOG}\n2 partner's persona: {CHEF}\n3 __SILENCE__\thi\t\ta|hi\n4 hello\ti walk\t\tb|i walk\n"
    )
    path.write_text(episode + "1 your persona: i run.\n2 yo\they\n")
    first, second = load(path).dialogues
    assert spoken(first) == [("self", "hi"), ("partner", "hello"), ("self", "i walk")]
    assert traits(first) == {"self": (DOG,), "partner": (CHEF,)}
    assert spoken(second) == [("partner", "yo"), ("self", "hey")]


def test_convai2_json_pairs(tmp_path: Path) -> None:
    path = tmp_path / "human.json"
    path.write_text(
        json.dumps([{"persona": [DOG], "dialogue": [["__SILENCE__", "hi there"], ["hello you", "my dog"]]}])
    )
    assert spoken(only(path)) == [("self", "hi there"), ("partner", "hello you"), ("self", "my dog")]
    assert traits(only(path)) == {"self": (DOG,)}


def test_blended_skill_talk_as_the_hub_and_as_parlai_have_it(tmp_path: Path) -> None:
    hub = {
        "personas": [CHEF, IOWA],
        "additional_context": "Pop",
        "context": "wizard_of_wikipedia",
        "previous_utterance": ["I like pop.", "So do I."],
        "free_messages": ["Who sings?", "Good."],
        "guided_messages": ["I do.", "I cook too."],
    }
    said = ["I like pop.", "So do I.", "Who sings?", "I do.", "Good.", "I cook too."]
    names = ["free", "guided"] * 3
    dialogue = only(lines(tmp_path / "bst.jsonl", hub))
    assert spoken(dialogue) == list(zip(names, said, strict=True))
    assert traits(dialogue) == {"guided": (CHEF, IOWA)}
    raw = {
        "personas": [[DOG], [CHEF, IOWA]],
        "free_turker_utterance": said[0],
        "guided_turker_utterance": said[1],
        "dialog": [[0, said[2]], [1, said[3]], [0, said[4]], [1, said[5]]],
    }
    dialogue = only(lines(tmp_path / "raw.jsonl", raw))
    assert spoken(dialogue) == list(zip(names, said, strict=True))
    assert traits(dialogue) == {"free": (DOG,), "guided": (CHEF, IOWA)}


def test_own_format_with_one_and_with_two_personas(tmp_path: Path) -> None:
    turns = [{"speaker": "A", "text": "Hi!"}, {"speaker": "B", "text": "I cook."}]
    two = {"id": "d1", "personas": {"A": [DOG], "B": [CHEF]}, "turns": turns, "split": "test"}
    one = {"id": "d2", "persona": [CHEF], "turns": ["Hi!", "I cook."]}
    first, second = load(lines(tmp_path / "own.jsonl", two, one)).dialogues
    assert (first.id, first.split, traits(first)) == ("d1", "test", {"A": (DOG,), "B": (CHEF,)})
    assert traits(second) == {"B": (CHEF,)}, "a lone persona is the second speaker's"
    saved = lines(tmp_path / "saved.jsonl", first.to_json())
    assert only(saved) == first


ROLES = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "I walk."}]
OTHER_ROLES = [{"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "I walk."}]
SHAREGPT = [{"from": "human", "value": "Hi!"}, {"from": "gpt", "value": "I walk."}]


@pytest.mark.parametrize(
    ("row", "owner"),
    [
        ({"persona": DOG, "conversation": "A: Hi!\nB: I walk."}, "B"),
        ({"personas": [DOG], "dialogue": [["user", "Hi!"], ["assistant", "I walk."]]}, "assistant"),
        ({"personas": [[CHEF], [DOG]], "history": [["Al", "Hi!"], ["Bo", "I walk."]]}, "Bo"),
        ({"persona_info": [DOG], "messages": ROLES}, "assistant"),
        ({"user_persona": [DOG], "messages": OTHER_ROLES}, "user"),
        ({"persona": {"traits": [DOG]}, "utterances": ["Hi!", "I walk."]}, "B"),
        ({"persona": [DOG], "history": ["Hi!"], "response": "I walk."}, "self"),
        ({"persona": f"['{DOG}']", "dialogue": "['Hi!', 'I walk.']"}, "B"),
        ({"messages": [{"role": "system", "content": DOG}, *ROLES]}, "assistant"),
        ({"persona": [DOG], "conversations": SHAREGPT}, "gpt"),
    ],
)  # fmt: skip
def test_loose_field_names_give_the_persona_to_its_speaker(tmp_path: Path, row: dict[str, Any], owner: str) -> None:
    dialogue = only(lines(tmp_path / "loose.jsonl", row))
    assert dialogue.personas[owner].traits == (DOG,)
    assert [(turn.speaker == owner, turn.text) for turn in dialogue.turns] == [(False, "Hi!"), (True, "I walk.")]


def test_parquet_folder_and_hub_loader_read_the_same(tmp_path: Path) -> None:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    columns = {"user 1 personas": [f"{DOG}\n{IOWA}"], "user 2 personas": [CHEF]}
    columns["Best Generated Conversation"] = ["User 1: Hi!\nUser 2: Hello. I cook."]
    for name in ("train", "test"):
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / f"{name}-00000-of-00001.parquet")
    (tmp_path / "README.md").write_text("card")
    loaded = load(tmp_path)
    assert {dialogue.split for dialogue in loaded.dialogues} == {"train", "test"}
    assert loaded.skipped == {"file of another kind": 1}
    assert all((spoken(d), traits(d)) == (HI, USERS) for d in loaded.dialogues)
    rows = list(hub_rows(str(tmp_path)))
    assert {(row.split, row.value["user 2 personas"]) for row in rows} == {("train", CHEF), ("test", CHEF)}


def test_ids_stay_unique_over_the_files_of_a_folder(tmp_path: Path) -> None:
    row = {"id": "same", "persona": [DOG], "turns": ["Hi!", "I walk."]}
    lines(tmp_path / "a.jsonl", row)
    lines(tmp_path / "b.jsonl", row)
    assert [dialogue.id for dialogue in load(tmp_path).dialogues] == ["same", "same#2"]


def test_fraction_draws_the_same_dialogues_for_the_same_seed(tmp_path: Path) -> None:
    path = lines(tmp_path / "many.jsonl", *({"persona": [DOG], "turns": ["Hi!", f"I walk {n}."]} for n in range(400)))
    drawn = load(path, fraction=0.25, seed=3).dialogues
    assert 60 < len(drawn) < 140
    assert drawn == load(path, fraction=0.25, seed=3).dialogues
    assert drawn != load(path, fraction=0.25, seed=4).dialogues


GOOD = json.dumps({"persona": [DOG], "turns": ["Hi!", "I walk."]})


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone.jsonl", None, "no such file"),
        ("empty.jsonl", b"", "empty"),
        ("blank.csv", b"\n \n", "empty"),
        ("binary.jsonl", b"PK\x03\x04\x00\x00", "binary"),
        ("wide.csv", "a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("cut.jsonl", f"{GOOD}\n{GOOD[:20]}".encode(), "row 2: not valid JSON"),
        ("cut.json", f"[{GOOD}, {GOOD[:20]}".encode(), "line 1: not valid JSON"),
        ("columns.csv", b"question,answer\nhi,yo\n", "row 1: found the columns question, answer, expected a"),
        ("nobody.jsonl", b'{"persona": [], "turns": ["Hi!", "I walk."]}', "row 1: no persona"),
        ("silent.jsonl", b'{"persona": ["I run."], "turns": []}', "row 1: no dialogue"),
        ("latin.jsonl", '{"persona": ["José."], "turns": ["a"]}'.encode("latin-1"), "row 1: bytes that are not"),
        ("latin.csv", "persona,dialogue\nI am José.,A: hi\n".encode("latin-1"), "row 1: bytes that are not"),
        ("list.jsonl", b'["hi"]', "row 1: found list, expected an object"),
        ("number.json", b"3", "found a JSON int"),
        ("prose.txt", b"Once upon a time\n", "row 1: found 'Once upon a time'"),
        ("fake.parquet", b"PAR1 no", "not a readable Parquet file"),
        ("data.xlsx", b"PK", "a .xlsx file is not known"),
    ],
)  # fmt: skip
def test_an_unusable_file_is_told_in_one_line(tmp_path: Path, name: str, content: bytes | None, told: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load(path)
    message = str(caught.value)
    assert told in message
    assert name in message
    assert "\n" not in message


def test_a_parquet_file_whose_text_is_no_utf_8_is_told_in_one_line(tmp_path: Path) -> None:
    import pyarrow.parquet

    path = tmp_path / "latin.parquet"
    columns = {"persona": [["I am José."]], "turns": [["Hi!", "I walk."]]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="none", use_dictionary=False)
    assert "José".encode() in path.read_bytes()
    path.write_bytes(path.read_bytes().replace("José".encode(), b"Jos\xe9\xe9"))
    with pytest.raises(UserError, match=r"latin\.parquet: not a readable Parquet file \('utf-8' codec can't decode"):
        load(path)


def test_few_broken_rows_are_counted_many_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mostly.jsonl"
    path.write_text("\n".join([GOOD] * 150 + ["{oops", '{"persona": ["I run."], "turns": []}', "{}"]))
    loaded = load(path)
    assert len(loaded.dialogues) == 150
    assert loaded.skipped == {"broken row": 1, "no dialogue": 1, "empty row": 1}
    path.write_text("\n".join([GOOD] * 50 + ["{oops"]))
    with pytest.raises(UserError, match="row 51: not valid JSON"):
        load(path)


def test_no_data_and_no_hub_say_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no data file"):
        load(tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="give the path of the file or folder") as caught:
        DatasetLoader("personatune-tests/no-such-dataset").load()
    assert "\n" not in str(caught.value)


@pytest.mark.shared
def test_real_synthetic_persona_chat(shared_data: Path) -> None:
    loaded = DatasetLoader(str(shared_data / "synthetic-persona-chat"), fraction=0.02, seed=1).load()
    assert loaded.formats == ("Synthetic-Persona-Chat",)
    assert loaded.licence == "CC BY 4.0"
    assert {dialogue.split for dialogue in loaded.dialogues} == {"train", "validation"}
    assert all(set(dialogue.personas) == {"User 1", "User 2"} for dialogue in loaded.dialogues)


@pytest.mark.shared
def test_real_convai2(shared_data: Path) -> None:
    text = DatasetLoader(str(shared_data / "convai2" / "valid_self_original_cands_first500.txt")).load()
    assert len(text.dialogues) == 500
    assert {dialogue.split for dialogue in text.dialogues} == {"validation"}
    human = DatasetLoader(str(shared_data / "convai2" / "human_train_1000.json")).load()
    assert len(human.dialogues) == 1000
    assert human.dialogues[0].turns[0].text.startswith("hey there ! i'm just taking a break from baking")
    assert human.dialogues[0].turns[0].speaker == "self"
