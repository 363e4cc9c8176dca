"""People's votes are split by persona: nothing they say crosses from training into a test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personatune.data.processing import PreparedData
from personatune.data.splits import sentence_key
from personatune.data.votes import SplitVotes, split_votes
from personatune.dialogue import Context, Persona, Perspective, PreferencePair, Turn
from personatune.errors import UserError

TURNS = tuple(Turn("partner" if place % 2 == 0 else "self", f"line {place}") for place in range(5))


def vote(*traits: str, kind: str = "vote", better: str = "Two dogs.") -> PreferencePair:
    return PreferencePair(Context(Persona(traits), TURNS), better, "No pets.", kind, "demo")


def prepared(train: Sequence[str] = (), validation: Sequence[str] = (), test: Sequence[str] = ()) -> PreparedData:
    def views(traits: Sequence[str]) -> list[Perspective]:
        return [Perspective("p", Persona(tuple(traits)), TURNS)] if traits else []

    return PreparedData(views(train), views(validation), views(test), counts={}, statistics={})


def split(folder: Path, votes: Sequence[PreferencePair], data: PreparedData, share: float = 0.0) -> SplitVotes:
    file = folder / "votes.jsonl"
    file.write_text("".join(json.dumps(one.to_json()) + "\n" for one in votes), encoding="utf-8")
    foreign = [Persona(("I guard a benchmark.",))]
    return split_votes(file, data, max_history_turns=3, held_out_share=share, foreign=foreign)


def test_votes_go_where_their_personas_sentences_are(tmp_path: Path) -> None:
    data = prepared(train=["I cook."], validation=["I swim."], test=["I fly."])
    found = split(
        tmp_path, [vote("i cook!"), vote("I swim."), vote("I fly."), vote("I guard a benchmark."), vote("I sew.")], data
    )
    assert [pair.context.persona.traits for pair in found.train] == [("i cook!",), ("I sew.",)]
    assert [pair.context.persona.traits for pair in found.test] == [("I swim.",)]
    assert found.dropped == {"shares a persona sentence with what models are tested on": 2}


def test_votes_that_share_a_sentence_stay_together(tmp_path: Path) -> None:
    data = prepared(train=["I cook."], validation=["I swim."])
    linked = [vote("I cook.", "I sew."), vote("I sew.", "I ski."), vote("I ski.")]
    assert split(tmp_path, linked, data, share=1.0).train == split(tmp_path, linked, prepared(), share=0.0).train
    both = split(tmp_path, [*linked, vote("I ski.", "I swim.")], data)
    assert both.dropped == {"shares persona sentences with training and with validation": 4}


def test_of_new_personas_a_share_is_held_out(tmp_path: Path) -> None:
    votes = [vote(f"I own {number} cars.") for number in range(200)]
    found = split(tmp_path, votes, prepared(), share=0.25)
    assert len(found.train) + len(found.test) == 200
    assert 30 <= len(found.test) <= 70
    assert split(tmp_path, votes[:1], prepared(), share=1.0).train == []


def test_every_row_is_called_a_vote_and_its_context_cut_like_the_other_pairs(tmp_path: Path) -> None:
    [pair] = split(tmp_path, [vote("I cook.", kind="given")], prepared()).train
    assert (pair.kind, pair.context.history, pair.chosen) == ("vote", TURNS[-3:], "Two dogs.")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jsonl: can't be read"):
        split_votes(tmp_path / "gone.jsonl", prepared(), max_history_turns=3, held_out_share=0.1)


sentences = st.sets(st.integers(0, 12).map(lambda number: f"I own {number} cars."), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(st.lists(sentences, min_size=1, max_size=12), sentences, sentences, sentences, st.floats(0, 1))
def test_no_sentence_crosses_whatever_people_vote_on(
    tmp_path_factory: pytest.TempPathFactory,
    personas: list[set[str]],
    train: set[str],
    validation: set[str],
    test: set[str],
    share: float,
) -> None:
    validation, test = validation - train, test - train - validation
    votes = [vote(*sorted(persona)) for persona in personas]
    data = prepared(sorted(train), sorted(validation), sorted(test))
    found = split(tmp_path_factory.mktemp("votes"), votes, data, share)

    def keys(pairs: list[PreferencePair]) -> set[str]:
        return {sentence_key(trait) for pair in pairs for trait in pair.context.persona.traits}

    assert keys(found.train).isdisjoint(keys(found.test) | {sentence_key(one) for one in validation | test})
    assert keys(found.test).isdisjoint(sentence_key(one) for one in train | test)
    assert len(found.train) + len(found.test) + found.dropped.total() == len(votes)
