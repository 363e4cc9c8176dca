"""A demo without a trained model: replies by rule, word by word, and a judge by rule."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from personatune.demo.ballots import Ballots
from personatune.demo.page import Page
from personatune.demo.reading import Reader
from personatune.demo.shelf import Shelf
from personatune.dialogue import Context
from personatune.evaluation.judged import JudgedEvaluator
from personatune.judging.entailment import LABELS

if TYPE_CHECKING:
    from tests.conftest import TinyModels

Rule = Callable[[Context, int], str]


class ScriptedShelf(Shelf):
    """Models that answer by rule, word by word, as fast as ``pace`` lets them."""

    def __init__(self, rules: dict[str, Rule]) -> None:
        self._rules = rules
        self.asked: list[tuple[str, Context, int, bool]] = []
        self.given = 0
        self.pace: Callable[[], None] = lambda: None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._rules)

    @property
    def can_rerank(self) -> bool:
        return True

    def decoding(self, name: str) -> dict[str, object]:
        return {"max_new_tokens": 60}

    def stream(self, name: str, context: Context, *, seed: int, rerank: bool = False) -> Iterator[str]:
        self.asked.append((name, context, seed, rerank))
        for number, word in enumerate(self._rules[name](context, seed).split(" ")):
            self.pace()
            self.given += 1
            yield word if number == 0 else f" {word}"


class DogJudge:
    """Cats contradict dogs, one way and the other; dogs entail dogs; all else is neutral."""

    name = "dog judge"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        self.asked += pairs
        rows = []
        for premise, hypothesis in pairs:
            animals = [{"dogs", "cats"} & set(re.findall(r"\w+", text.lower())) for text in (premise, hypothesis)]
            label = "neutral" if not all(animals) else "entailment" if animals[0] == animals[1] else "contradiction"
            rows.append([0.9 if one == label else 0.05 for one in LABELS])
        return np.array(rows, dtype=np.float32)


def dogs_or_cats(context: Context, seed: int) -> str:
    """Answer cats where the partner asks for them, else dogs."""
    said = context.history[-1].text
    if "silent" in said:
        return ""
    return "I have three cats at home." if "cat" in said else "I walk my two dogs every day."


def echo(context: Context, seed: int) -> str:
    return f"You said: {context.history[-1].text}"


@pytest.fixture
def shelf() -> ScriptedShelf:
    return ScriptedShelf({"dogs": dogs_or_cats, "echo": echo})


@pytest.fixture
def judge() -> DogJudge:
    return DogJudge()


@pytest.fixture
def reader(judge: DogJudge) -> Reader:
    return Reader(JudgedEvaluator(judge, threshold=0.5))


@pytest.fixture
def ballots(tmp_path: Path) -> Ballots:
    return Ballots(tmp_path / "votes" / "votes.jsonl")


@pytest.fixture
def page(shelf: ScriptedShelf, ballots: Ballots, reader: Reader) -> Page:
    return Page(shelf, ballots, reader, seed=7)


class Gate:
    """Lets a scripted reply go on one word at a time."""

    def __init__(self) -> None:
        self._open = threading.Semaphore(0)

    def __call__(self) -> None:
        assert self._open.acquire(timeout=60), "nobody opened the gate"

    def let(self, words: int) -> None:
        self._open.release(words)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture(scope="session")
def tiny_shelf(tiny: TinyModels) -> Shelf:
    """Two tiny random models, for real."""
    from personatune.model.generation import Chatbot, Sampling

    sampling = Sampling(max_new_tokens=6, temperature=1.0)
    bots = {
        name: Chatbot(tiny.model(layers=2, seed=seed), tiny.prompts(), sampling)
        for name, seed in (("one", 0), ("other", 1))
    }
    return Shelf(bots)
