"""What a card's text becomes: macros, persona sentences, greetings, example dialogues and lore."""

from __future__ import annotations

from typing import Any

import pytest

from personatune.cards.character import CardCharacter
from personatune.cards.decorators import read_decorators
from personatune.cards.examples import SILENCE, as_one_history, example_dialogues
from personatune.cards.first_person import UnclearError, character_of, in_first_person
from personatune.cards.lorebook import is_spoken
from personatune.cards.macros import Macros, has_marker
from personatune.cards.schema import card_of
from personatune.dialogue import Turn


def character(description: str, name: str = "Mara Vex", user: str = "User", **fields: Any) -> CardCharacter:
    data = {"name": name, "description": description, **fields}
    return CardCharacter(card_of({"spec": "chara_card_v3", "spec_version": "3.0", "data": data}, "a card"), user)


def sentences(description: str, **fields: Any) -> list[str]:
    """Return the persona sentences beside the name."""
    return list(character(description, **fields).persona.traits[1:])


# --- macros --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("{{char}} {{CHAR}} {{Char}} {{ char }} <BOT> <bot> <char>", "Mara Mara Mara Mara Mara Mara Mara"),
        ("{{user}} {{USER}} <USER> <user>", "Sam Sam Sam Sam"),
        ("{{original}} Be brief.", "Be kind. Be brief."),
        ("a{{// not shown}}b{{comment: nor this}}{{hidden_key:x}}", "ab"),
        ("{{reverse:abc}}", "cba"),
        ("{{time}} {{getvar::x}}", "{{time}} {{getvar::x}}"),
        ("{char} {{}} {{ }} {{{char}}}", "{char} {{}} {{ }} {Mara}"),
    ],
)
def test_macros_are_replaced_in_any_case(text: str, expanded: str) -> None:
    assert Macros("Mara", "Sam", original="Be kind.").expand(text) == expanded


def test_a_name_that_is_a_macro_expands_nothing_more() -> None:
    assert Macros("{{user}}", "{{char}}").expand("{{char}} and {{user}}") == "{{user}} and {{char}}"


@pytest.mark.parametrize("text", ["{{random:a,b\\,c}}", "{{pick::a::b,c}}", "{{random::a::b,c}}"])
def test_a_random_choice_is_one_of_its_values_and_the_same_again(text: str) -> None:
    chosen = {Macros("x", seed=seed).expand(text) for seed in range(20)}
    assert chosen == {"a", "b,c"}
    assert Macros("x", seed=3).expand(text) == Macros("x", seed=3).expand(text)


def test_a_roll_stays_within_its_sides() -> None:
    rolls = {Macros("x", seed=seed).expand("{{roll:d3}}") for seed in range(40)}
    assert rolls == {"1", "2", "3"}


@pytest.mark.parametrize(
    ("text", "marked"), [("{{x}}", True), ("{% if %}", True), ("<% x %>", True), ("${x}", True), ("{x} 5% off", False)]
)
def test_marks_of_template_languages_are_seen(text: str, marked: bool) -> None:
    assert has_marker(text) == marked


