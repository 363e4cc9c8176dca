"""Pairs of two replies of one character, each the worse one behind the other's line."""

from __future__ import annotations

from personatune.data.mirrors import MIRROR
from personatune.data.misplaced import MISPLACED, misplaced_replies
from personatune.data.preferences import PreferenceGenerator
from personatune.data.written_dialogues import written_dialogues
from personatune.dialogue import Persona, Perspective, Turn, WrittenDialogue
from personatune.judging.persona_probes.dialogues import probe_dialogues
from personatune.settings import PreferencesConfig

ANN = Persona(("I have two dogs.", "I work as a nurse.", "I live in Leeds."))


def dialogue(*turns: tuple[str, str], rests_on: dict[int, int]) -> WrittenDialogue:
    lines = [Turn(speaker, text) for pair in turns for speaker, text in zip(("partner", "self"), pair, strict=True)]
    return WrittenDialogue(Perspective("d", ANN, tuple(lines)), dict.fromkeys(rests_on, "No."), rests_on)


ASKED = (
    ("Any pets?", "Two dogs at home."),
    ("Nice!", "Thank you, I only wish they would listen to me now and then."),
    ("And your job?", "A nurse, on nights."),
    ("Where is that?", "In Leeds, up north."),
)


def test_two_answers_change_places_behind_their_questions() -> None:
    first, second = misplaced_replies([dialogue(*ASKED[:3], rests_on={1: 0, 5: 1})], 3, 0.2)
    assert (first.chosen, first.rejected) == ("Two dogs at home.", "A nurse, on nights.")
    assert (second.chosen, second.rejected) == (first.rejected, first.chosen)
    assert first.context.history == (Turn("partner", "Any pets?"),)
    assert [turn.text for turn in second.context.history] == ["Nice!", ASKED[1][1], "And your job?"]
    assert first.kind == second.kind == MISPLACED
    assert [pair.origin.startswith(MIRROR) for pair in (first, second)] == [False, True]


def test_small_talk_finds_its_partner_first() -> None:
    greeting = ("Hello there!", "Hi, good to see you.")
    pairs = list(misplaced_replies([dialogue(greeting, *ASKED, rests_on={3: 0, 7: 1, 9: 2})], 3, 0.2))
    assert [(pair.chosen, pair.rejected) for pair in pairs][:2] == [
        ("Hi, good to see you.", "A nurse, on nights."),
        ("A nurse, on nights.", "Hi, good to see you."),
    ]


def test_what_would_be_no_mistake_is_left_out() -> None:
    same = dialogue(*ASKED[:3], rests_on={1: 0, 5: 0})  # both on one persona sentence
    near = dialogue(*ASKED[1:], rests_on={3: 1, 5: 2})  # the first was just said where the second is asked for
    long = dialogue(*ASKED[:2], ("And your job?", " ".join(["nurse"] * 30)), rests_on={1: 0, 5: 1})
    assert not list(misplaced_replies([same, near, long], 3, 0.2))


def test_an_answer_stands_in_two_pairs_at_most_and_both_are_of_the_character() -> None:
    own = [*written_dialogues(), *probe_dialogues()]
    pairs = list(misplaced_replies(own, 3, 0.2))
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
    written = list(misplaced_replies(written_dialogues(), 3, 0.2))
    talk = Perspective("x", ANN, (Turn("partner", "Any pets?"), Turn("self", "Yes, I have two dogs.")))
    config = PreferencesConfig(kinds={MISPLACED: 1}, written_share=1.0)
    report = PreferenceGenerator([talk], config, written=written).generate(40)
    assert report.counts == {MISPLACED: 40}
    assert report.mirrors == {MISPLACED: 20}
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
    config = PreferencesConfig(kinds={MISPLACED: 1}, max_history_turns=3)
    pairs = PreferenceGenerator([talk], config).generate(6).pairs
    assert pairs
    assert all(pair.context.history[-1].text.endswith("?") for pair in pairs)
    assert all(pair.rejected not in [turn.text for turn in pair.context.history] for pair in pairs)
