"""A stage that is interrupted in the middle of judging or sampling goes on there, to the same words and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from personatune.dialogue import Context
from personatune.evaluation.suite import TestSet, evaluate_model, make_test_set
from personatune.model.generation import Chatbot, Sampling
from personatune.pipeline.kept_work import KeptSamples, in_chunks
from personatune.settings import EvaluationConfig
from personatune.storage import append_jsonl

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels


def settings(**changes: Any) -> EvaluationConfig:
    defaults: dict[str, Any] = {
        "personas": 5, "turns": 5, "quality_contexts": 7, "perplexity_dialogues": 6, "max_new_tokens": 6,
        "batch_size": 3, "bootstrap_samples": 100,
    }  # fmt: skip
    return EvaluationConfig(**{**defaults, **changes})


@pytest.fixture
def tests(dialogues: type[HandMadeDialogues]) -> TestSet:
    return make_test_set(dialogues.perspectives(20, seed=3, turns=8), settings(), 0)


class Stage:
    """Judges a tiny model with its parts kept in a folder; Ctrl-C comes before the ``stop_at``-th part."""

    def __init__(self, folder: Path, tiny: TinyModels, tests: TestSet, config: EvaluationConfig) -> None:
        self.folder, self.tiny, self.tests, self.config = folder, tiny, tests, config
        self.parts: list[str] = []

    def __call__(self, stop_at: int | None = None) -> dict[str, Any]:
        self.parts = []

        def keep(what: str, items: int, size: int, work: Callable[[list[int]], Sequence[Any]], bot: Any) -> list[Any]:
            def part(chunk: list[int]) -> Sequence[Any]:
                if len(self.parts) == stop_at:
                    raise KeyboardInterrupt
                self.parts.append(what)
                return work(chunk)

            return in_chunks(self.folder / f"{what}.jsonl", {"what": what}, items, size, part, drawing=bot)

        model, prompts = self.tiny.model(layers=2, spread=0.3), self.tiny.prompts()
        return evaluate_model("tiny", model, prompts, self.tests, self.config, seed=4, keep=keep)


PARTS = ["dialogues", "dialogues", "replies", "replies", "replies", "losses"]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("reached", [1, 2, 4, 5])
def test_judging_goes_on_after_the_last_finished_part(
    tiny: TinyModels, tests: TestSet, tmp_path: Path, temperature: float, reached: int
) -> None:
    config = settings(temperature=temperature)
    expected = Stage(tmp_path / "whole", tiny, tests, config)()
    stage = Stage(tmp_path / "parts", tiny, tests, config)
    with pytest.raises(KeyboardInterrupt):
        stage(stop_at=reached)
    assert stage() == expected
    assert stage.parts == PARTS[reached:]


def test_judged_in_parts_a_model_gets_the_figures_it_gets_at_once(
    tiny: TinyModels, tests: TestSet, tmp_path: Path
) -> None:
    at_once = evaluate_model("tiny", tiny.model(layers=2, spread=0.3), tiny.prompts(), tests, settings(), seed=4)
    assert Stage(tmp_path, tiny, tests, settings())() == at_once


def bot(tiny: TinyModels) -> Chatbot:
    sampling = Sampling(8, temperature=1.0)
    return Chatbot(tiny.model(layers=2, spread=0.3), tiny.prompts(), sampling, batch_size=4, seed=9)


def test_samples_are_those_of_the_chatbot_and_an_interrupted_call_goes_on_with_its_draws(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[Context]] = [dialogues.contexts(7, seed=1), dialogues.contexts(3, seed=2)]
    plain = bot(tiny)
    expected = [plain.sample(contexts, 2) for contexts in calls]
    broken = bot(tiny)
    kept = KeptSamples(broken, tmp_path, {"of": "sft"})
    assert kept(calls[0], 2) == expected[0]
    sample, batches = broken.sample, [0]

    def interrupted(*args: Any) -> Any:
        if batches[0]:
            raise KeyboardInterrupt
        batches[0] += 1
        return sample(*args)

    monkeypatch.setattr(broken, "sample", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kept(calls[1], 2)
    again = bot(tiny)
    resumed = KeptSamples(again, tmp_path, {"of": "sft"})
    assert [resumed(contexts, 2) for contexts in calls] == expected
    assert again.tokens_generated < plain.tokens_generated / 4  # one batch of six
    other = bot(tiny)
    assert KeptSamples(other, tmp_path, {"of": "another sft"})(calls[0], 2) == expected[0]
    assert other.tokens_generated > 0


def test_half_a_line_at_the_end_is_done_again(tmp_path: Path) -> None:
    done: list[int] = []

    def work(chunk: list[int]) -> list[int]:
        done.extend(chunk)
        return [10 * index for index in chunk]

    place = tmp_path / "work.jsonl"
    in_chunks(place, {"of": "a"}, 6, 2, work)
    text = place.read_text(encoding="utf-8")
    place.write_text(text[:-9], encoding="utf-8")  # killed while writing
    done.clear()
    assert in_chunks(place, {"of": "a"}, 6, 2, work) == [0, 10, 20, 30, 40, 50]
    assert done == [4, 5]
    append_jsonl(place, {"values": "of nobody"})
    assert in_chunks(place, {"of": "a"}, 6, 2, work) == [0, 10, 20, 30, 40, 50]
