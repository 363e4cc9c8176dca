"""The goals of a run against what was measured: target, true figure, met or missed, or why it can't be said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personatune.settings import Config

Figures = Mapping[str, Any]

CHANCE = 0.5  # of ranking two replies right by guessing


def judge_goals(config: Config, evidence: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Judge every goal by the measured parts of a run.

    Args:
        evidence: the parts of the report: ``models``, ``sft``, ``reward``, ``ppo``, ``comparison`` (None where missing)
            and ``missing`` (part -> why).

    Returns:
        One mapping a goal: name, comparison, target, value, low, high, n, unit, met (True, False, None) and why
        (None, or what is missing or what to know about the figure).
    """
    return [
        _persona_consistency(config, evidence),
        _saved("Cost saved against full fine-tuning", config.goals.cost_saved, "cost_saved", evidence),
        _saved("Time saved against full fine-tuning", config.goals.time_saved, "time_saved", evidence),
        _heldout_loss(evidence),
        _reward_accuracy(evidence),
        _reward_trust(evidence),
        _kl(config, evidence),
        _engagement(evidence),
    ]


def _goal(
    name: str,
    comparison: str,
    target: float | None,
    unit: str,
    figure: Figures | None,
    met: bool | None,
    why: str | None = None,
) -> dict[str, Any]:
    found = figure or {}
    return {
        "name": name,
        "comparison": comparison,
        "target": target,
        "value": found.get("value"),
        "low": found.get("low"),
        "high": found.get("high"),
        "n": found.get("n"),
        "unit": unit,
        "met": met,
        "why": why,
    }


def _figure(evidence: Mapping[str, Any], model: str, metric: str) -> Figures | None:
    figure = evidence["models"].get(model, {}).get(metric)
    return figure if figure is not None and figure.get("value") is not None else None


def _lacking(evidence: Mapping[str, Any], model: str, metric: str) -> str:
    return str(evidence["missing"].get(f"models.{model}", f"the evaluation of {model} holds no {metric}"))


def _persona_consistency(config: Config, evidence: Mapping[str, Any]) -> dict[str, Any]:
    name, target = "Persona consistency after PPO", config.goals.persona_consistency
    figure = _figure(evidence, "ppo", "probe_consistency")
    if figure is None:
        return _goal(name, "≥", target, "share", None, None, _lacking(evidence, "ppo", "probe_consistency"))
    return _goal(name, "≥", target, "share", figure, figure["value"] >= target)


def _saved(name: str, target: float, key: str, evidence: Mapping[str, Any]) -> dict[str, Any]:
    comparison = evidence["comparison"]
    if comparison is None:
        return _goal(name, "≥", target, "share", None, None, evidence["missing"]["comparison"])
    for side, words in (("lora", "LoRA"), ("full", "full fine-tuning")):
        if comparison.get(side, {}).get("reached") is False:
            why = comparison.get("why") or f"{words} did not reach the target loss, so there is nothing to compare"
            return _goal(name, "≥", target, "share", None, None, why)
    value = (comparison.get("savings") or {}).get(key)
    if value is None:
        why = comparison.get("why") or f"the comparison holds no {key}"
        return _goal(name, "≥", target, "share", None, None, why)
    disturbed = comparison.get("disturbed")  # then the clock's figure is shown, and nothing is concluded from it
    return _goal(name, "≥", target, "share", {"value": value}, None if disturbed else value >= target, disturbed)


def _heldout_loss(evidence: Mapping[str, Any]) -> dict[str, Any]:
    name, sft, unit = "Held-out loss after SFT below the untouched model's", evidence["sft"], "nats a token"
    if sft is None:
        return _goal(name, "<", None, unit, None, None, evidence["missing"]["sft"])
    base, best = sft["held_out_loss_base"], sft["held_out_loss_best"]
    if base is None or best is None:
        why = "sft/metrics.csv holds no held_out_loss of step 0 and of a later step"
        return _goal(name, "<", base, unit, None, None, why)
    return _goal(name, "<", base, unit, {"value": best}, best < base)


def _reward_accuracy(evidence: Mapping[str, Any]) -> dict[str, Any]:
    name, reward = "Reward model ranks held-out pairs better than chance", evidence["reward"]
    if reward is None:
        return _goal(name, ">", CHANCE, "share", None, None, evidence["missing"]["reward"])
    figure = (reward.get("accuracy") or {}).get("all")
    if figure is None or figure.get("value") is None or figure.get("low") is None:
        why = "reward/report.json holds no accuracy of all pairs with its interval"
        return _goal(name, ">", CHANCE, "share", None, None, why)
    met = figure["low"] > CHANCE
    doubt = None if met or figure["value"] <= CHANCE else "its interval reaches down to chance"
    return _goal(name, ">", CHANCE, "share", figure, met, doubt)


def _reward_trust(evidence: Mapping[str, Any]) -> dict[str, Any]:
    name, reward = "Reward model passes the checks of its own report", evidence["reward"]
    if reward is None:
        return _goal(name, "≥", 1.0, "share", None, None, evidence["missing"]["reward"])
    checks = reward.get("checks")
    if not checks:
        return _goal(name, "≥", 1.0, "share", None, None, "reward/report.json holds no checks against targets")
    failed = [str(check["name"]) for check in checks if not check["met"]]
    figure = {"value": 1 - len(failed) / len(checks), "n": len(checks)}
    return _goal(name, "≥", 1.0, "share", figure, not failed, f"missed: {', '.join(failed)}" if failed else None)


def _kl(config: Config, evidence: Mapping[str, Any]) -> dict[str, Any]:
    name, budget, unit = "KL of PPO inside its budget", config.ppo.kl_budget, "nats a reply"
    ppo = evidence["ppo"]
    if ppo is None:
        return _goal(name, "≤", budget, unit, None, None, evidence["missing"]["ppo"])
    seen = _numbers([ppo.get("kl_start"), ppo.get("kl_end"), ppo.get("kl_max")])
    if not seen:
        return _goal(name, "≤", budget, unit, None, None, "ppo/summary.json holds no KL")
    stopped = f"PPO stopped: {ppo['stopped']}" if ppo.get("stopped") else None
    return _goal(name, "≤", budget, unit, {"value": max(seen)}, max(seen) <= budget, stopped)


def _engagement(evidence: Mapping[str, Any]) -> dict[str, Any]:
    name = "Engagement after PPO not below SFT's interval"
    sft, ppo = _figure(evidence, "sft", "engagement"), _figure(evidence, "ppo", "engagement")
    target = sft.get("low") if sft is not None else None
    if ppo is None or target is None:
        why = _lacking(evidence, "ppo" if ppo is None else "sft", "engagement")
        return _goal(name, "≥", target, "number", ppo, None, why)
    return _goal(name, "≥", target, "number", ppo, ppo["value"] >= target)


def _numbers(values: Sequence[Any]) -> list[float]:
    return [float(value) for value in values if isinstance(value, int | float)]