# --- the first person ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{char}} is a smith.", "I am a smith."),
        ("She lives in Leeds with her two dogs and works nights.", "I live in Leeds with my two dogs and work nights."),
        ("Mara's brother is a baker.", "My brother is a baker."),
        ("Mara's a smith.", "I am a smith."),
        ("She's married, and she doesn't like crowds.", "I am married, and I don't like crowds."),
        ("She's been to Rome.", "I have been to Rome."),
        ("Mara Vex has known {{user}} since school.", "I have known you since school."),
        ("Her hair is red.", "My hair is red."),
        ("As a child, she grew up on a farm.", "As a child, I grew up on a farm."),
        ("She often watches the sea and tries to paint it.", "I often watch the sea and try to paint it."),
        ("She likes cats and dogs.", "I like cats and dogs."),
        ("She can't swim, but she will learn it.", "I can't swim, but I will learn it."),
        ("Hates crowds.", "I hate crowds."),
        ("A grumpy woman who never smiles.", "I am a grumpy woman who never smiles."),
        ("Tall, strong and stubborn.", "I am tall, strong and stubborn."),
        ("People call her The Hammer.", "People call me The Hammer."),
        ("Mara, a retired smith, lives in Leeds.", "I live in Leeds."),
        ("She taught herself to read.", "I taught myself to read."),
        ("Her brother says that she sings well.", "My brother says that I sing well."),
        ("I have two dogs.", "I have two dogs."),
        ("My sister calls me every day.", "My sister calls me every day."),
        ("She met Dr. Smith in St. Ives.", "I met Dr. Smith in St. Ives."),
        ("She goes to church, washes cars and dries them.", "I go to church, wash cars and dry them."),
    ],
)  # fmt: skip
def test_the_third_person_becomes_the_first(text: str, told: str) -> None:
    assert sentences(f"{text} She is kind.")[0] == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("He lives alone. His dog is old. Nobody helps him.", ["I live alone.", "My dog is old."]),
        ("They live alone. Their dog is old. They are shy.", ["I live alone.", "My dog is old.", "I am shy."]),
    ],
)
def test_other_pronouns_are_heeded(text: str, told: list[str]) -> None:
    assert sentences(text, name="Kim") == told


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("She loves her sister because she is kind.", "not clear who “she” is"),
        ("The village lies in the hills.", "not about the character"),
        ("{{user}} is her best friend.", "not about the character"),
        ("You are standing in her shop.", "about who talks with the character"),
        ("Will she ever find her way?", "a question"),
        ("She says: “Come here and sit down by the fire.”", "quoted speech"),
        ("She keeps {{random_user_1}} away.", "a macro or template mark that isn't known"),
        ("{% if x %} She sings {% endif %}", "a macro or template mark that isn't known"),
        ("She and Tom sing.", "no verb recognised in “I and”"),
        ("***", "no words"),
        ("She sings " + "and sings " * 30, "longer than 200 characters"),
        ("Mara: Come in!", "a line of dialogue"),
        ("Genre: fantasy", "an attribute that isn't of the character"),
        ("She is kind.", "said already"),
    ],
)
def test_what_is_not_safe_is_left_out_and_counted(text: str, reason: str) -> None:
    told = character(f"She is kind.\n{text}").told
    assert [sentence for sentence in told.sentences if "kind" not in sentence] == ["My name is Mara Vex."]
    if text != "***":  # marks of emphasis are no text at all
        assert told.counts() == {reason: 1}


def test_a_sentence_is_refused_rather_than_told_of_the_wrong_person() -> None:
    who = character_of("She is a nurse.", "Mara", "", "User")
    for text in ("She lives with her friend Anna and her cat.", "She told Anna that she was right."):
        with pytest.raises(UnclearError, match="not clear who"):
            in_first_person(text, who)


# --- attribute lists -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[Age: 34; Likes: tea]", ["I am 34 years old.", "I like tea."]),
        ("[Age: 34, Likes: tea, cats]", ["I am 34 years old.", "I like tea and cats."]),
        ("[Mara's hair: short, red; Mara's eyes: green]", ["My hair is short and red.", "My eyes are green."]),
        ('[Character("Mara Vex") {\nAge("34")\nLikes("Long walks" + "Tea")\nWeapon("a hammer")\n}]',
         ["I am 34 years old.", "I like long walks and tea.", "My weapon is a hammer."]),
        ("Age: 34\nOccupation: Blacksmith\n- **Dislikes:** crowds, noise",
         ["I am 34 years old.", "I am a blacksmith.", "I dislike crowds and noise."]),
        ("Appearance:\n- tall\n- red hair\n- a scar", ["I am tall.", "I have red hair.", "I have a scar."]),
        ("Gender: Female\nSpecies: Elf\nLanguages: English, Elvish",
         ["I am a woman.", "I am an elf.", "I speak English and Elvish."]),
        ("Home: Leeds, England\nHobbies: chess", ["I live in Leeds, England.", "My hobby is chess."]),
        ("Personality: stubborn, kind, a good listener", ["I am stubborn, kind and a good listener."]),
        ("Likes: tea, enjoys long walks", ["I like tea.", "I enjoy long walks."]),
        ("Background: She grew up in Leeds. She never left.", ["I grew up in Leeds.", "I never left."]),
    ],
)  # fmt: skip
def test_attribute_lists_become_sentences(text: str, told: list[str]) -> None:
    assert sentences(text) == told


