"""Questions for the personas of a source: which sentences get one, and what is written of it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from personatune.cli import app
from personatune.errors import UserError
from personatune.pipeline.probing import derive_probes, read_personas_of


def test_sentences_may_be_written_out_or_stand_in_a_file(tmp_path):
    file = tmp_path / "persona.txt"
    file.write_text("I have a dog.\nI am a chef.\n\nI am 32.\n", encoding="utf-8")
    first, second = read_personas_of(str(file))
    assert first.traits == ("I have a dog.", "I am a chef.")
    assert second.traits == ("I am 32.",)
    assert read_personas_of("I have a dog. | I am a chef.") == [first]


def test_dialogues_give_their_personas(tmp_path, dialogues):
    source = dialogues.write(tmp_path / "made.jsonl", 4)
    made = derive_probes(read_personas_of(str(source)))
    assert made.coverage == 1.0
    assert set(made.by_attribute()) >= {"pet", "job"}


def test_a_sentence_is_asked_for_once_and_the_uncovered_ones_are_kept():
    made = derive_probes(read_personas_of("I have a dog. | Hm. | I have a dog."))
    assert [probe.trait for _, probe in made.probes] == ["I have a dog."]
    assert made.uncovered == ("Hm.",)
    assert made.coverage == 0.5


def test_an_empty_source_is_told(tmp_path):
    file = tmp_path / "empty.txt"
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(UserError, match="found no persona sentence"):
        read_personas_of(str(file))


def test_the_command_writes_rows_and_prints_the_coverage(tmp_path):
    out = tmp_path / "probes.jsonl"
    result = CliRunner().invoke(app, ["probes", "make", "I have a dog. | Hm.", "--out", str(out)])
    assert result.exit_code == 0
    assert "1 of 2 sentences covered (50.0%)" in result.output
    (row,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert set(row) == {"trait", "attribute", "question", "keywords", "contradicting"}
    assert row["attribute"] == "pet"
    assert "dog" in row["keywords"]


@pytest.mark.shared
def test_most_sentences_of_held_out_personas_get_a_question(shared_data):
    source = shared_data / "synthetic-persona-chat" / "Synthetic-Persona-Chat_valid.csv"
    assert derive_probes(read_personas_of(str(source))).coverage >= 0.8
