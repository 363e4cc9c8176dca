"""Pairs of two answers of one character, each the worse one behind the other's question."""

from __future__ import annotations

from personatune.config import PreferencesConfig
from personatune.data.mirrors import MIRROR
from personatune.data.other_answers import OTHER_TRAIT, other_answers
from personatune.data.preferences import PreferenceGenerator
from personatune.data.written_dialogues import written_dialogues
from personatune.dialogue import Persona, Perspective, Turn, WrittenDialogue
from personatune.judging.persona_probes.dialogues import probe_dialogues

ANN = Persona(("I have two dogs.", "I work as a nurse.", "I live in Leeds."))


def dialogue(*turns: tuple[str, str], rests_on: dict[int, int]) -> WrittenDialogue:
    lines = [Turn(speaker, text) for pair in turns for speaker, text in zip(("partner", "self"), pair, strict=True)]
    return WrittenDialogue(Perspective("d", ANN, tuple(lines)), dict.fromkeys(rests_on, "No."), rests_on)


ASKED = (
    ("Any pets?", "Two dogs at home."),
    ("Nice!", "They are."),
    ("And your job?", "A nurse, on nights."),
    ("Where is that?", "In Leeds, up north."),
)


def test_two_answers_change_places_behind_their_questions() -> None:
    first, second = other_answers([dialogue(*ASKED, rests_on={1: 0, 5: 1})], 3, 0.2)
    assert (
        (first.chosen, first.rejected)
        == ("Two dogs at home.", "A nurse, on nights.")
        == (second.rejected, second.chosen)
    )
    assert first.context.history == (Turn("partner", "Any pets?"),)
    assert [turn.text for turn in second.context.history] == ["Nice!", "They are.", "And your job?"]
    assert first.kind == second.kind == OTHER_TRAIT
    assert [pair.origin.startswith(MIRROR) for pair in (first, second)] == [False, True]


def test_what_would_be_no_mistake_is_left_out() -> None:
    same = dialogue(*ASKED, rests_on={1: 0, 5: 0})  # both on one persona sentence
    near = dialogue(*ASKED, rests_on={5: 1, 7: 2})  # the first was just said where the second is asked for
    long = dialogue(*ASKED[:2], ("And your job?", " ".join(["nurse"] * 30)), rests_on={1: 0, 5: 1})
    assert not list(other_answers([same, near, long], 3, 0.2))


def test_an_answer_stands_in_two_pairs_at_most_and_both_are_of_the_character() -> None:
    own = [*written_dialogues(), *probe_dialogues()]
    pairs = list(other_answers(own, 3, 0.2))
    assert len(pairs) > 1000
    texts = {one.view.id: [turn.text for turn in one.view.turns] for one in own}
    for pair in pairs:
        name, _, place = pair.origin.removeprefix(MIRROR).removeprefix("written | ").partition(" | ")[0].rpartition("/")
        assert texts[name][int(place)] == pair.chosen
        assert pair.rejected in texts[name]
        assert pair.rejected not in [turn.text for turn in pair.context.history]
    places = [pair.origin.removeprefix(MIRROR).rpartition(" | ")[0] for pair in pairs]
    assert len(set(places)) == len(places)


def test_drawn_by_hand_a_pair_is_followed_by_its_mirror() -> None:
    written = list(other_answers(written_dialogues(), 3, 0.2))
    talk = Perspective("x", ANN, (Turn("partner", "Any pets?"), Turn("self", "Yes, I have two dogs.")))
    config = PreferencesConfig(kinds={OTHER_TRAIT: 1}, written_share=1.0)
    report = PreferenceGenerator([talk], config, written=written).generate(40)
    assert report.counts == {OTHER_TRAIT: 40}
    assert report.mirrors == {OTHER_TRAIT: 20}
    replies = {frozenset((pair.chosen, pair.rejected)) for pair in report.pairs}
    assert len(replies) == 20


def test_peoples_dialogues_give_them_where_a_question_was_asked() -> None:
    turns = (
        "Any pets?",
        "I have two dogs.",
        "Nice.",
        "I live in Leeds.",
        "What is your job?",
        "I'm a nurse, at nights.",
    )
    talk = Perspective("x", ANN, tuple(Turn(("partner", "self")[place % 2], text) for place, text in enumerate(turns)))
    config = PreferencesConfig(kinds={OTHER_TRAIT: 1}, max_history_turns=3)
    pairs = PreferenceGenerator([talk], config).generate(6).pairs
    assert pairs
    assert all(pair.context.history[-1].text.endswith("?") for pair in pairs)
    assert all(pair.rejected not in [turn.text for turn in pair.context.history] for pair in pairs)
