"""Self-chat: who says what when, and drift worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from personatune.dialogue import Context, Persona
from personatune.errors import UserError
from personatune.evaluation.judged import MEASURES, JudgedEvaluator
from personatune.evaluation.self_chat import (
    FIRST,
    SECOND,
    SelfChat,
    evaluate_drift,
    hold_self_chats,
    keyword_tallies,
    pair_personas,
)
from personatune.model.generation import Chatbot, Sampling

CHEF, NURSE = Persona(("I am a chef.",)), Persona(("I am a nurse.",))


def lines_of(*said: str) -> Callable[[Sequence[Context]], list[str]]:
    """Return a chatbot that says these lines one after the other, whatever it is told."""

    def respond(contexts: Sequence[Context]) -> list[str]:
        return [said[sum(turn.speaker == "self" for turn in context.history) - shift(context)] for context in contexts]

    def shift(context: Context) -> int:
        return int(context.history[0].speaker == "self")  # the given opening is none of its lines

    return respond


def test_speakers_take_turns_and_each_sees_itself_as_self():
    seen: list[Context] = []

    def listening(respond):
        def answer(contexts):
            seen.extend(contexts)
            return respond(contexts)

        return answer

    [chat] = hold_self_chats(
        listening(lines_of("a1", "a2")), listening(lines_of("b1", "b2")), [(CHEF, NURSE)], rounds=2
    )
    assert chat.lines == (("a1", "a2"), ("b1", "b2"))
    shown = [(context.persona, [(turn.speaker[0], turn.text) for turn in context.history]) for context in seen]
    hello = chat.opening
    assert shown == [
        (NURSE, [("p", hello)]),
        (CHEF, [("s", hello), ("p", "b1")]),
        (NURSE, [("p", hello), ("s", "b1"), ("p", "a1")]),
        (CHEF, [("s", hello), ("p", "b1"), ("s", "a1"), ("p", "b2")]),
    ]
    assert [turn.text for turn in chat.perspective(FIRST).turns] == ["b1", "a1", "b2", "a2"]
    assert [turn.text for turn in chat.perspective(SECOND).turns] == [hello, "b1", "a1", "b2", "a2"]
    assert SelfChat.from_json(chat.to_json()) == chat


def test_a_model_that_keeps_what_it_read_says_the_same_as_one_that_reads_all_again(tiny):
    pairs = [(CHEF, NURSE), (NURSE, CHEF)]
    bot = Chatbot(tiny.model(), tiny.prompts(), Sampling(max_new_tokens=6))
    kept = hold_self_chats(bot.in_dialogues(), bot.in_dialogues(), pairs, rounds=3)
    assert kept == hold_self_chats(bot, bot, pairs, rounds=3)
    assert len(kept[0].lines[FIRST]) == 3


def test_drift_by_hand(rule_judge):
    firm = lines_of("I am a chef.", "I am a chef.", "Lovely day.", "Lovely sun.")
    weak = lines_of("I am a nurse.", "Nice day.", "I am not a nurse.", "I was never a nurse.")
    chats = hold_self_chats(firm, weak, [(CHEF, NURSE), (CHEF, NURSE)], rounds=4)
    found = evaluate_drift(chats, JudgedEvaluator(rule_judge), bootstrap_samples=100)
    consistent = found.drifts["prompt_to_line"]
    assert {number: figure.value for number, figure in consistent.rounds.items()} == {1: 1.0, 2: 1.0, 3: 0.5, 4: 0.5}
    assert (consistent.first_half.value, consistent.second_half.value) == (1.0, 0.5)
    assert (consistent.change.value, consistent.change.high, consistent.change.n) == (-0.5, -0.5, 2)
    # entailed: chef, nurse | chef | not a nurse -1 | -1: (1 + 1) / 2, 1 / 2, -1 / 2, -1 / 2
    scores = found.drifts["c_score"]
    assert [scores.rounds[number].value for number in (1, 2, 3, 4)] == [1.0, 0.5, -0.5, -0.5]
    assert scores.change.value == pytest.approx(-0.5 - 0.75)
    # pairs of round 2: 1 and 1, none clashes; rounds 3 and 4 of the nurse clash with round 1: 1 of 2, 1 of 3
    lines = found.drifts["line_to_line"]
    assert 1 not in lines.rounds
    assert [lines.rounds[number].value for number in (2, 3, 4)] == pytest.approx([1.0, 3 / 4, 5 / 6])
    assert lines.change.value == pytest.approx(8 / 10 - 1)
    words = {name: found.drifts[name].change.value for name in ("copy_share", "keyword_contradictions")}
    assert words == pytest.approx({"copy_share": 0 - 3 / 4, "keyword_contradictions": 1 / 2})
    # "I am a chef." again: its two 3-grams of round 2 were said before, of 2; of 6 grams in the first half
    assert found.drifts["repetition"].rounds[2].value == pytest.approx(2 / 2)
    assert found.judge == "word rule"


def test_one_speaker_can_be_judged_alone(rule_judge):
    chats = hold_self_chats(
        lines_of(*["I am a chef."] * 4), lines_of(*["I am no nurse."] * 4), [(CHEF, NURSE)], rounds=4
    )
    judged = JudgedEvaluator(rule_judge, 50)
    first, second = (
        evaluate_drift(chats, judged, speakers=[speaker], bootstrap_samples=50).drifts for speaker in (FIRST, SECOND)
    )
    assert first["prompt_to_line"].first_half.value == 1.0
    assert second["prompt_to_line"].first_half.value == 0.0
    assert second["line_to_line"].change.value == 0.0


def test_without_a_judge_keyword_measures_are_left_and_what_is_missing_is_told():
    chats = hold_self_chats(lines_of("Hi.", "Yes."), lines_of("Hello.", "No."), [(CHEF, NURSE)], rounds=2)
    found = evaluate_drift(chats, None, bootstrap_samples=50).to_json()
    assert set(found["drift"]) == {"trait_coverage", "keyword_contradictions", "copy_share"}
    assert found["absent"] == {
        "judged measures": "no judge was given",
        "repetition": "no chat has something to count in both halves",
    }
    assert found["judge"] is None


def test_line_to_line_needs_pairs_in_both_halves(rule_judge):
    chats = hold_self_chats(lines_of("Hi.", "Yes."), lines_of("Hello.", "No."), [(CHEF, NURSE)], rounds=2)
    found = evaluate_drift(chats, JudgedEvaluator(rule_judge), bootstrap_samples=50)
    assert set(MEASURES) - set(found.drifts) == {"line_to_line"}
    assert found.absent["line_to_line"] == "no chat has something to count in both halves"


def test_chats_that_cannot_be_compared_are_refused(rule_judge):
    [short] = hold_self_chats(lines_of("Hi."), lines_of("Hello."), [(CHEF, NURSE)], rounds=1)
    [longer] = hold_self_chats(lines_of("Hi.", "a", "b"), lines_of("Hello.", "c", "d"), [(CHEF, NURSE)], rounds=3)
    for chats in ([], [short], [short, longer]):
        with pytest.raises(ValueError, match="two rounds or more, all of one length"):
            evaluate_drift(chats, JudgedEvaluator(rule_judge))


def test_keyword_measures_of_one_speaker():
    [chat] = hold_self_chats(
        lines_of("I am a chef.", "I am not a chef."), lines_of("Go on.", "I see."), [(CHEF, NURSE)], rounds=2
    )
    assert keyword_tallies(chat.perspective(FIRST)) == {
        "trait_coverage": [(1.0, 1), (0.0, 1)],
        "keyword_contradictions": [(0.0, 1), (1.0, 1)],
        "copy_share": [(1.0, 1), (0.0, 1)],
        "repetition": [(0.0, 2), (0.0, 3)],
    }


def test_pairs_share_no_sentence_and_nobody_twice():
    personas = [Persona((f"I am {number}.", f"I like {number // 2}.")) for number in range(10)]
    pairs = pair_personas([*personas, personas[0]], seed=3)
    assert len(pairs) == 5
    assert len({persona for pair in pairs for persona in pair}) == 10
    assert all(set(first.traits).isdisjoint(second.traits) for first, second in pairs)
    assert pairs == pair_personas([*personas, personas[0]], seed=3)
    assert len(pair_personas(personas, 2)) == 2
    with pytest.raises(UserError, match="found 5 pairs among 10 personas, expected 6"):
        pair_personas(personas, 6)
    with pytest.raises(UserError, match="found 0 pairs among 1 personas, expected 1"):
        pair_personas(personas[:1])
