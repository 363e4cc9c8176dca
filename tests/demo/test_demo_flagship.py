"""The demo with the shipped model and the shipped critic: in character, and marked."""

from __future__ import annotations

import pytest

from personatune.demo.ballots import Ballots
from personatune.demo.chat import Chat
from personatune.demo.reading import Reader
from personatune.demo.server import warm_up
from personatune.demo.shelf import OneAtATime, Shelf, load_bots
from personatune.dialogue import Persona
from personatune.evaluation.judged import JudgedEvaluator
from personatune.model.generation import Sampling
from personatune.pipeline.flagship import FLAGSHIP
from personatune.pipeline.judging import find_judges
from personatune.pipeline.reply_strategies import CriticPick

pytestmark = pytest.mark.slow

PERSONA = Persona(
    ("I have two dogs named Max and Bella.", "I work as a chef.", "I live in Chicago.", "I can't stand broccoli.")
)


@pytest.fixture(scope="module")
def shelf_and_reader() -> tuple[Shelf, Reader]:
    judges = find_judges(encoder=None)
    assert judges.judge is not None
    judge = OneAtATime(judges.judge)
    bots = load_bots([FLAGSHIP], sampling=Sampling(max_new_tokens=60, temperature=0.0, no_repeat_ngram=4))
    shelf = Shelf(bots, CriticPick(judge, judges.threshold or 0.5))
    reader = Reader(JudgedEvaluator(judge, threshold=judges.threshold))
    warm_up(shelf, reader)
    return shelf, reader


def test_it_answers_from_its_persona_and_the_answer_is_marked(
    shelf_and_reader: tuple[Shelf, Reader], ballots: Ballots
) -> None:
    for rerank in (False, True):
        chat = Chat(shelf_and_reader[0], ballots, shelf_and_reader[1], PERSONA, seed=0)
        chat.rerank = rerank
        list(chat.say("Where do you live?"))
        reading = chat.readings()[-1]
        assert "chicago" in reading.text.lower()
        assert ("I live in Chicago.", "expressed") in [(mark.trait, mark.verdict) for mark in reading.marks]
        assert chat.judge.startswith("critic ")
