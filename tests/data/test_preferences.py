"""Preference pairs teach one thing each, and nothing that form alone would tell."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from personatune.data.generic_replies import _STATEMENTS
from personatune.data.negatives import drawn_traits, in_style_of, tells_of_self
from personatune.data.preferences import KINDS, PreferenceGenerator, PreferenceReport
from personatune.data.stances import contradicts, stated
from personatune.data.triples import triple_of
from personatune.dialogue import Context, Dialogue, Persona, Perspective, PreferencePair, Turn
from personatune.errors import UserError
from personatune.settings import PreferencesConfig
from personatune.words import keyword_stems, words


@pytest.fixture(scope="module")
def perspectives(shared_data: Path) -> list[Perspective]:
    found: list[Perspective] = []
    file = shared_data / "synthetic-persona-chat" / "spc_train_00.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines()[:450]:
        row = json.loads(line)
        personas = {f"User {number}": Persona(tuple(row[f"user_{number}_personas"])) for number in (1, 2)}
        turns = tuple(Turn(speaker, text) for speaker, text in row["conversation"])
        found.extend(Dialogue(row["id"], turns, personas).perspectives())
    return found


@pytest.fixture(scope="module")
def report(perspectives: list[Perspective]) -> PreferenceReport:
    return PreferenceGenerator(perspectives, PreferencesConfig(), seed=1).generate(200)


def _of(report: PreferenceReport, kind: str) -> list[PreferencePair]:
    return [pair for pair in report.pairs if pair.kind == kind]


@pytest.mark.shared
def test_kinds_are_balanced_and_a_missing_model_is_told(report: PreferenceReport) -> None:
    assert report.counts == {"persona_swap": 50, "contradiction": 50, "generic": 50, "off_topic": 50}
    assert Counter(pair.kind for pair in report.pairs) == report.counts
    assert set(report.mirrors) == {"persona_swap", "contradiction", "off_topic"}
    assert list(report.unfilled) == ["model_sample"]
    assert "no model" in report.unfilled["model_sample"]


@pytest.mark.shared
def test_length_tells_nothing(report: PreferenceReport) -> None:
    for pair in report.pairs:
        chosen, rejected = len(words(pair.chosen)), len(words(pair.rejected))
        assert abs(rejected - chosen) <= max(3, 0.2 * chosen), pair
    assert all(abs(difference) < 0.5 for difference in report.length_difference.values())


@pytest.mark.shared
def test_form_tells_nothing(report: PreferenceReport) -> None:
    features: dict[str, Callable[[str], bool]] = {
        "asks": lambda text: text.endswith("?"),
        "exclaims": lambda text: "!" in text,
        "capital": lambda text: text[:1].isupper(),
        "end mark": lambda text: text[-1] in ".!?",
        "double space": lambda text: "  " in text,
        "negation": lambda text: bool(re.search(r"n't\b|\bnot\b|\bnever\b", text)),
    }
    for name, feature in features.items():
        chosen = sum(feature(pair.chosen) for pair in report.pairs)
        rejected = sum(feature(pair.rejected) for pair in report.pairs)
        assert abs(chosen - rejected) <= 0.12 * len(report.pairs), name
    assert not any("  " in pair.rejected for pair in report.pairs)


@pytest.mark.shared
def test_a_rejected_reply_of_others_says_nothing_of_this_persona(report: PreferenceReport) -> None:
    for kind in ("persona_swap", "off_topic"):
        for pair in _of(report, kind):
            traits = pair.context.persona.traits
            persona = {word for trait in traits for word in keyword_stems(trait)}
            assert persona.isdisjoint(keyword_stems(pair.rejected)), pair


@pytest.mark.shared
def test_off_topic_shares_nothing_with_the_partners_line(report: PreferenceReport) -> None:
    for pair in _of(report, "off_topic"):
        assert set(keyword_stems(pair.context.history[-1].text)).isdisjoint(keyword_stems(pair.rejected)), pair


@pytest.mark.shared
def test_the_better_reply_draws_on_the_persona_and_contexts_end_with_the_partner(report: PreferenceReport) -> None:
    for pair in report.pairs:
        assert drawn_traits(pair.chosen, pair.context.persona.traits)
        assert pair.chosen != pair.rejected
        assert pair.context.history[-1].speaker == "partner"
        assert len(pair.context.history) <= 3
        assert "SPC_" in pair.origin


@pytest.mark.shared
def test_no_reply_is_rejected_again_and_again(report: PreferenceReport) -> None:
    human = Counter(pair.rejected for kind in ("persona_swap", "off_topic") for pair in _of(report, kind))
    assert max(human.values()) <= 4
    assert len({pair.rejected for pair in _of(report, "generic")}) > 25


@pytest.mark.shared
def test_every_kind_of_contradiction_is_there_and_none_rules(report: PreferenceReport) -> None:
    assert sum(report.edits.values()) == 50
    assert {"attitude", "negated", "value"} <= set(report.edits)
    assert max(report.edits.values()) <= 25


@pytest.mark.shared
def test_the_same_seed_gives_the_same_pairs_and_another_seed_others(perspectives: list[Perspective]) -> None:
    def made(seed: int) -> list[PreferencePair]:
        return PreferenceGenerator(perspectives[:300], PreferencesConfig(), seed=seed).generate(40).pairs

    assert made(3) == made(3)
    assert made(3) != made(4)


@pytest.mark.shared
def test_test_pairs_have_their_own_size_and_pairs_survive_json(perspectives: list[Perspective]) -> None:
    generator = PreferenceGenerator(perspectives[:300], PreferencesConfig(test_pairs=12), seed=0)
    pairs = generator.test_set().pairs
    assert len(pairs) == 12
    assert [PreferencePair.from_json(json.loads(json.dumps(pair.to_json()))) for pair in pairs] == pairs


@pytest.mark.shared
def test_prompts_are_distinct_spread_over_personas_and_take_probes(perspectives: list[Perspective]) -> None:
    generator = PreferenceGenerator(perspectives[:300], PreferencesConfig(), seed=0)
    prompts = generator.prompts(60)
    assert len(prompts) == len(set(prompts)) == 60
    assert len({context.persona.traits for context in prompts}) > 50
    probes = [Context(Persona(("I have a dog.",)), (Turn("partner", f"Question {number}?"),)) for number in range(100)]
    mixed = generator.prompts(60, probes)
    assert len(set(mixed) & set(probes)) == 30


@pytest.mark.shared
def test_shares_decide_and_a_kind_without_one_is_left_out(perspectives: list[Perspective]) -> None:
    config = PreferencesConfig(kinds={"generic": 3, "off_topic": 1, "contradiction": 0})
    report = PreferenceGenerator(perspectives[:300], config, seed=0).generate(41)
    assert report.counts == {"generic": 31, "off_topic": 10}
    assert report.unfilled == {}


DOGS = Persona(("I have two dogs.", "I work as a nurse."))


def _talk(name: str, persona: Persona, *turns: str) -> Perspective:
    speakers = ("partner", "self")
    return Perspective(name, persona, tuple(Turn(speakers[index % 2], text) for index, text in enumerate(turns)))


def test_a_kind_that_cannot_be_filled_says_so() -> None:
    talks = [_talk("d/1", DOGS, "Do you have any pets?", "I have two dogs.")]
    report = PreferenceGenerator(talks, PreferencesConfig(), seed=0).generate(8)
    assert report.counts["persona_swap"] == 0
    assert report.unfilled["persona_swap"].startswith("0 of 2: 1 persona turns")
    assert len(report.pairs) == sum(report.counts.values())


def test_a_wrong_kind_is_named() -> None:
    with pytest.raises(UserError, match=r"unknown kind 'persona_swop'; did you mean 'persona_swap'\?"):
        PreferenceGenerator([], PreferencesConfig(kinds={"persona_swop": 1}))
    with pytest.raises(UserError, match="every share is 0"):
        PreferenceGenerator([], PreferencesConfig(kinds=dict.fromkeys(KINDS, 0)))


def test_a_persona_swap_answers_the_same_question_for_someone_else() -> None:
    others = Persona(("I have a parrot.", "I am a lawyer."))
    talks = [
        _talk("d1/A", DOGS, "Do you have any pets?", "Yes, I have two dogs."),
        _talk("d2/A", others, "Do you have any pets?", "Yes, I have one parrot."),
        _talk("d3/A", others, "What do you do for work?", "I am a busy lawyer."),
    ]
    config = PreferencesConfig(kinds={"persona_swap": 1}, mirrors=False)
    pairs = PreferenceGenerator(talks, config, seed=0).generate(2).pairs
    assert {(pair.chosen, pair.rejected) for pair in pairs} == {
        ("Yes, I have two dogs.", "Yes, I have one parrot."),
        ("Yes, I have one parrot.", "Yes, I have two dogs."),
    }


def _sampler(replies: list[str]) -> PreferenceGenerator:
    def sample(contexts: Sequence[Context], count: int) -> list[list[str]]:
        assert count == 2
        return [replies for _ in contexts]

    talks = [_talk("d/1", DOGS, "Do you have any pets?", "I have two lovely dogs.")]
    return PreferenceGenerator(talks, PreferencesConfig(kinds={"model_sample": 1}), seed=0, sample=sample)


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (["I have no pets at all.", "Two dogs live with me."], ("Two dogs live with me.", "I have no pets at all.")),
        (["I like the sun today.", "Not much going on."], ("I have two lovely dogs.", "I like the sun today.")),
        (["My two dogs are here.", "Two dogs are my joy."], None),  # a tie
        (["", "  "], None),  # nothing said
    ],
)
def test_the_models_better_sample_stands_against_its_worse(
    replies: list[str], expected: tuple[str, str] | None
) -> None:
    report = _sampler(replies).generate(1)
    assert [(pair.chosen, pair.rejected) for pair in report.pairs] == ([expected] if expected else [])
    assert ("model_sample" in report.unfilled) == (expected is None)


def test_a_sample_that_parrots_its_persona_is_never_the_better_one() -> None:
    persona = Persona(("I work as a nurse in Texas.",))
    talks = [_talk("d/1", persona, "What do you do?", "Nursing! I take care of people in Texas.")]

    def sample(contexts: Sequence[Context], count: int) -> list[list[str]]:
        return [["I work as a nurse in Texas.", "I do this and that."] for _ in contexts]

    config = PreferencesConfig(kinds={"model_sample": 1})
    report = PreferenceGenerator(talks, config, seed=0, sample=sample).generate(1)
    assert all(pair.chosen != "I work as a nurse in Texas." for pair in report.pairs)


def test_what_tells_of_oneself() -> None:
    traits = ("I have two dogs.", "I work at a hospital.")
    assert tells_of_self("I have dogs.", "Hi!", traits)
    assert tells_of_self("At a hospital.", "Where do you work?", traits)
    assert not tells_of_self("What do you think about dogs?", "Hi!", traits)
    assert not tells_of_self("I've heard good things about that hospital.", "Hi!", traits)
    assert not tells_of_self("Dogs are nice.", "Look, a dog!", traits)


@pytest.mark.parametrize(
    ("text", "model", "expected"),
    [
        ("I like tea.", "i have a dog", "i like tea"),
        ("Sure! What about you?", "hey there ! how are you ?", "sure ! what about you ?"),
        ("sure, i do", "Yes, I do.", "Sure, i do."),
        ("Me  too.", "Yes!", "Me too."),
    ],
)
def test_a_negative_wears_the_form_of_the_good_reply(text: str, model: str, expected: str) -> None:
    assert in_style_of(text, model) == expected


def test_there_are_many_generic_replies_of_many_lengths() -> None:
    assert len(_STATEMENTS) == len(set(_STATEMENTS)) >= 40
    assert len({len(words(text)) for text in _STATEMENTS}) >= 12


@pytest.mark.shared
def test_a_conflicting_line_is_anothers_own_and_contradicts_the_persona(perspectives: list[Perspective]) -> None:
    config = PreferencesConfig(kinds={"conflict": 1})
    report = PreferenceGenerator(perspectives, config, seed=1).generate(60)
    pairs = _of(report, "conflict")
    assert len(pairs) == 60 == report.counts["conflict"]
    assert report.mirrors["conflict"] >= 15
    for pair in pairs:
        traits = [triple for trait in pair.context.persona.traits if (triple := triple_of(trait))]
        assert any(contradicts(one, trait) for one in stated(pair.rejected) for trait in traits), pair
        assert not any(contradicts(one, trait) for one in stated(pair.chosen) for trait in traits), pair
