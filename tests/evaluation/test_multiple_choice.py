"""Questions about a persona after every turn: what is asked, what can be chosen, and what counts as right."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from personatune.dialogue import Persona, Perspective, Turn
from personatune.errors import UserError
from personatune.evaluation.floors import HumanCeiling, PersonaCopier
from personatune.evaluation.multiple_choice import (
    CHANCE,
    Choice,
    Choices,
    DerivedChoices,
    MultipleChoiceEvaluator,
    WrittenChoices,
    choice_tasks,
    without_persona,
)
from personatune.judging.keywords import expressed_traits, judge_answer
from personatune.judging.persona_probes import load_persona_probes
from personatune.model.candidates import CandidateScorer

OTHERS = [
    Persona(("I have a cat.", "I am a teacher.", "My favorite color is green.")),
    Persona(("I have three birds.", "I am a pilot.", "My favorite color is blue.")),
    Persona(("I have a hamster.", "I am a nurse.", "My favorite color is orange.")),
    Persona(("I have two big dogs.", "I work as a chef.", "My favorite food is soup.")),
]
PERSONA = Persona(("I have two dogs.", "I am a chef.", "My favorite color is red."))


def held(name: str, lines: int, persona: Persona = PERSONA) -> Perspective:
    turns = [turn for at in range(lines) for turn in (Turn("partner", f"Line {at}."), Turn("self", f"Reply {at}."))]
    return Perspective(name, persona, tuple(turns))


def test_derived_choices_have_three_answers_of_others_that_are_not_true_here():
    made = DerivedChoices([*OTHERS, PERSONA]).of(PERSONA)
    options = {choice.right: set(choice.wrong) for choice in made.choices}
    assert options == {
        "I have two dogs.": {"I have a cat.", "I have three birds.", "I have a hamster."},
        "I am a chef.": {"I am a teacher.", "I am a pilot.", "I am a nurse."},
        "My favorite color is red.": {
            "My favorite color is green.",
            "My favorite color is blue.",
            "My favorite color is orange.",
        },
    }
    assert all(choice.kinds == ("rand",) * 3 for choice in made.choices)
    assert made.skipped == Counter()


def test_traits_that_cannot_be_asked_for_are_counted_by_reason():
    made = DerivedChoices(OTHERS[:2]).of(Persona(("I have two dogs.", "Zounds.")))
    assert made.choices == ()
    assert sorted(made.skipped.values()) == [1, 1]
    found = MultipleChoiceEvaluator().evaluate([], [], [made])
    assert found.metrics == {}
    assert "nothing to ask: " in found.absent["qa_accuracy"]
    assert "1 × no question can be derived" in found.absent["qa_accuracy"]


def test_written_choices_hold_the_own_contradiction_and_two_replies_on_the_topic():
    personas = load_persona_probes("validation")
    source = WrittenChoices(personas)
    for persona in random.Random(0).sample(personas, 4):
        made = source.of(persona)
        assert len(made.choices) == len(persona.traits)
        for choice, trait in zip(made.choices, persona.traits, strict=True):
            assert (choice.right, choice.questions) == (trait.consistent, tuple(trait.questions))
            assert choice.wrong[0] == trait.contradiction
            assert choice.kinds == ("neg", "rand", "rand")
            assert len({choice.right, *choice.wrong}) == 4
            for text in choice.wrong:
                assert judge_answer(text, trait.probes()[0]) != "consistent"
            for text in choice.wrong[1:]:
                others = Persona(tuple(own.trait for own in persona.traits if own != trait))
                assert expressed_traits(text, others) == []
                owner = next(
                    other for other in personas for own in other.traits if own.consistent == text and other != persona
                )
                assert trait.topic in {own.topic for own in owner.traits if own.consistent == text}
    assert source.of(personas[0]) == source.of(personas[0])


def test_a_question_follows_every_turn_and_leaves_no_trace():
    own = Choices(tuple(Choice(trait, (f"{trait}?",), trait, ("x", "y", "z"), ("rand",) * 3) for trait in "abc"))
    tasks = choice_tasks([held("d", 4)], [own])
    assert [task.turn for task in tasks] == [1, 2, 3, 4]
    assert [len(task.task.context.history) for task in tasks] == [3, 5, 7, 9]
    assert {task.trait for task in tasks[:3]} == {"a", "b", "c"}
    assert tasks[3].trait == tasks[0].trait  # traits take turns
    last = tasks[3].task.context.history
    assert last[-1] == Turn("partner", f"{tasks[3].trait}?")
    assert last[:-1] == held("d", 4).turns  # the questions before it were never asked
    assert tasks[0].task.kinds == ("gold", "rand", "rand", "rand")
    assert len(choice_tasks([held("d", 4)], [own], per_turn=3)) == 12
    assert len(choice_tasks([held("d", 4)], [own], per_turn=9)) == 12
    assert [task.turn for task in choice_tasks([held("d", 4)], [own], after=(1, 4))] == [1, 4]
    assert choice_tasks([held("d", 4)], [Choices(())]) == []


def test_a_question_asked_again_is_worded_otherwise():
    own = Choices((Choice("a", ("Once?", "Twice?"), "a", ("x", "y", "z"), ("rand",) * 3),))
    asked = [task.task.context.history[-1].text for task in choice_tasks([held("d", 3)], [own])]
    assert asked == ["Once?", "Twice?", "Once?"]


def test_accuracy_by_hand():
    own = Choices(tuple(Choice(trait, (f"{trait}?",), trait, ("x", "y", "z"), ("rand",) * 3) for trait in "ab"))
    tasks = choice_tasks([held("one", 2), held("two", 3)], [own, own])
    best, worst, tie = [2.0, 1.0, 1.0, 1.0], [0.0, 1.0, -1.0, 0.5], [1.0, 1.0, 0.0, 0.0]
    found = MultipleChoiceEvaluator(200).evaluate(tasks, [best, worst, best, best, tie], [own, own])
    values = {name: (figure.value, figure.n) for name, figure in found.metrics.items()}
    assert values == {
        "qa_accuracy": (3 / 5, 2),
        "qa_accuracy_1": (1.0, 2),
        "qa_accuracy_2": (0.5, 2),
        "qa_accuracy_3": (0.0, 1),
    }
    assert found.questions == 5
    assert found.to_json()["chance"] == CHANCE == 0.25


def test_what_the_persona_makes_likelier_counts_beside_what_is_likely():
    own = Choices((Choice("a", ("Once?",), "a", ("x", "y", "z"), ("rand",) * 3),))
    tasks = choice_tasks([held("one", 1), held("two", 1)], [own, own])
    scores = [[-2.0, -1.0, -3.0, -3.0], [-1.0, -2.0, -3.0, -3.0]]  # a wild guess is likeliest, then the right one
    bare = [[-4.0, -1.0, -3.0, -3.0], [-1.0, -2.5, -3.0, -3.0]]  # the persona helps the right one, then a wrong one
    found = MultipleChoiceEvaluator(50).evaluate(tasks, scores, bare=bare)
    assert found.metrics["qa_accuracy"].value == 0.5
    assert found.metrics["qa_accuracy_bare"].value == 0.5
    assert found.metrics["qa_pmi_accuracy"].value == 0.5
    first = MultipleChoiceEvaluator(50).evaluate(tasks[:1], scores[:1], bare=bare[:1]).metrics
    assert (first["qa_accuracy"].value, first["qa_pmi_accuracy"].value, first["qa_pmi_accuracy_1"].value) == (0, 1, 1)
    assert found.absent == {}
    assert set(MultipleChoiceEvaluator(50).evaluate(tasks, scores).absent) == {"qa_pmi_accuracy"}


def test_the_control_asks_the_same_of_nobody():
    tasks = choice_tasks([held("one", 2)], [DerivedChoices(OTHERS).of(PERSONA)])
    for task, control in zip(tasks, without_persona(tasks), strict=True):
        assert control.context.persona == Persona(())
        assert (control.id, control.candidates, control.kinds) == (task.task.id, task.task.candidates, task.task.kinds)
        assert control.context.history == task.task.context.history


def test_ceiling_and_floor():
    choices = [DerivedChoices(OTHERS).of(PERSONA)] * 2
    tasks = choice_tasks([held("one", 3), held("two", 3)], choices)
    evaluator = MultipleChoiceEvaluator(50)
    records = [task.task for task in tasks]
    assert evaluator.evaluate(tasks, HumanCeiling().rank(records)).metrics["qa_accuracy"].value == 1.0
    # The trait is the right answer word by word: whoever looks it up is right, so the figure shows attention only.
    assert evaluator.evaluate(tasks, PersonaCopier().rank(records)).metrics["qa_accuracy"].value == 1.0
    indifferent = [[0.0] * 4 for _ in tasks]
    assert evaluator.evaluate(tasks, indifferent).metrics["qa_accuracy"].value == 0.0


def test_a_model_answers_by_likelihood(tiny):
    choices = DerivedChoices(OTHERS).of(PERSONA)
    tasks = choice_tasks([held("one", 3)], [choices])
    scorer = CandidateScorer(tiny.model(), tiny.prompts())
    scores = scorer([task.task for task in tasks])
    assert [len(row) for row in scores] == [4, 4, 4]
    assert all(map(len, scorer(without_persona(tasks))))  # a prompt can be written for nobody
    alone = CandidateScorer(tiny.model(), tiny.prompts())([tasks[2].task])
    assert scores[2] == pytest.approx(alone[0], abs=1e-4)  # what the dialogue left in the cache changes nothing
    assert set(MultipleChoiceEvaluator(50).evaluate(tasks, scores).metrics) == {
        "qa_accuracy", "qa_accuracy_1", "qa_accuracy_2", "qa_accuracy_3"
    }  # fmt: skip


def test_a_score_that_is_no_number_names_the_question():
    own = Choices((Choice("a", ("Once?",), "a", ("x", "y", "z"), ("rand",) * 3),))
    tasks = choice_tasks([held("d", 1)], [own])
    with pytest.raises(UserError, match=r"d:1:1: candidate 2 .* nan"):
        MultipleChoiceEvaluator().evaluate(tasks, [[0.0, float("nan"), 0.0, 0.0]])
