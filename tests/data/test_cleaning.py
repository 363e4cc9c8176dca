"""Each cleaning reason mends or drops what it says, counts it, and leaves the rest alone."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personatune.data.cleaning import _SUSPECT, LONGEST_TURN, _signs, clean, clean_text
from personatune.dialogue import Dialogue, Persona, Turn


def dialogue(*texts: str, name: str = "d", traits: tuple[str, ...] = ("I run.",), speakers: str = "AB") -> Dialogue:
    turns = tuple(Turn(speakers[index % len(speakers)], text) for index, text in enumerate(texts))
    return Dialogue(name, turns, {"B": Persona(traits)})


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("Hi [user 1's name], I'm [user 2's name].", "Hi.", "name placeholder"),
        ("Hi, I'm [user 2]. I have six months to live.", "Hi. I have six months to live.", "name placeholder"),
        ("Nice to meet you too, (User 1's name)!", "Nice to meet you too!", "name placeholder"),
        ("Hi! I'm [name], I'm in college.", "Hi! I'm in college.", "name placeholder"),
        ("I'm [user 2 name], a student.", "I'm a student.", "name placeholder"),
        ("I grew up in [town name]. I miss it.", "I miss it.", "name placeholder"),
        ("My name is [name].", "", "turn lost to a name placeholder"),
        ("*smiles warmly* Hello there.", "Hello there.", "stage direction"),
        ("That is funny (laughs).", "That is funny.", "stage direction"),
        ("User 1: Hello there.", "Hello there.", "speaker name in the text"),
        ("Look at https://example.org/x now", "Look at now", "link"),
        ("It is a cafÃ© downtown.", "It is a café downtown.", "mojibake"),
        ("i don ' t know . hi !", "i don't know. hi!", "detokenised"),
        ("i see . . . well", "i see... well", "detokenised"),
    ],
)
def test_a_turn_is_mended_and_counted(before: str, after: str, reason: str) -> None:
    counts: Counter[str] = Counter()
    assert clean_text(before, counts) == after
    assert counts[reason] == 1


@pytest.mark.parametrize(
    "text",
    [
        "I paid $5 (really!) at 3.30, ok? :)",
        "We love Pokémon.",
        "<3",
        "I've read it, haven't you?",
        "a... b",
        "1 . 5"[:1],
    ],
)
def test_good_text_is_left_alone(text: str) -> None:
    counts: Counter[str] = Counter()
    assert clean_text(text, counts) == text
    assert not counts


def test_emphasis_keeps_its_word() -> None:
    assert clean_text("a *really* big dog", Counter()) == "a really big dog"


def test_an_over_long_turn_ends_with_a_whole_sentence() -> None:
    counts: Counter[str] = Counter()
    cut = clean_text("One two three four five six seven. " * 30, counts)
    assert len(cut.split()) <= LONGEST_TURN
    assert cut.endswith("seven.")
    assert counts["over-long turn"] == 1


def test_two_turns_in_a_row_become_one() -> None:
    result = clean([dialogue("Hi!", "How are you?", "Fine.", speakers="AAB")])
    assert [turn.text for turn in result.dialogues[0].turns] == ["Hi! How are you?", "Fine."]
    assert result.counts["two turns in a row"] == 1


def test_a_turn_lost_to_a_placeholder_keeps_speakers_in_alternation() -> None:
    result = clean([dialogue("Hi! What's your name?", "My name is [name].", "Nice to meet you.", "You too.")])
    assert [(turn.speaker, turn.text) for turn in result.dialogues[0].turns] == [
        ("A", "Hi! What's your name? Nice to meet you."),
        ("B", "You too."),
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (dialogue(), "dropped: no dialogue"),
        (dialogue("Hi!", " "), "dropped: no dialogue"),
        (dialogue("Hi!", "Hello.", traits=("",)), "dropped: no persona"),
        (dialogue("Hi!", "Hello.", traits=("My name is [name].",)), "dropped: no persona"),
    ],
)
def test_rows_without_persona_or_dialogue_are_dropped_and_counted(bad: Dialogue, reason: str) -> None:
    result = clean([bad])
    assert result.dialogues == []
    assert result.counts[reason] == 1


def test_duplicates_go_and_different_personas_stay() -> None:
    texts = ("Hi!", "Hello.")
    result = clean([dialogue(*texts), dialogue(*texts, name="e"), dialogue(*texts, name="f", traits=("I swim.",))])
    assert [kept.id for kept in result.dialogues] == ["d", "f"]
    assert result.counts["dropped: duplicate"] == 1


def test_two_views_of_one_dialogue_are_joined_with_both_personas() -> None:
    mine = dialogue("Hi there.", "Hello.", "Dogs?", "Yes.")
    theirs = Dialogue(
        "e", tuple(Turn("BA"[i % 2], t.text) for i, t in enumerate(mine.turns)), {"B": Persona(("I swim.",))}
    )
    result = clean([mine, theirs])
    (joined,) = result.dialogues
    assert {speaker: persona.traits for speaker, persona in joined.personas.items()} == {
        "A": ("I swim.",),
        "B": ("I run.",),
    }
    assert result.counts["dropped: two views joined"] == 1


def test_persona_sentences_are_mended_and_repeated_ones_fall_away() -> None:
    result = clean([dialogue("Hi!", "Hello.", traits=("I m in a band", "I'm in a band.", " I swim. "))])
    assert result.dialogues[0].personas["B"].traits == ("I'm in a band.", "I swim.")
    assert result.counts["persona: sentence mended"] == 2
    assert result.counts["persona: sentence repeated"] == 1


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(
            st.sampled_from(
                [
                    "dogs",
                    "I like",
                    "user",
                    "user 1:",
                    " ",
                    "  ",
                    " .",
                    "...",
                    "!",
                    " '",
                    "[name]",
                    "*smiles*",
                    "(laughs)",
                    "www.x.y",
                    "http",
                    "é",
                    "\x7f",
                    "\n",
                    "\t",
                    "<b>",
                    ":",
                    "Speaker 2:",
                    "yours?",
                    "x" * 600,
                ]
            ),
            max_size=5,
        ).map("".join),
        min_size=1,
        max_size=6,
    )
)
def test_a_dialogue_that_is_looked_through_as_a_whole_is_cleaned_as_its_turns_are(texts: list[str]) -> None:
    one = Dialogue("d", tuple(Turn("AB"[place % 2], text) for place, text in enumerate(texts)), {"A": Persona(("I.",))})
    expected = [cleaned for text in texts if (cleaned := clean_text(text, Counter()))]
    kept = clean([one]).dialogues
    if kept and len(kept[0].turns) == len(expected) and "yours?" not in "".join(texts).lower():
        assert [turn.text for turn in kept[0].turns] == expected
    signs = _signs(texts)
    if signs is not None:
        plain = [text for text in texts if not any(sign in f"\x7f{text}\x7f" for sign in signs)]
        assert not any(map(_SUSPECT.search, plain))
