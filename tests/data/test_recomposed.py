"""Characters put together from two: which sentences meet, and that every answer keeps its own."""

from collections import Counter

import pytest

from personatune.config import load_config
from personatune.data.processing import DataProcessor
from personatune.data.recomposed import recomposed_dialogues
from personatune.data.sources import LoadedData
from personatune.data.written_dialogues import held_out
from personatune.dialogue import Dialogue, Persona, Perspective, Turn, WrittenDialogue
from personatune.errors import UserError
from personatune.pipeline.own_dialogues import own_dialogues, own_pairs


def character(name: str, *traits: str, opening: str = "Hello!") -> WrittenDialogue:
    """Return a dialogue with a greeting and then one question and answer on each of the traits."""
    turns = [Turn("partner", opening), Turn("self", f"Hello from {name}!")]
    wrong, rests_on = {}, {}
    for place, trait in enumerate(traits):
        turns.append(Turn("partner", f"Good tip. And {name}'s question {place}?"))
        wrong[len(turns)], rests_on[len(turns)] = f"Not {trait}", place
        turns.append(Turn("self", f"Answer on: {trait}"))
    return WrittenDialogue(Perspective(name, Persona(traits), tuple(turns)), wrong, rests_on)


SMITH = character("smith", "I am a blacksmith.", "I hate swords.", "I fear water.", "I snore.")
PILOT = character("pilot", "I fly a starship.", "I sing badly.", "I adore peas.", "I was born near Saturn.")
INN = character("inn", "We run an inn.", "We serve soup.", "We close on Mondays.", "Our porch is haunted.")


def test_each_answer_rests_on_the_sentence_it_was_written_on() -> None:
    made = list(recomposed_dialogues([SMITH, PILOT], 6, seed=0))

    assert len(made) == 6
    for dialogue in made:
        turns, traits = dialogue.view.turns, dialogue.view.persona.traits
        assert sorted(dialogue.rests_on.values()) == list(range(len(traits)))  # each sentence is asked for once
        for place, trait in dialogue.rests_on.items():
            assert turns[place].text == f"Answer on: {traits[trait]}"
            assert dialogue.wrong[place] == f"Not {traits[trait]}"


def test_the_first_gives_who_it_is_and_its_greeting_and_the_other_what_it_is_like() -> None:
    for dialogue in recomposed_dialogues([SMITH, PILOT], 8, seed=1):
        traits = set(dialogue.view.persona.traits)
        assert len(traits & {"I am a blacksmith.", "I fly a starship."}) == 1
        first = SMITH if "I am a blacksmith." in traits else PILOT
        assert dialogue.view.turns[:2] == first.view.turns[:2]
        assert len(traits & set(first.view.persona.traits)) == 3
        assert 2 <= len(traits - set(first.view.persona.traits)) <= 3


def test_a_line_loses_what_goes_on_from_the_line_before() -> None:
    (dialogue,) = recomposed_dialogues([SMITH, PILOT], 1, seed=0)

    asked = [dialogue.view.turns[place - 1].text for place in dialogue.rests_on]
    assert all(line.startswith("And ") and line.endswith("?") for line in asked)


@pytest.mark.parametrize(
    "other",
    [INN, character("other", "I bake.", "I own a sword.", "I hum.", "I sleep.")],
    ids=["says we", "shares a keyword"],
)
def test_characters_that_would_not_make_one_never_meet(other: WrittenDialogue) -> None:
    assert list(recomposed_dialogues([SMITH, other], 4, seed=0)) == []


def test_two_kinds_of_value_never_meet() -> None:
    dogs = character("dogs", "I walk.", "I have two dogs.", "I hum.", "I sleep.")
    cats = character("cats", "I knit.", "I have a cat.", "I dance.", "I yawn.")

    assert list(recomposed_dialogues([dogs, cats], 4, seed=0)) == []


def test_seed_and_not_order_decides_and_fewer_are_the_first_of_more() -> None:
    own = [dialogue for dialogue in own_dialogues() if not held_out(dialogue)]

    some = list(recomposed_dialogues(own, 40, seed=3))
    assert some == list(recomposed_dialogues(own[::-1], 40, seed=3))
    assert some[:10] == list(recomposed_dialogues(own, 10, seed=3))
    assert some != list(recomposed_dialogues(own, 40, seed=4))
    assert len({dialogue.view.persona.traits for dialogue in some}) == 40


def test_they_join_the_training_part_and_give_misplaced_pairs_and_no_twins() -> None:
    added = ["data.written=120", "data.recomposed=30", "data.lower_case_share=0"]
    config = load_config("standard", [*added, "data.max_traits=6", "data.max_turns=14"])  # shown whole
    people = Dialogue(
        "d", (Turn("A", "Hi."), Turn("B", "Boats!")), {"B": Persona(("I own a boat.", "I row.", "I sail."))}
    )
    loaded = LoadedData([people], Counter(), "made", "made by hand")
    data = DataProcessor(config.data, 0).process(loaded, own_dialogues())

    made = [view for view in data.train if view.id.startswith("recomposed/")]
    assert len(made) == data.counts["added: recomposed dialogues"] == 30
    assert not any(view.id.startswith("recomposed/") for view in (*data.validation, *data.test))
    written = {trait for view in data.train if view not in made for trait in view.persona.traits}
    assert {trait for view in made for trait in view.persona.traits} <= written

    shown = {view.id: view for view in made}
    found = [pair for pair in own_pairs(data.train, config) if "recomposed/" in pair.origin]
    assert {pair.kind for pair in found} == {"misplaced"}
    for pair in found:  # the very dialogues that SFT sees
        view = shown["/".join(pair.origin.split("written | ")[1].split("/")[:2])]
        assert pair.context.persona == view.persona
        assert set(pair.context.history) <= set(view.turns)


def test_without_written_dialogues_there_is_nothing_to_recompose() -> None:
    with pytest.raises(UserError, match=r"data\.recomposed.*data\.written"):
        load_config("standard", ["data.written=0", "data.recomposed=30"])
