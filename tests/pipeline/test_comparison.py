"""`personatune compare`: full fine-tuning gets a tuned learning rate, and what the search found is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.program import call

from personatune.pipeline.comparison import disturbed
from personatune.training.divergence import DivergedError
from personatune.training.sft import SFTTrainer
from personatune.training.sft_result import HeldOutPoint

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

SETTINGS = (
    "model.max_length=384", "lora.rank=4", "data.validation_share=0.2", "data.test_share=0.2", "data.max_dialogues=24",
    "tracking.backends=[csv]", "sft.batch_size=4", "sft.learning_rate=1e-2", "sft.validation_dialogues=6",
    "sft.evaluations=2", "compare.target_evaluation=1", "compare.choice_steps=3",
)  # fmt: skip


@pytest.fixture
def compared(tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path) -> Any:
    """Run prepare, sft and compare with some settings; return the run's folder and its comparison."""
    tiny.save(tmp_path / "model", layers=2, spread=0.05)
    dialogues.write(tmp_path / "made.jsonl", 60)

    def compare(*settings: str) -> tuple[Path, dict[str, Any]]:
        chosen = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
        places = ["--model", str(tmp_path / "model"), "--data", str(tmp_path / "made.jsonl")]
        runs = ["--runs", str(tmp_path / "runs")]
        assert call("prepare", "--name", "tiny", *places, *runs, *chosen) == 0
        assert call("sft", "--run", "tiny", *runs) == 0
        assert call("compare", "--run", "tiny", *runs) == 0
        run = tmp_path / "runs" / "tiny"
        return run, json.loads((run / "compare" / "comparison.json").read_text(encoding="utf-8"))

    return compare


def test_full_fine_tuning_takes_the_rate_that_came_furthest_in_a_few_steps(compared: Any) -> None:
    run, comparison = compared("compare.full_learning_rates=[1e-6, 5e-3, 1e-5]")
    losses = {row["learning_rate"]: row["loss"] for row in comparison["choice"]}
    assert list(losses) == [1e-6, 5e-3, 1e-5]
    assert {row["steps"] for row in comparison["choice"]} == {3}
    assert min(losses, key=lambda rate: losses[rate]) == comparison["full_learning_rate"] == 5e-3
    assert "0.005, the best after 3 steps of 1e-06" in comparison["note"]
    assert "not counted in its time" in comparison["note"]
    assert list((run / "compare").glob("choice-*")) == []
    ledger = [json.loads(row) for row in (run / "costs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert ledger[-1]["tokens_trained"] > comparison["full"]["tokens"]  # the ledger counts the search


def test_a_rate_that_was_set_is_taken_without_a_search_and_the_report_says_so(compared: Any) -> None:
    from personatune.report.sections import comparison_table

    _, comparison = compared("compare.full_learning_rate=2e-3")
    assert comparison["full_learning_rate"] == 2e-3
    assert comparison["choice"] == []
    assert comparison["note"] == "Full fine-tuning at a learning rate of 0.002, which was set."
    table = comparison_table({"comparison": comparison, "missing": {}, "costs": {}})
    assert table.note is not None
    assert comparison["note"] in table.note


@pytest.mark.parametrize(
    ("lora", "full", "told"),
    [
        ((30.0, 54.0), (60.0, 117.0), None),
        ((30.0, 57.0), (480.0, 120.0), "LoRA got 1.9 processors and full fine-tuning 0.2; by processor time 52% saved"),
        ((200.0, 60.0), (60.0, 114.0), "LoRA got 0.3 processors and full fine-tuning 1.9; by processor time 47% saved"),
        ((30.0, 0.0), (60.0, 114.0), None),  # an SFT that an earlier version trained
    ],
)
def test_a_side_that_got_less_of_the_machine_is_told(
    lora: tuple[float, float], full: tuple[float, float], told: str | None
) -> None:
    points = [HeldOutPoint(8, 900, seconds, 2.0, 1e9, cpu) for seconds, cpu in (lora, full)]
    found = disturbed(*points)
    assert found is None if told is None else told in str(found)


def test_rates_tried_before_an_interrupt_are_not_tried_again(compared: Any, tmp_path: Path) -> None:
    place = tmp_path / "runs" / "tiny" / "compare" / "choice.json"
    place.parent.mkdir(parents=True)
    tried = [{"learning_rate": 1e-4, "loss": 0.125, "steps": 3}]
    place.write_text(json.dumps(tried), encoding="utf-8")
    _, comparison = compared("compare.full_learning_rates=[1e-4, 5e-3]")
    assert comparison["choice"][0] == tried[0]
    assert [row["learning_rate"] for row in comparison["choice"]] == [1e-4, 5e-3]
    assert comparison["full_learning_rate"] == 1e-4


def test_a_rate_that_diverges_is_out_of_the_search_and_ends_nothing(
    compared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SFTTrainer.train

    def train(trainer: SFTTrainer) -> Any:
        if trainer.config.learning_rate == 0.5:
            raise DivergedError("SFT diverged again")
        return real(trainer)

    monkeypatch.setattr(SFTTrainer, "train", train)
    _, comparison = compared("compare.full_learning_rates=[0.5, 5e-3]")
    assert comparison["choice"][0] == {"learning_rate": 0.5, "loss": None, "steps": 3}
    assert comparison["full_learning_rate"] == 5e-3
    assert "of 0.5 (diverged), 0.005 (held-out loss" in comparison["note"]
