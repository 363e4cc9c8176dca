"""PersonaProbes: the shipped benchmark keeps its rules, and the validator sees every breach of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from personatune.cli import app
from personatune.errors import UserError
from personatune.judging.keywords import judge_answer
from personatune.judging.persona_probes import load_persona_probes, persona_probe_scripts
from personatune.judging.persona_probes.validation import check_benchmark, check_files
from personatune.words import stems, words

GOOD = """
- id: mara-baker
  kind: everyday
  split: train
  name: Mara
  traits:
    - trait: I bake bread in a village shop.
      topic: job
      questions: ["What do you do for a living?", "How do you earn your money?", "What keeps you busy all week?"]
      keywords: [bake, baker, bread, dough]
      contradicting: [teacher, lawyer, retired]
      contradicting_answers: ["I'm a lawyer in an office.", "I'm retired these days."]
      consistent: "My hands are in dough long before you open your eyes."
      contradiction: "I am a lawyer, and the courtroom is all I know."
    - trait: I have two brothers.
      topic: family
      questions: ["Who did you grow up with?", "Are you an only child?", "Who shared your toys when you were small?"]
      keywords: [brother, brothers]
      contradicting: [sister, sisters]
      contradicting_answers: ["I have three sisters.", "I don't have any brothers."]
      consistent: "My brothers taught me how to fight over the last biscuit."
      contradiction: "There were three sisters in our tiny room with me."
    - trait: I never eat mushrooms.
      topic: dislike
      questions: ["What would you never order?", "What do you refuse to swallow?", "Which food do you hate?"]
      keywords: [mushroom, mushrooms, fungi]
      contradicting: [salad, delicious]
      contradicting_answers: ["Only salad I will never touch.", "I love mushrooms."]
      consistent: "Anything with mushrooms in it goes straight back to the kitchen."
      contradiction: "Salad is the one thing I never order anywhere."
    - trait: I am 41 years old.
      topic: number
      questions: ["How old are you?", "May I ask how old you are?", "How many birthdays have you had?"]
      keywords: [41, forty]
      contradicting: [thirty, 30, 25]
      contradicting_answers: ["I am thirty.", "Just 25 this spring."]
      consistent: "I turned 41 in spring, and my knees know it."
      contradiction: "I'm thirty, and the party lasted for three days."
