"""Dialogues written by hand for this project: the partner asks about the persona, the character answers from it.

Human persona dialogues seldom ask ("Do you have pets?") and seldom deny ("No, I never learnt to swim."), and a model
that is trained on them alone answers such questions by chance. Every reply that rests on a persona sentence stands
beside one of like length that contradicts it, so the same files teach by example and by preference.

The files (``written/*.jsonl``) hold one dialogue a line::

    {"persona": ["I have two grey cats.", …],
     "turns": [{"partner": "Anyone waiting at home?", "bot": "Two cats, …", "trait": 0, "wrong": "Just my dog, …"},
               {"partner": "Nice!", "bot": "They are.", "trait": null}, …]}
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from personatune.dialogue import Persona, Perspective, Turn, WrittenDialogue
from personatune.errors import UserError
from personatune.storage import read_jsonl

_HELD_OUT_SHARE = 0.1  # of the dialogues, by a hash of the persona: for testing the reward model, never for training

Text = Annotated[str, Field(min_length=1, max_length=400)]


class _Turn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    partner: Text
    bot: Text
    trait: Annotated[int, Field(ge=0)] | None
    wrong: Text | None = None

    @model_validator(mode="after")
    def _wrong_where_a_trait_is(self) -> Self:
        if (self.trait is None) != (self.wrong is None):
            raise ValueError("a reply has a wrong twin exactly where it rests on a trait")
        return self


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    persona: Annotated[list[Text], Field(min_length=1)]
    turns: Annotated[list[_Turn], Field(min_length=1)]

    @model_validator(mode="after")
    def _traits_there(self) -> Self:
        for turn in self.turns:
            if turn.trait is not None and turn.trait >= len(self.persona):
                raise ValueError(f"trait {turn.trait} of {len(self.persona)} persona sentences")
        return self


def held_out(dialogue: WrittenDialogue) -> bool:
    """Say whether a dialogue is kept from training; dialogues of one persona stay together."""
    persona = "\n".join(sorted(dialogue.view.persona.traits))
    drawn = int.from_bytes(hashlib.sha256(persona.encode()).digest()[:4], "big") / 2**32
    return drawn < _HELD_OUT_SHARE


def written_dialogues(files: Sequence[Path] | None = None) -> list[WrittenDialogue]:
    """Read the packaged files, or ``files``, in order.

    Raises:
        UserError: a line breaks the format; names file, line and fault.
    """
    if files is None:
        with resources.as_file(resources.files("personatune.data").joinpath("written")) as folder:
            return written_dialogues(sorted(folder.glob("*.jsonl")))
    return [
        _dialogue(f"written/{path.stem}/{number}", _parsed(row, path, number))
        for path in files
        for number, row in enumerate(read_jsonl(path), start=1)
    ]


def _parsed(row: object, path: Path, number: int) -> _Line:
    try:
        return _Line.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "dialogue"
        raise UserError(f"{path.name}, line {number}: {place}: {first['msg']}") from None


def _dialogue(name: str, line: _Line) -> WrittenDialogue:
    turns = [
        Turn(speaker, text) for turn in line.turns for speaker, text in (("partner", turn.partner), ("self", turn.bot))
    ]
    wrong = {2 * place + 1: turn.wrong for place, turn in enumerate(line.turns) if turn.wrong is not None}
    rests_on = {2 * place + 1: turn.trait for place, turn in enumerate(line.turns) if turn.trait is not None}
    return WrittenDialogue(Perspective(name, Persona(tuple(line.persona)), tuple(turns)), wrong, rests_on)
