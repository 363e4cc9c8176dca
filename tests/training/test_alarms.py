"""Alarms: each sounds at its own limit, cools once, then stops, and never because of one odd batch."""

from __future__ import annotations

from typing import Any

import pytest

from personatune.settings import AlarmsConfig
from personatune.training.alarms import listen

CALM = {"reply_tokens": 12.0, "repetition": 0.1, "copy_share": 0.1, "entropy": 2.0, "learned_score": 0.0}
CONFIG = AlarmsConfig(window=2)


def sounding(
    rows: list[dict[str, float]],
    judged: list[dict[str, float]] | None = None,
    earlier: list[dict[str, Any]] | None = None,
    config: AlarmsConfig = CONFIG,
) -> list[tuple[str, str]]:
    found = listen(config, [{**CALM, **row} for row in rows], judged or [], earlier or [])
    return [(alarm.name, alarm.action) for alarm in found]


@pytest.mark.parametrize(
    ("metric", "fine", "beyond", "name"),
    [
        ("reply_tokens", 6.0, 5.9, "length"),
        ("reply_tokens", 24.0, 24.1, "length"),
        ("repetition", 0.25, 0.26, "repetition"),
        ("copy_share", 0.3, 0.31, "copying"),
        ("entropy", 1.0, 0.99, "entropy"),
    ],
)
def test_a_figure_beyond_its_limit_sounds_its_alarm(metric: str, fine: float, beyond: float, name: str) -> None:
    assert sounding([{}, {metric: fine}, {metric: fine}]) == []
    assert sounding([{}, {metric: beyond}, {metric: beyond}]) == [(name, "cool")]


def test_the_first_update_is_the_reference_and_a_window_needs_all_its_updates() -> None:
    assert sounding([{"entropy": 0.2}]) == []
    assert sounding([{}, {"entropy": 0.1}]) == []
    assert sounding([{}, {}, {"entropy": 0.2}]) == []  # 1.1 on average: one odd batch
    assert sounding([{"entropy": 0.2}, {"entropy": 0.2}, {"entropy": 0.2}]) == []


@pytest.mark.parametrize(
    ("scores", "judge", "expected"),
    [
        ([0.0, 0.5], [0.6, 0.4], [("divergence", "cool")]),
        ([0.0, 0.5], [0.6, 0.52], []),  # the judge fell by less than 10 points
        ([0.5, 0.0], [0.6, 0.4], []),  # the reward fell with it
    ],
)
def test_reward_and_judge_part_ways(scores: list[float], judge: list[float], expected: list[tuple[str, str]]) -> None:
    looks = [{"update": 0, "judge": judge[0]}, {"update": 2, "judge": judge[1]}]
    rows = [{"learned_score": score} for score in scores]
    assert sounding(rows, looks) == expected
    assert sounding([*rows, {}], looks) == []  # no look at this update


def cooled(update: int, name: str = "length", action: str = "cool") -> dict[str, Any]:
    return {"update": update, "name": name, "action": action}


def test_what_would_cool_a_cooled_run_again_stops_it_once_the_window_is_past_the_cooling() -> None:
    falling: list[dict[str, float]] = [{}, *[{"entropy": 0.1}] * 3]
    assert sounding(falling, earlier=[cooled(3)]) == []  # only one update since
    assert sounding([*falling, {"entropy": 0.1}], earlier=[cooled(3)]) == [("entropy", "stop")]
    assert sounding([{}, {"entropy": 0.1}, {"entropy": 0.1}], earlier=[cooled(2, "length")]) == []


def test_two_alarms_of_one_update_cool_together_and_none_sounds_twice_in_it() -> None:
    rows = [{}, *[{"entropy": 0.1, "reply_tokens": 1.0}] * 2]
    assert sounding(rows) == [("length", "cool"), ("entropy", "cool")]
    assert sounding([{}, *[{"entropy": 0.1}] * 2], earlier=[cooled(3, "entropy")]) == []


def test_an_action_decides_and_a_warning_is_given_once() -> None:
    rows: list[dict[str, float]] = [{}, *[{"copy_share": 0.9}] * 3]
    for action in ("warn", "stop"):
        config = AlarmsConfig.model_validate({"window": 2, "copying": {"action": action, "rise": 0.2}})
        assert sounding(rows, config=config) == [("copying", action)]
    warned = AlarmsConfig.model_validate({"window": 2, "copying": {"action": "warn", "rise": 0.2}})
    assert sounding(rows, earlier=[cooled(3, "copying", "warn")], config=warned) == []
    off = AlarmsConfig.model_validate({"window": 2, "copying": {"action": "off", "rise": 0.2}})
    assert sounding(rows, config=off) == []


def test_an_alarm_says_what_it_saw_and_what_was_done() -> None:
    [alarm] = listen(CONFIG, [CALM, *[{**CALM, "copy_share": 0.5}] * 2], [], [])
    assert str(alarm) == (
        "update 3: 50 % of the replies copy a persona sentence over the last 2 updates, 10 % in the reference's; "
        "learning rates halved, KL weight raised"
    )
    assert (alarm.value, alarm.limit) == pytest.approx((0.5, 0.3))