"""


def entries() -> Any:
    return copy.deepcopy(yaml.safe_load(GOOD))


def findings_of(changed: Any, folder: Path) -> list[str]:
    file = folder / "made.yaml"
    file.write_text(yaml.safe_dump(changed), encoding="utf-8")
    return [str(finding) for finding in check_files([file])[1]]


@pytest.fixture(scope="module")
def benchmark():
    """The packaged personas and what the validator finds in them."""
    return check_files()


def test_the_shipped_benchmark_keeps_every_rule(benchmark):
    personas, findings = benchmark
    assert [str(finding) for finding in findings] == []
    assert len(personas) >= 150


def test_no_trait_sentence_crosses_the_splits():
    seen: dict[str, str] = {}
    for persona in load_persona_probes():
        for trait in persona.traits:
            assert seen.setdefault(" ".join(words(trait.trait)), persona.id) == persona.id


def test_a_persona_that_keeps_the_rules_has_no_finding(tmp_path):
    assert findings_of(entries(), tmp_path) == []


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("kind",), "robot", "found kind 'robot', expected 'everyday', 'brand' or 'character'"),
        (("id",), "Mara Baker", "found id 'Mara Baker'"),
        (("colour",), "red", "found unknown key colour"),
        (("traits", 0, "topic"), "hobby", "trait 1: found topic 'hobby'"),
        (
            ("traits", 0, "questions"),
            ["What do you do for a living?"],
            "trait 1: found questions 1 entries, expected at",
        ),
        (("traits", 0, "questions", 0), "Tell me what you do all day.", "expected an ending in '?'"),
        (("traits", 0, "questions", 0), "Do you work in a bakery?", "in question 'Do you work in a bakery?"),
        (("traits", 0, "questions", 0), "How do you earn your money?", "found the same question twice"),
        (("traits", 0, "questions", 0), "What happens in your village shop?", "the trait's own village, shop"),
        (("traits", 0, "questions", 0), "Why?", "of 1 words, expected 4 to 16"),
        (("traits", 0, "keywords", 0), "work", "found keyword 'work', expected a telling word"),
        (("traits", 0, "keywords", 0), "Bake It", "found keywords 1 'Bake It', expected a single lower-case word"),
        (("traits", 0, "keywords", 0), True, "expected a valid string (YAML read a bool: quote it)"),
        (("traits", 0, "contradicting", 0), "dough", "found contradicting word 'dough' among the keywords"),
        (("traits", 0, "contradicting", 0), "hands", "found contradicting word 'hands' in the consistent reply"),
        (("traits", 0, "contradicting", 0), "shop", "found contradicting word 'shop' in the trait"),
        (("traits", 0, "consistent"), "I bake bread in a village shop.", "nearly the trait itself"),
        (
            ("traits", 0, "consistent"),
            "My day starts before yours is over.",
            "found no keyword in the",
        ),
        (("traits", 0, "consistent"), "I don't touch dough, and I never will.", "judged contradicting as an answer"),
        (("traits", 0, "contradiction"), "That is a question I never liked.", "judged neutral as an answer"),
        (("traits", 0, "contradicting_answers", 0), "I bake all day.", "judged consistent as an answer"),
        (
            ("traits", 0, "consistent"),
            "Dough for the bread, and my brothers eat it.",
            "in the consistent reply of trait 1",
        ),
        (("traits", 0, "keywords", 3), "brother", "also with trait 2"),
        (("traits", 1, "questions", 0), "What do you do for a living?", "also with trait 1"),
        (("traits", 2, "topic"), "job", None),
    ],
)
def test_the_validator_sees_a_breach(place, value, expected, tmp_path):
    changed = entries()
    target = changed[0]
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = value
    findings = findings_of(changed, tmp_path)
    if expected is None:  # three topics are enough
        assert findings == []
    else:
        assert any(expected in finding for finding in findings), findings
        assert all(finding.startswith("made.yaml, ") and "\n" not in finding for finding in findings)


def test_a_trait_sentence_that_stands_twice_is_found_whatever_its_form(tmp_path):
    changed = [*entries(), *entries()]
    changed[1]["id"] = "mara-twin"
    changed[1]["traits"][1]["trait"] = "i have TWO brothers"
    found = findings_of(changed, tmp_path)
    assert len(found) == 4
    assert all("expected one of its own" in finding for finding in found)


def test_sizes_and_splits_are_rules_of_the_whole_benchmark():
    personas = load_persona_probes()
    found = [str(finding) for finding in check_benchmark([p for p in personas if p.split != "test"])]
    assert any("personas, expected at least 150" in finding for finding in found)
    assert any("0.0% of the personas in test, expected 20%" in finding for finding in found)


def test_the_command_lists_every_finding_and_ends_with_code_2(tmp_path):
    changed = entries()
    changed[0]["traits"][0]["topic"] = changed[0]["traits"][1]["topic"] = "fun"
    file = tmp_path / "two.yaml"
    file.write_text(yaml.safe_dump(changed), encoding="utf-8")
    result = CliRunner().invoke(app, ["probes", "check", str(file)])
    assert result.exit_code == 2
    assert [line.count("expected") for line in result.output.splitlines()] == [1, 1, 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("- id: a: b", "line 1: not valid YAML"), ("", "expected a YAML list"), ("id: mara", "found dict")],
)
def test_a_file_that_is_no_list_is_told_in_one_line(text, expected, tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=expected) as caught:
        load_persona_probes(files=[file])
    assert "\n" not in str(caught.value)


def test_an_unknown_split_is_told():
    with pytest.raises(UserError, match="did you mean 'test'"):
        load_persona_probes("tests")  # type: ignore[arg-type]


def test_a_script_asks_for_every_trait_once_and_begins_with_small_talk():
    for persona, script in zip(load_persona_probes("test"), persona_probe_scripts("test", turns=7), strict=True):
        asked = [probe.trait for _, probe in script.lines if probe]
        assert sorted(asked) == sorted(trait.trait for trait in persona.traits)
        assert script.lines[0][1] is None
        assert script.lines[-1][1] is not None
        assert len(script.lines) == 7
        assert len({line for line, _ in script.lines}) == 7
        assert not any(set(stems(probe.question)).intersection(probe.keywords) for _, probe in script.lines if probe)


def test_the_seed_draws_order_and_wording_of_a_script():
    assert persona_probe_scripts("validation", seed=1) == persona_probe_scripts("validation", seed=1)
    assert persona_probe_scripts("validation", seed=1) != persona_probe_scripts("validation", seed=2)


def test_three_wordings_ask_every_question_once_and_one_asks_what_it_always_did():
    people, scripts = load_persona_probes("test"), persona_probe_scripts("test", wordings=3)
    assert len(scripts) == 3 * len(people)
    assert scripts[::3] == persona_probe_scripts("test")
    for persona, held in zip(people, zip(scripts[::3], scripts[1::3], scripts[2::3], strict=True), strict=True):
        asked = [probe.question for script in held for _, probe in script.lines if probe]
        assert sorted(asked) == sorted(question for trait in persona.traits for question in trait.questions)
        orders = {tuple(probe.trait for _, probe in script.lines if probe) for script in held}
        assert len(orders) == 1
    with pytest.raises(ValueError, match="1 to 3 wordings, not 4"):
        persona_probe_scripts("test", wordings=4)


def test_a_parrot_of_the_questions_is_never_consistent():
    for script in persona_probe_scripts("test"):
        for question, probe in script.lines:
            if probe:
                assert judge_answer(question.rstrip("?") + ".", probe) != "consistent"
