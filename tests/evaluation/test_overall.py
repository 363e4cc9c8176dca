"""Who comes first when consistency, relevance, copying and repetition are read together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from personatune.dialogue import Context, Persona, Probe, ProbeScript, Turn
from personatune.evaluation.overall import Reading, read_overall
from personatune.evaluation.probe_figures import probe_figures
from personatune.evaluation.reply_figures import Answered, add_reply_figures
from personatune.evaluation.results import Figures, Result
from personatune.judging.probes import judge_dialogue

PERSONAS = (
    Persona(("I have two dogs.", "I work as a nurse.", "I live in Boston.")),
    Persona(("I am a chef in Rome.", "My favorite color is green.", "I hate flying.")),
)
PROBES = (
    (
        Probe("I have two dogs.", "Who shares your house?", ("dog",), ("cat",)),
        Probe("I work as a nurse.", "How do you earn your money?", ("nurs", "hospit"), ("teacher",)),
        Probe("I live in Boston.", "Where is home for you?", ("boston",), ("chicago",)),
    ),
    (
        Probe("I am a chef in Rome.", "How do you earn your money?", ("chef", "cook"), ("nurs",)),
        Probe("My favorite color is green.", "Which color do you like best?", ("green",), ("blue",)),
        Probe("I hate flying.", "How do you feel about planes?", ("fly",), ()),
    ),
)
HUMAN = (
    ("Hi, I'm fine, and you?", "My house is full of my two dogs.", "At a hospital, nursing earns my money.",
     "Home is Boston, always was."),
    ("Hello! Good, thanks.", "I earn my money as a chef, cooking all day.", "The color green, like my kitchen.",
     "Planes? I hate flying, so I take trains."),
)  # fmt: skip
COPIER = (
    ("I have two dogs.", "I have two dogs.", "I work as a nurse.", "I live in Boston."),
    ("I hate flying.", "I am a chef in Rome.", "My favorite color is green.", "I hate flying."),
)
GENERIC = (
    (
        "Oh, nice!",
        "That's a good question, and you?",
        "I see, tell me more about it.",
        "Great, that sounds fun!",
    ),
    ("Oh, nice!", "I see, tell me more about it.", "Great, that sounds fun!", "Interesting, why do you ask?"),
)
ECHO = (
    ("Hi, how are you?", "Who shares your house?", "How do you earn your money?", "Where is home for you?"),
    ("Hi, how are you?", "How do you earn your money?", "Which color do you like best?",
     "How do you feel about planes?"),
)  # fmt: skip
LOOP = (
    ("I have dogs, nurse in Boston here.",) * 4,
    ("A green chef who hates flying here.",) * 4,
)


class WordEncoder:
    """A sentence as its words: the cosine is the share of common words."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), 4096), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().replace("?", " ").replace(",", " ").replace(".", " ").split():
                row[sum(ord(letter) * 31**place for place, letter in enumerate(word)) % 4096] = 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def scripts() -> list[ProbeScript]:
    opening: tuple[str, Probe | None] = ("Hi, how are you?", None)
    return [
        ProbeScript(persona, (opening, *((probe.question, probe) for probe in probes)))
        for persona, probes in zip(PERSONAS, PROBES, strict=True)
    ]


def on_probes(name: str, kind: str, replies: Sequence[Sequence[str]]) -> Result:
    held = [judge_dialogue(script, said) for script, said in zip(scripts(), replies, strict=True)]
    figures = probe_figures(["one", "two"], held, encoder=WordEncoder(), judge=None, samples=200)
    return Result(name, kind, "probes", figures.items, figures.metrics, figures.tallies, figures.absent)


def on_people(name: str, kind: str, replies: Sequence[Sequence[str]]) -> Result:
    """The same replies as answers to what people were asked in a dialogue with the human replies."""
    turns, said = [], []
    for item, script, human, own in zip(("one", "two"), scripts(), HUMAN, replies, strict=True):
        history: tuple[Turn, ...] = ()
        for (line, _), reference, reply in zip(script.lines, human, own, strict=True):
            history = (*history, Turn("partner", line))
            turns.append(Answered(item, Context(script.persona, history), reference))
            history = (*history, Turn("self", reference))
            said.append(reply)
    figures = Figures(["one", "two"], 200, 0)
    add_reply_figures(figures, turns, said, people=kind == "ceiling", encoder=WordEncoder(), judge=None)
    return Result(name, kind, "convai2", figures.items, figures.metrics, figures.tallies, figures.absent)


