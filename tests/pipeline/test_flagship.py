"""The shipped model: small enough, on the embedded base, and in character on a persona it was not trained on."""

from __future__ import annotations

import pytest

from personatune.dialogue import Context, Persona, Turn
from personatune.pipeline.contenders import Contender, load_contender
from personatune.pipeline.flagship import FLAGSHIP, flagship_folder

PERSONA = Persona(("I have a tortoise called Humphrey.", "I repair church organs.", "I have never been to Norway."))


@pytest.fixture(scope="module")
def flagship() -> Contender:
    return load_contender(FLAGSHIP)


def _asked(contender: Contender, *lines: str) -> str:
    assert contender.respond is not None
    turns = tuple(Turn("partner" if place % 2 == 0 else "self", line) for place, line in enumerate(lines))
    return contender.respond([Context(PERSONA, turns)])[0].lower()


def test_it_fits_the_package_and_brings_its_card() -> None:
    files = {file.name: file.stat().st_size for file in flagship_folder().iterdir()}
    assert set(files) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert sum(files.values()) < 12e6
    card = (flagship_folder() / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
    assert "consistent answers" in card  # measured figures


def test_it_answers_from_its_persona(flagship: Contender) -> None:
    assert "humphrey" in _asked(flagship, "Do you have any pets?")
    assert "organ" in _asked(flagship, "Hi!", "Hi, how are you?", "Fine! What do you do for a living?")


def test_another_persona_another_answer(flagship: Contender) -> None:
    other = Context(Persona(("I have two goats.", "I am a baker.")), (Turn("partner", "Do you have any pets?"),))
    assert flagship.respond is not None
    reply = flagship.respond([other])[0].lower()
    assert "goat" in reply
    assert "humphrey" not in reply