def test_a_personality_summary_becomes_one_sentence() -> None:
    assert sentences("", personality="Stubborn, kind, a good listener") == ["I am stubborn, kind and a good listener."]
    assert sentences("", personality="She is shy.") == ["I am shy."]


def test_a_long_description_is_cut_at_twenty_sentences_and_the_rest_is_told() -> None:
    made = character(" ".join(f"She owns {number} cats." for number in range(30)))
    assert len(made.persona.traits) == 20
    assert made.told.counts() == {"beyond 20 sentences or 1,200 characters": 11}
    long = character(" ".join(f"She owns {number} {'very ' * 20}old cats." for number in range(30)))
    assert sum(map(len, long.persona.traits)) <= 1200


def test_markup_control_and_direction_characters_leave_no_trace() -> None:
    made = character(
        '<img src=x onerror="alert(1)"><b>She</b> \u202esings\u202c \x1b[31mloudly\x07.<script>alert(2)</script>\n'
        "<!-- She is hidden. -->Her hat\u200b is \ufeffred\ue0000\ue001.\U000e0041",
        name="\u202eMa\x00ra\x1b[2J",
    )
    assert made.persona.traits == ("My name is Mara.", "I sing loudly.", "My hat is red0.")
    assert made.name == "Mara"


# --- greetings and examples ----------------------------------------------------------------------------------------


def test_greetings_are_ready_to_be_said() -> None:
    made = character(
        "", first_mes="Hi {{USER}}, I'm {{char}}.", alternate_greetings=["", "Back, {{user}}?"], user="Sam"
    )
    assert made.greetings == ("Hi Sam, I'm Mara Vex.", "Back, Sam?")


def test_a_nickname_is_what_the_macro_stands_for() -> None:
    assert character("", nickname="Hammer", first_mes="{{char}}!").greetings == ("Hammer!",)


def test_example_dialogues_are_read_by_speaker() -> None:
    text = "nobody's\n<START>\n{{user}}: hi\n{{char}}: hello\nthere\n<start>\nMara: yes?\n{{User}}: no\n{{user}}: why"
    read = example_dialogues(text, Macros("Mara", "Sam"), ("Mara",))
    assert read == [
        (Turn("partner", "hi"), Turn("self", "hello there")),
        (Turn("self", "yes?"), Turn("partner", "no why")),
    ]
    assert as_one_history(read) == (*read[0], SILENCE, Turn("self", "yes?"))
    assert as_one_history([(Turn("partner", "a"),), (Turn("partner", "b"), Turn("self", "c"))]) == (
        Turn("partner", "b"),
        Turn("self", "c"),
    )


# --- lore ----------------------------------------------------------------------------------------------------------


def lore(entries: list[dict[str, Any]], *said: str, greeting: int = 0, **book: Any) -> list[str]:
    """Return the lore of a dialogue in which partner and character take turns."""
    made = character("She is a smith.", character_book={"entries": entries, **book})
    turns = tuple(Turn(("partner", "self")[number % 2], text) for number, text in enumerate(said))
    return list(made.lore(turns, greeting))


FORGE = {"keys": ["forge", "anvil"], "content": "{{char}} built the forge. The forge is old."}


def test_an_entry_fires_by_its_keyword_and_speaks_in_the_first_person() -> None:
    assert lore([FORGE], "Tell me of the FORGE!") == ["I built the forge.", "The forge is old."]
    assert lore([FORGE], "Tell me of forgery.") == []