ROWS = (
    ("copier", "floor", COPIER), ("generic", "floor", GENERIC), ("echo", "model", ECHO), ("loop", "model", LOOP),
    ("human", "ceiling", HUMAN),
)  # fmt: skip


@pytest.fixture(params=[on_probes, on_people], ids=["probes", "convai2"])
def readings(request: pytest.FixtureRequest) -> dict[str, Reading]:
    rows = read_overall([request.param(*row) for row in ROWS], 200)
    assert rows[0].contender == "human"
    return {row.contender: row for row in rows}


def test_people_come_first_and_nobody_reaches_their_score(readings: dict[str, Reading]) -> None:
    assert readings["human"].score.value == pytest.approx(1)
    assert readings["human"].exposed == ()
    assert all(row.score.value < 0.9 for name, row in readings.items() if name != "human")


def test_the_persona_copier_is_exposed_by_its_copies_and_has_no_place(readings: dict[str, Reading]) -> None:
    copier = readings["copier"]
    assert copier.components["consistency"] > 0.9
    assert "copy_share 1.00, people 0.12" in copier.exposed
    assert (copier.place, copier.score.value) == (None, 0)


def test_an_echo_of_the_partner_gains_nothing_from_its_relevance(readings: dict[str, Reading]) -> None:
    assert readings["echo"].figures["relevance"] == pytest.approx(1, abs=1e-5)
    assert readings["echo"].components["relevance"] == 1
    assert readings["echo"].score.value == 0  # it says nothing of its persona


def test_who_says_one_consistent_line_again_and_again_is_exposed_by_repetition(readings: dict[str, Reading]) -> None:
    assert any(reason.startswith("repetition") for reason in readings["loop"].exposed)


def test_a_generic_replier_contradicts_nobody_and_gets_nothing_for_it(readings: dict[str, Reading]) -> None:
    assert readings["generic"].components["consistency"] == 0
    assert readings["generic"].score.value == 0


def test_places_go_to_those_who_are_neither_people_nor_exposed_by_score() -> None:
    half = (HUMAN[0], GENERIC[1])
    rows = read_overall([on_probes("half", "model", half), *(on_probes(*row) for row in ROWS)], 200)
    assert next((row.contender, row.place) for row in rows if row.place is not None) == ("half", 1)
    exposed = [row.contender for row in rows if row.exposed]
    assert [row.contender for row in rows][-len(exposed) :] == exposed


def test_without_people_nothing_is_read() -> None:
    with pytest.raises(ValueError, match="no human replies to measure against"):
        read_overall([on_probes(*row) for row in ROWS[:-1]])


def test_without_relevance_nothing_is_read_and_the_reason_is_told() -> None:
    held = [judge_dialogue(script, said) for script, said in zip(scripts(), HUMAN, strict=True)]
    figures = probe_figures(["one", "two"], held, encoder=None, judge=None, why_no_encoder="no package", samples=200)
    people = Result("human", "ceiling", "probes", figures.items, figures.metrics, figures.tallies, figures.absent)
    assert "relevance" not in figures.metrics
    with pytest.raises(ValueError, match="relevance is not measured: no package"):
        read_overall([people])


def test_probe_figures_of_hand_made_replies_are_those_computed_by_hand() -> None:
    wrong = (HUMAN[0], ("Hello!", "I am a teacher.", "The color blue.", "No idea."))
    metrics = on_probes("half", "model", wrong).metrics
    assert metrics["probe_consistency"].value == 0.5
    assert metrics["contradiction_rate"].value == pytest.approx((0 + 1 / 3) / 2)  # blue; no probe lists the teacher
    assert metrics["multi_turn_consistency_2"].value == 0.5
    assert "multi_turn_consistency_1" not in metrics  # nobody is asked at the opening
    assert metrics["copy_share"].value == 0
    assert metrics["probe_consistency"].n == 2
