"""What EDA counts: grounded replies one after the other, and the words that personas share."""

from __future__ import annotations

from personatune.data.inspection import grounding_by_reply, trait_words
from personatune.dialogue import Persona, Perspective, Turn


def view(name: str, traits: tuple[str, ...], *turns: tuple[str, str]) -> Perspective:
    return Perspective(name, Persona(traits), tuple(Turn(*turn) for turn in turns))


def test_replies_are_counted_by_their_place() -> None:
    dogs = ("I have two dogs.",)
    first = view("a", dogs, ("partner", "Any pets?"), ("self", "Yes, dogs."), ("partner", "Ok."), ("self", "Fine day."))
    second = view("b", dogs, ("partner", "Do you like dogs?"), ("self", "I like dogs."))  # a mere echo
    assert grounding_by_reply([first, second]) == {1: (1, 2), 2: (0, 1)}
    assert grounding_by_reply([]) == {}


def test_a_word_counts_once_a_persona_under_its_most_frequent_form() -> None:
    views = [
        view("a", ("I have two dogs.", "My dogs bark.")),
        view("a again", ("I have two dogs.", "My dogs bark.")),
        view("b", ("I walk my dog.",)),
        view("c", ("I feed dogs as a chef.",)),
    ]
    assert trait_words(views, 1) == [("dogs", 3)]
    assert ("chef", 1) in trait_words(views)
    assert all(word not in ("have", "my") for word, _ in trait_words(views))
