"""Judged consistency on two dialogues whose every figure was worked out by hand with the word rule."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personatune.dialogue import Persona, Perspective, ProbeScript, Turn
from personatune.evaluation.judged import MEASURES, JudgedDialogue, JudgedEvaluator
from personatune.evaluation.transcripts import of_probe_dialogue, of_transcript, own_lines
from personatune.judging.entailment import CONTRADICTION, ENTAILMENT, NEUTRAL
from personatune.judging.probes import ProbeDialogue


def dialogue(name: str, traits: list[str], lines: list[str]) -> Perspective:
    turns = [turn for line in lines for turn in (Turn("partner", "And?"), Turn("self", line))]
    return Perspective(name, Persona(tuple(traits)), tuple(turns))


CHEF = dialogue(
    "chef",
    ["I have two dogs.", "I am a chef."],
    [
        "I have two dogs. Do you have dogs?",  # entails the first
        "I don't have two dogs.",  # contradicts the first and line 1
        "What do you do?",  # asserts nothing
        "I am a chef and I have two dogs.",  # entails both, contradicts line 2
    ],
)
ROMAN = dialogue(
    "roman",
    ["I live in Rome."],
    ["I live in Rome.", "Rome is nice. I never lived in Rome."],  # entails; contradicts the persona and line 1
)


def test_every_figure_of_two_dialogues(rule_judge):
    found = JudgedEvaluator(rule_judge, 200).evaluate_dialogues([CHEF, ROMAN])
    assert {name: found.metrics[name].value for name in MEASURES} == pytest.approx(
        {
            "prompt_to_line": (3 + 1) / 6,
            "line_to_line": (4 + 0) / (6 + 1),
            "c_score": ((1 - 1 + 0 + 2) + (1 - 1)) / 6,
            "contradicting_lines": (2 + 1) / 6,
            "asserting_lines": (3 + 2) / 6,
        }
    )
    assert found.absent == {}
    assert all(figure.low <= figure.value <= figure.high for figure in found.metrics.values())


def test_drift_can_be_read_turn_by_turn(rule_judge):
    metrics = JudgedEvaluator(rule_judge, 50).evaluate_dialogues([CHEF, ROMAN]).metrics
    turns = {name: [metrics[f"{name}_{turn}"].value for turn in (1, 2, 3, 4)] for name in ("c_score", "prompt_to_line")}
    assert turns == {"c_score": [1, -1, 0, 2], "prompt_to_line": [1, 0, 1, 1]}
    assert [metrics[f"line_to_line_{turn}"].value for turn in (2, 3, 4)] == pytest.approx([0, 1, 2 / 3])
    assert "line_to_line_1" not in metrics
    assert [metrics[f"c_score_{turn}"].n for turn in (1, 2, 3, 4)] == [2, 2, 1, 1]


def test_what_was_found_can_be_read(rule_judge):
    found = JudgedEvaluator(rule_judge).evaluate_dialogues([CHEF]).contradictions
    assert [(item.turn, item.sentence, item.against, item.earlier) for item in found] == [
        (2, "I don't have two dogs.", "I have two dogs.", None),
        (2, "I don't have two dogs.", "I have two dogs.", 1),
        (4, "I am a chef and I have two dogs.", "I don't have two dogs.", 2),
    ]
    assert [item.probability for item in found] == pytest.approx([0.9, 0.9, 0.5])


def test_the_judge_is_asked_once_and_for_no_pair_twice(rule_judge):
    JudgedEvaluator(rule_judge).evaluate_dialogues([CHEF, ROMAN, CHEF])
    [asked] = rule_judge.calls
    assert len(asked) == len(set(asked))
    assert ("I have two dogs.", "I am a chef.") in asked
    assert ("I am a chef.", "I have two dogs.") not in asked  # the reply is the premise
    assert all("?" not in text for pair in asked for text in pair)
    assert ("I have two dogs.", "I don't have two dogs.") in asked
    assert ("I don't have two dogs.", "I have two dogs.") in asked  # lines in both directions


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        ("Lovely weather. I have two dogs.", (ENTAILMENT, NEUTRAL)),
        ("I have two dogs. Honestly, I don't have two dogs.", (CONTRADICTION, NEUTRAL)),
        ("Nice weather! I have two dogs, how about you?", (ENTAILMENT, NEUTRAL)),
        ("Do you have two dogs?", (NEUTRAL, NEUTRAL)),
        ("", (NEUTRAL, NEUTRAL)),
    ],
)
def test_what_a_line_asserts_gets_one_verdict_a_trait(rule_judge, line, labels):
    [judged] = JudgedEvaluator(rule_judge).judge_dialogues([dialogue("x", list(CHEF.persona.traits), [line])])
    assert judged.against_persona == (labels,)


def test_the_threshold_decides_and_is_told(rule_judge):
    strict = JudgedEvaluator(rule_judge, 50, threshold=0.6).evaluate_dialogues([CHEF])
    # line 4 against line 2 has 0.9 one way and 0.1 the other: 0.5
    assert strict.metrics["line_to_line"].value == pytest.approx(5 / 6)
    assert strict.metrics["prompt_to_line"].value == 3 / 4
    assert strict.to_json()["decision"] == "contradiction from 0.6"
    assert strict.to_json()["judge"] == "word rule"
    lenient = JudgedEvaluator(rule_judge, 50, threshold=0.05).evaluate_dialogues([CHEF])
    assert lenient.metrics["prompt_to_line"].value == 1 / 4  # all but the question
    assert JudgedEvaluator(rule_judge).decision == "most probable label"
    with pytest.raises(ValueError, match="probability above 0, not 0"):
        JudgedEvaluator(rule_judge, threshold=0)


def test_what_cannot_be_computed_is_absent_and_says_why(rule_judge):
    found = JudgedEvaluator(rule_judge, 50).evaluate_dialogues([dialogue("one", ["I am a chef."], ["I am a chef."])])
    assert found.absent == {"line_to_line": "no dialogue has two lines of the same speaker"}
    assert "line_to_line" not in found.to_json()["metrics"]
    bare = JudgedEvaluator(rule_judge, 50).evaluate_dialogues(
        [dialogue("bare", [], ["I sing songs.", "I never sing songs."])]
    )
    assert set(bare.absent) == {"prompt_to_line", "c_score"}
    assert bare.metrics["line_to_line"].value == 0.0
    silent = JudgedEvaluator(rule_judge, 50).evaluate_dialogues([dialogue("silent", ["I am a chef."], [])])
    assert set(silent.absent) == set(MEASURES)
    assert silent.metrics == {}
    with pytest.raises(ValueError, match="no dialogues to judge"):
        JudgedEvaluator(rule_judge).evaluate_dialogues([])


def test_a_dialogue_of_one_line_does_not_count_for_line_to_line(rule_judge):
    one = dialogue("one", ["I am a chef."], ["I am a chef."])
    found = JudgedEvaluator(rule_judge, 50).evaluate_dialogues([one, ROMAN])
    assert (found.metrics["line_to_line"].value, found.metrics["line_to_line"].n) == (0.0, 1)
    assert found.metrics["c_score"].n == 2


def test_paired_values_of_a_dialogue(rule_judge):
    chef, one = JudgedEvaluator(rule_judge).judge_dialogues([CHEF, dialogue("one", ["I am a chef."], ["Hi."])])
    assert chef.values()["c_score"] == 0.5
    assert "line_to_line" not in one.values()
    assert one.values()["asserting_lines"] == 0.0


def test_probe_dialogues_and_transcripts_become_perspectives():
    script = ProbeScript(Persona(("I am a chef.",)), (("Hi!", None), ("What do you do?", None)))
    view = of_probe_dialogue(ProbeDialogue(script, ("Hello.", "I cook."), (None, None)), "7")
    row = {"persona": ["I am a chef."], "turns": [[turn.speaker, turn.text] for turn in view.turns], "verdicts": []}
    assert of_transcript(row, "7") == view
    assert own_lines(view) == ["Hello.", "I cook."]
    assert [context.history[-1].text for context, _ in view.replies()] == ["Hi!", "What do you do?"]


_SENTENCES = st.sampled_from(["I have dogs.", "I don't have dogs.", "I am a chef.", "I never cook.", "Hi!", "And you?"])
_LINES = st.lists(_SENTENCES.flatmap(lambda one: _SENTENCES.map(lambda two: f"{one} {two}")), min_size=2, max_size=4)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(_LINES, min_size=1, max_size=3))
def test_the_measures_fit_each_other(rule_judge, said):
    traits = ["I have dogs.", "I am a chef."]
    dialogues = [dialogue(str(number), traits, lines) for number, lines in enumerate(said)]
    evaluator = JudgedEvaluator(rule_judge, 5)
    found = {name: figure.value for name, figure in evaluator.evaluate_dialogues(dialogues).metrics.items()}
    assert found["contradicting_lines"] >= 1 - found["prompt_to_line"] - 1e-9
    assert 0 <= found["line_to_line"] <= 1
    assert -len(traits) <= found["c_score"] <= len(traits)
    turned = evaluator.evaluate_dialogues(dialogues[::-1]).metrics
    assert {name: turned[name].value for name in MEASURES} == pytest.approx({name: found[name] for name in MEASURES})


def test_a_judged_dialogue_counts_line_by_line():
    judged = JudgedDialogue("x", ((ENTAILMENT, CONTRADICTION), (NEUTRAL, NEUTRAL)), frozenset({(0, 1)}), (True, True))
    tallies = judged.tallies()
    assert tallies["c_score"] == [(0.0, 1), (0.0, 1)]
    assert tallies["prompt_to_line"] == [(0.0, 1), (1.0, 1)]
    assert tallies["line_to_line"] == [(0.0, 0), (0.0, 1)]
    assert tallies["contradicting_lines"] == [(1.0, 1), (1.0, 1)]
