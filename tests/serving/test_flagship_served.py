"""The shipped model behind the server: in character, and each persona to itself while several talk at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.serving.conftest import Served, serving

from personatune.dialogue import Persona
from personatune.model.sampling import Sampling
from personatune.pipeline.contenders import load_contender
from personatune.pipeline.flagship import FLAGSHIP

pytestmark = pytest.mark.slow

PETS = {"Humphrey": "tortoise", "Clementine": "goat", "Bartholomew": "parrot", "Ludmilla": "ferret"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    bot = load_contender(FLAGSHIP, sampling=Sampling(max_new_tokens=40, no_repeat_ngram=4)).chatbot
    people = [Persona((f"I have a {kind} called {name}.", "I repair church organs.")) for name, kind in PETS.items()]
    with serving(bot, people) as running:
        yield running


def test_four_personas_at_once_name_their_own_pets(served: Served) -> None:
    def ask(number: int) -> str:
        messages: Any = [{"role": "user", "content": "Do you have any pets?"}]
        client = served.client()
        chunks = client.chat.completions.create(
            model=f"persona-{number + 1}", messages=messages, temperature=0, stream=True
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(ask, range(4)))
    for number, name in enumerate(PETS):
        named = [other for other in PETS if other.lower() in replies[number].lower()]
        assert named == [name], replies


def test_it_is_in_character_in_the_middle_of_a_chat(served: Served) -> None:
    messages: Any = [
        {"role": "user", "content": "Hi!"},
        {"role": "assistant", "content": "Hi, how are you?"},
        {"role": "user", "content": "Fine! What do you do for a living?"},
    ]
    answered = served.client().chat.completions.create(model="persona-1", messages=messages, temperature=0)
    assert "organ" in str(answered.choices[0].message.content).lower()
