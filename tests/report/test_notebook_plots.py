"""Plots for notebooks: they draw what they were given, say it in words, and tell what was not measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from personatune.report.build import collect_report
from personatune.report.data_plots import (
    cleaning_plot,
    grounding_plot,
    lengths_plot,
    pair_kinds_plot,
    splits_table,
    trait_words_plot,
)
from personatune.report.drawing import Plot
from personatune.report.evidence import read_curves
from personatune.report.model_plots import (
    drift_plot,
    loss_against_time_plot,
    models_plot,
    ppo_plot,
    reward_checks_plot,
    savings_plot,
)

PNG = b"\x89PNG\r\n\x1a\n"
COMPARISON: dict[str, Any] = {
    "target_loss": 1.75,
    "curves": {
        "lora": [{"seconds": 0.0, "loss": 2.5}, {"seconds": 75.0, "loss": 1.74}],
        "full": [{"seconds": 0.0, "loss": 2.5}, {"seconds": 150.0, "loss": 1.9}],
    },
    "lora": {"wall_seconds": 75.0, "reached": True},
    "full": {"wall_seconds": 150.0, "reached": False},
    "savings": {"time_saved": 0.5, "cost_saved": 0.8, "memory_saved": None},
    "why": "no memory was measured",
}


def axes_of(plot: Plot) -> list[Any]:
    """Draw a plot as its PNG is drawn and return the figure's axes."""
    from matplotlib.figure import Figure

    assert plot.draw is not None
    figure = Figure(layout="constrained")
    plot.draw(figure.add_subplot())
    return list(figure.axes)


def is_png(plot: Plot) -> bool:
    return (plot.png or b"").startswith(PNG)


def metric(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 10}


def test_cleaning_shows_every_loss_under_its_reason_and_nothing_that_was_added() -> None:
    counts = {"dropped: duplicate": 3, "skipped: no persona": 20, "link": 500, "added: written dialogues": 9, "x": 0}
    plot = cleaning_plot(counts)
    assert plot.text == "dropped: duplicate 3; skipped: no persona 20; link 500"
    [axes] = axes_of(plot)
    assert sorted(bar.get_width() for bar in axes.patches) == [3, 20, 500]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 3
    assert is_png(plot)
    assert cleaning_plot({"x": 0}).png is None


def test_lengths_are_shares_of_each_split() -> None:
    statistics = {
        "train": {"turns": 4, "words_per_turn": 2.0, "turn_lengths": {"1": 1, "3": 3}},
        "test": {"turns": 0, "words_per_turn": 0.0, "turn_lengths": {}},
    }
    plot = lengths_plot(statistics)
    assert plot.text == "train 2.0 words on average"
    [line] = axes_of(plot)[0].lines
    assert list(line.get_ydata()) == [0, 25, 0, 75]
    table = splits_table(statistics)
    assert table.head == ("", "train", "test")
    assert ("words per turn", "2.00", "0.00") in table.rows


def test_grounding_is_told_over_all_replies_of_a_split() -> None:
    plot = grounding_plot({"train": {1: (1, 4), 2: (2, 4)}, "test": {}})
    assert plot.text == "train 38% of 8"
    [line] = axes_of(plot)[0].lines
    assert list(line.get_ydata()) == [25, 50]


def test_words_of_personas_and_kinds_of_pairs_are_bars_with_their_counts() -> None:
    assert trait_words_plot([("dogs", 7), ("chef", 2)]).text == "dogs 7, chef 2"
    assert trait_words_plot([]).png is None
    plot = pair_kinds_plot({"train": {"counts": {"generic": 4}}, "test": {"counts": {"generic": 1, "off_topic": 2}}})
    assert plot.text == "train: generic 4; test: generic 1, off_topic 2"
    assert [label.get_text() for label in axes_of(plot)[0].get_yticklabels()] == ["off topic", "generic"]


def test_models_stand_side_by_side_with_their_intervals_one_panel_a_measure() -> None:
    models = {
        "base": {"probe_consistency": metric(0.4)},
        "copier": {"probe_consistency": metric(0.6), "other": metric(3.0)},
    }
    plot = models_plot(models, ["probe_consistency", "other", "absent"])
    assert plot.text == "Persona consistency (probes): untouched 40.0 %, copier 60.0 %; other: copier 3.00"
    _, *panels = axes_of(plot)  # the first carries the title of all
    assert len(panels) == 2
    centres = [container.lines[0].get_xdata()[0] for container in panels[0].containers]
    assert centres == pytest.approx([40, 60])
    ends = panels[0].containers[0].lines[2][0].get_segments()[0][:, 0]
    assert list(ends) == pytest.approx([30, 50])
    assert is_png(plot)
    assert models_plot(models, ["absent"]).text == "not measured: no model has absent"


def test_drift_draws_a_band_for_models_and_a_thin_line_for_floors() -> None:
    turns = {"multi_turn_consistency_2": metric(0.9), "multi_turn_consistency_10": metric(0.5)}
    plot = drift_plot({"sft": turns, "copier": turns, "generic": {}})
    assert plot.text == "after SFT 90% in turn 2, 50% in turn 10; copier 90% in turn 2, 50% in turn 10"
    [axes] = axes_of(plot)
    assert len(axes.lines) == 2
    assert len(axes.collections) == 1


def test_the_losses_over_time_say_who_reached_the_target() -> None:
    plot = loss_against_time_plot(COMPARISON)
    assert plot.text == (
        "target 1.750: LoRA reached it after 1 min 15 s; full fine-tuning did not reach it after 2 min 30 s"
    )
    assert is_png(plot)


def test_savings_are_held_against_their_goals_and_what_is_unknown_says_why() -> None:
    plot = savings_plot(COMPARISON, {"time_saved": 0.6, "cost_saved": 0.75})
    assert plot.text == (
        "time 50% (goal 60%: missed); cost 80% (goal 75%: met); memory: not measured: no memory was measured"
    )
    [axes] = axes_of(plot)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cost 80%", "time 50%"]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2
    nothing = {"savings": {"time_saved": None}, "why": "not reached"}
    assert savings_plot(nothing, {}).png is None


def test_the_checks_of_a_reward_model_are_drawn_as_met_or_missed(run_dir: Path) -> None:
    reward = collect_report(run_dir)["reward"]
    plot = reward_checks_plot(reward)
    assert plot.text == "1 of 2 checks met; missed: accuracy"
    [axes] = axes_of(plot)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["accuracy: 0.71, target ≥ 0.80, n 100", "persona sensitivity: 0.80, target ≥ 0.75, n 100"]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2
    assert reward_checks_plot({}).png is None


def test_ppo_is_drawn_with_its_budget_and_its_alarms(run_dir: Path) -> None:
    curves = read_curves(run_dir / "ppo/metrics.csv")
    report = collect_report(run_dir)
    plot = ppo_plot(curves, {**report["ppo"], "kl_budget": 8.0})
    assert plot.text.endswith("independent judge, share from 0.5 to 0.625; alarms: entropy at update 2")
    _, reward, kl, _ = axes_of(plot)
    assert len(reward.lines) == 2  # the curve and the alarm
    assert len(kl.lines) == 3  # and the budget
    assert ppo_plot({}, {}).png is None
    assert is_png(plot)
