"""What a reply does to its persona: by the critic first, by keywords beside it, and drawn as figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from personatune.chat.session import Exchange
from personatune.demo.gauge import gauge, gauge_html, in_words
from personatune.demo.reading import Mark, Reader, ReplyReading
from personatune.dialogue import Context, Persona, Turn
from personatune.evaluation.judged import JudgedEvaluator

if TYPE_CHECKING:
    from tests.demo.conftest import DogJudge

PERSONA = Persona(("I have two dogs.", "I don't eat fish."))


def exchanges(*replies: str, persona: Persona = PERSONA) -> list[Exchange]:
    return [Exchange(Context(persona, (Turn("partner", "Hm?"),)), reply) for reply in replies]


def words_of(reading: ReplyReading) -> list[str]:
    return [reading.text[span.begin : span.end] for span in reading.spans]


def test_a_sentence_that_the_critic_sees_expressed_is_marked_with_its_words(reader: Reader) -> None:
    [reading] = reader.read(exchanges("My two Dogs are asleep."))
    assert reading.marks == (Mark("I have two dogs.", "expressed", "critic and keywords"),)
    assert words_of(reading) == ["two", "Dogs"]
    assert (reading.expresses, reading.contradicts) == (True, False)


def test_a_contradiction_by_the_critic_carries_its_certainty_and_comes_first(reader: Reader) -> None:
    [reading] = reader.read(exchanges("I have no pets but three cats, and I never eat fish."))
    assert reading.marks[0] == Mark("I have two dogs.", "contradicted", "critic, 90%")
    assert reading.marks[1].trait == "I don't eat fish."
    assert reading.contradicts


def test_a_contradiction_that_only_keywords_see_is_doubtful(reader: Reader) -> None:
    [reading] = reader.read(exchanges("I love to eat fish on Fridays."))
    assert reading.marks == (Mark("I don't eat fish.", "doubtful", "keywords"),)
    assert not reading.contradicts


class Agreeing:
    """A judge to whom everything follows from everything."""

    name = "agreeing"

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        return np.array([[0.9, 0.05, 0.05]] * len(pairs), dtype=np.float32)


def test_what_only_the_critic_sees_expressed_is_a_hint_and_counts_for_nothing() -> None:
    [reading] = Reader(JudgedEvaluator(Agreeing(), threshold=0.5)).read(exchanges("I am a chemist, and a guide."))
    assert {(mark.verdict, mark.by) for mark in reading.marks} == {("hinted", "critic")}
    assert len(reading.marks) == 2
    assert (reading.expresses, reading.spans) == (False, ())


def test_without_a_critic_keywords_decide() -> None:
    [reading] = Reader(None).read(exchanges("I love to eat fish on Fridays."))
    assert reading.marks == (Mark("I don't eat fish.", "contradicted", "keywords"),)
    assert Reader(None).judge == "keywords alone (no critic)"


def test_a_reply_that_contradicts_an_earlier_one_names_it(reader: Reader) -> None:
    readings = reader.read(exchanges("I walk my dogs daily.", "Fine, thanks!", "I have three cats here."))
    assert [reading.clashes for reading in readings] == [(), (), (1,)]


def test_each_reply_is_held_against_the_persona_it_was_given(reader: Reader, judge: DogJudge) -> None:
    lore = Persona(("I am a smith.",))
    first, second = reader.read(
        [*exchanges("I have three cats at home.", persona=lore), *exchanges("I have three cats at home.")]
    )
    assert first.marks == ()
    assert [mark.verdict for mark in second.marks] == ["contradicted"]
    assert reader.read([]) == []


def reading(kind: str) -> ReplyReading:
    verdicts = {"+": "expressed", "-": "contradicted"}
    marks = (Mark("I have two dogs.", verdicts[kind], "critic"),) if kind in verdicts else ()  # type: ignore[arg-type]
    return ReplyReading("text", marks)


def test_the_gauge_counts_by_hand() -> None:
    found = gauge([reading(kind) for kind in "++0--"])
    assert (found.replies, found.consistent, found.expressing) == (5, 3, 2)
    assert found.running == pytest.approx((1, 1, 1, 3 / 4, 3 / 5))
    assert found.drift == -1.0  # both of the first half good, none of the second; the middle one is in neither
    assert in_words(found) == (
        "3 of 5 replies contradict nothing; 2 express the persona. Drift −100 points (second half against first half)."
    )


def test_drift_waits_for_four_replies() -> None:
    assert gauge([]).share is None
    assert gauge([reading("-")] * 3).drift is None
    assert gauge([reading("-"), reading("-"), reading("+"), reading("+")]).drift == 1.0


@pytest.mark.parametrize("kinds", ["", "+", "+-0+", "-" * 50])
def test_the_plot_is_well_formed_and_stays_inside_its_frame(kinds: str) -> None:
    from xml.etree import ElementTree

    page = ElementTree.fromstring(gauge_html([reading(kind) for kind in kinds], "judge <b>"))
    dots = list(page.iter("circle"))
    assert len(dots) == len(kinds)
    assert all(0 <= float(dot.attrib["cx"]) <= 320 and 0 <= float(dot.attrib["cy"]) <= 92 for dot in dots)
