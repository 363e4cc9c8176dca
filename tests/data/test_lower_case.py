"""Dialogues shown in lower case: which ones, and what becomes of their text."""

from __future__ import annotations

import pytest

from personatune.data.lower_case import lower_cased, lower_cased_dialogue
from personatune.dialogue import Persona, Perspective, Turn, WrittenDialogue


def view(name: str) -> Perspective:
    return Perspective(
        name,
        Persona(("I'm 3.5 feet tall.", "I have two dogs, Max and Bo."), "Ann"),
        (Turn("partner", "Hi! How are YOU?"), Turn("self", "Well... fine, thanks.")),
    )


def test_the_share_of_dialogues_is_lowered_half_of_them_spaced() -> None:
    views = [view(f"d{number}") for number in range(2000)]
    lowered = [lower_cased(one, 0.3, seed=0) for one in views]
    changed = [after for before, after in zip(views, lowered, strict=True) if after is not before]
    spaced = [one for one in changed if one.turns[0].text == "hi ! how are you ?"]
    assert len(changed) / 2000 == pytest.approx(0.3, abs=0.03)
    assert len(spaced) / len(changed) == pytest.approx(0.5, abs=0.06)
    assert lowered == [lower_cased(one, 0.3, seed=0) for one in views]
    assert lowered != [lower_cased(one, 0.3, seed=1) for one in views]


def test_persona_and_both_speakers_change_together() -> None:
    spaced, plain = (
        next(one for number in range(99) if ((one := lower_cased(view(f"d{number}"), 1.0, 0)).turns[0].text == text))
        for text in ("hi ! how are you ?", "hi! how are you?")
    )
    assert spaced.persona == Persona(("i'm 3.5 feet tall .", "i have two dogs , max and bo ."), "ann")
    assert spaced.turns[1].text == "well ... fine , thanks ."
    assert plain.persona == Persona(("i'm 3.5 feet tall.", "i have two dogs, max and bo."), "ann")
    assert plain.turns[1].text == "well... fine, thanks."


def test_no_share_changes_nothing() -> None:
    one = view("d1")
    assert lower_cased(one, 0.0, 0) is one


def test_the_wrong_twins_of_a_written_dialogue_keep_its_form() -> None:
    for number in range(20):
        dialogue = WrittenDialogue(view(f"d{number}"), {1: "No, I feel bad."}, {1: 0})
        lowered = lower_cased_dialogue(dialogue, 0.5, 0)
        assert lowered.view == lower_cased(dialogue.view, 0.5, 0)
        spaced, plain = "no , i feel bad .", "no, i feel bad."
        forms = {"hi ! how are you ?": spaced, "hi! how are you?": plain, "Hi! How are YOU?": "No, I feel bad."}
        assert lowered.wrong == {1: forms[lowered.view.turns[0].text]}
        assert lowered.rests_on == {1: 0}
