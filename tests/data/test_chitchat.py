"""Personas mined from what people say about themselves."""

import re
from collections import Counter
from typing import Any

import pytest

from personatune.data.chitchat import HERE_TRAITS, POOL_TRAITS, read_chitchat
from personatune.data.grounding import persona_turns
from personatune.data.processing import DataProcessor
from personatune.data.sources import DatasetLoader, LoadedData
from personatune.data.statements import Caser, self_statements
from personatune.errors import UserError
from personatune.settings import DataConfig
from personatune.words import keyword_stems

CASER = Caser(["he is from Nigeria, she likes Utah"] * 3)


@pytest.mark.parametrize(
    ("said", "mined"),
    [
        ("haha im an international student from nigeria lol", ["I am an international student from Nigeria."]),
        ("I have two dogs and a cat! You?", ["I have two dogs and a cat."]),
        ("yeah, I really love playing the guitar but I'm not good", ["I love playing the guitar."]),
        ("My favorite color is blue", ["My favorite color is blue."]),
        ("I'm studying computer science. I live in utah :)", ["I am studying computer science.", "I live in Utah."]),
        ("i dont like spicy food", ["I don't like spicy food."]),
    ],
)
def test_lasting_statements_become_persona_sentences(said: str, mined: list[str]) -> None:
    assert list(self_statements(said, CASER)) == mined


@pytest.mark.parametrize(
    "said",
    [
        "I'm good",
        "I have to go",
        "I'm going to bed",
        "I just took a nap",
        "I like that",
        "I think so",
        "i'm not sure",
        "I love it when that happens",
        "Am I a student?",
        "I have a test tomorrow",
        "I am tired of this",
        "I hate the director",
        "Do you like my dog?",
        "I was watching a movie",
        "I'd like to know",
        "My mom is calling me",
        "I have a job interview",
        "You are a teacher",
        "I am a little worried",
    ],
)
def test_passing_remarks_are_not_persona(said: str) -> None:
    assert list(self_statements(said, CASER)) == []


def test_each_speaker_gets_own_statements_of_all_conversations_those_said_here_first() -> None:
    def record(name: str, *messages: tuple[str, str]) -> dict[str, Any]:
        return {"id": name, "messages": [[{"sender": who, "text": text}] for who, text in messages]}

    skipped: Counter[str] = Counter()
    first, second = read_chitchat(
        [
            record("1", ("ann", "hi"), ("bob", "I have two horses"), ("ann", "I study chemistry in Utah")),
            record("2", ("ann", "I play the violin"), ("cid", "cool"), ("ann", "yes"), ("ann", "bye")),
            record("3", ("ann", "hello?")),
        ],
        skipped,
    )
    assert first.personas["bob"].traits == ("I have two horses.",)
    assert first.personas["ann"].traits == ("I study chemistry in Utah.", "I play the violin.")
    assert second.personas["ann"].traits == ("I play the violin.", "I study chemistry in Utah.")
    assert "cid" not in second.personas
    assert [turn.text for turn in second.turns] == ["I play the violin", "cool", "yes bye"]
    assert skipped == {"one speaker only": 1}


@pytest.fixture(scope="module")
def chitchat() -> LoadedData:
    return DatasetLoader("chitchat", fraction=0.06, seed=0).load()


def test_mined_personas_read_like_persona_sentences(chitchat: LoadedData) -> None:
    personas = [persona for dialogue in chitchat.dialogues for persona in dialogue.personas.values()]
    assert len(personas) > 150
    for persona in personas:
        assert 1 <= len(persona.traits) <= HERE_TRAITS + POOL_TRAITS
        keywords = [set(keyword_stems(trait)) for trait in persona.traits]
        assert all(keywords), "each has a content word"
        assert len({frozenset(stems) for stems in keywords}) == len(keywords), "none is said twice"
    for trait in {trait for persona in personas for trait in persona.traits}:
        assert re.match(r"(?:I|My) .+\.$", trait), trait
        assert 4 <= len(trait.split()) <= 16, trait
    assert chitchat.skipped["one speaker only"] > 0
    assert chitchat.licence == "MIT"


def test_the_reply_that_states_a_mined_trait_is_a_persona_turn(chitchat: LoadedData) -> None:
    prepared = DataProcessor(DataConfig(max_dialogues=40), seed=0).process(chitchat)
    assert len(prepared.train) == 40
    assert all(any(persona_turns(view)) for view in prepared.train)
    senders = [
        {view.id.rsplit("/", 1)[1] for view in part} for part in (prepared.train, prepared.validation, prepared.test)
    ]
    assert sum(map(len, senders)) == len(set.union(*senders)), "no sender is in two splits"


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install chitchat-dataset"):
        DatasetLoader("chitchat").load()