def test_the_last_turns_are_looked_back_over() -> None:
    said = ("The anvil?", "Yes.", "a", "b", "c")
    assert lore([FORGE], *said) == []
    assert lore([FORGE], *said, scan_depth=5) != []
    assert lore([FORGE], *said, scan_depth=0) == []
    assert lore([{**FORGE, "content": "@@scan_depth 9\nOld."}], *said) == ["Old."]


@pytest.mark.parametrize(
    ("changes", "said", "fires"),
    [
        ({"enabled": False}, "forge", False),
        ({"enabled": False, "constant": True}, "forge", False),
        ({"constant": True}, "hello", True),
        ({"case_sensitive": True}, "Forge", False),
        ({"case_sensitive": True}, "forge", True),
        ({"extensions": {"case_sensitive": True}}, "Forge", False),
        ({"selective": True, "secondary_keys": ["old"]}, "the forge", False),
        ({"selective": True, "secondary_keys": ["old"]}, "the old forge", True),
        ({"selective": False, "secondary_keys": ["old"]}, "the forge", True),
        ({"selective": True, "secondary_keys": []}, "the forge", True),
        ({"keys": [""]}, "forge", False),
        ({"keys": ["{{user}}'s forge"]}, "User's forge", True),
        ({"keys": "hammer, forge"}, "the forge", True),
        ({"use_regex": True, "keys": ["f.*e"]}, "forge", False),
        ({"content": ""}, "forge", False),
        ({"content": "@@dont_activate\nx"}, "forge", False),
        ({"content": "@@activate\nx"}, "hello", True),
        ({"content": "@@exclude_keys cold,wet\nx"}, "the cold forge", False),
        ({"content": "@@additional_keys cold,wet\nx"}, "the forge", False),
        ({"content": "@@additional_keys cold,wet\nx"}, "the wet forge", True),
        ({"content": "@@activate_only_after 1\nx"}, "forge", False),
        ({"content": "@@is_greeting 1\nx"}, "forge", False),
    ],
)
def test_the_conditions_of_an_entry_are_heeded(changes: dict[str, Any], said: str, fires: bool) -> None:
    assert bool(lore([{**FORGE, **changes}], said)) == fires


def test_entries_are_told_by_their_insertion_order() -> None:
    entries = [
        {"keys": ["x"], "content": content, "insertion_order": order}
        for content, order in (("Third.", 30), ("First.", -1), ("Second.", 2.5))
    ]
    assert lore(entries, "x") == ["First.", "Second.", "Third."]


def test_what_has_no_room_gives_way_by_priority() -> None:
    entries = [
        {"keys": ["x"], "content": f"{name} {'is old ' * 30}.", "insertion_order": 0, "priority": priority}
        for name, priority in (("One", 1), ("Two", 9), ("Three", 5))
    ]
    told = " ".join(lore(entries, "x"))
    assert ("One" in told, "Two" in told, "Three" in told) == (False, True, True)
    assert len(told) < 520


def test_entries_set_off_others_only_where_the_book_says_so() -> None:
    entries = [{"keys": ["forge"], "content": "The anvil is old."}, {"keys": ["anvil"], "content": "It rings."}]
    assert lore(entries, "forge") == ["The anvil is old."]
    assert lore(entries, "forge", recursive_scanning=True) == ["The anvil is old.", "It rings."]


@pytest.mark.parametrize(
    ("key", "text", "spoken"),
    [
        ("art", "start", False),
        ("art", "the art", True),
        ("art", "start art", True),
        ("café", "cafés", False),
        ("魔女", "あの魔女は", True),
        ("c++", "I write c++!", True),
        ("a b", "x a b y", True),
    ],
)
def test_a_key_is_a_word_of_its_own(key: str, text: str, spoken: bool) -> None:
    assert is_spoken(key, text) == spoken


def test_decorators_are_taken_off_and_fallbacks_heeded() -> None:
    read = read_decorators("@@odd 1\n@@@scan_depth 3\n@@scan_depth 5\n@@depth 4\n\nText\n@@not_one")
    assert (read.content, read.numbers, read.ignored) == ("Text\n@@not_one", {"scan_depth": 3}, ("odd", "depth"))
