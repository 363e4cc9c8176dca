"""Alarms over a PPO run: what goes wrong while the reward rises, and what is done about it.

Each compares the last few updates with the first, whose replies are the reference's own. An alarm is a function of the
metrics and the judge's looks so far, so a resumed run hears the same ones. "cool" is done once in a run; what would
cool it again stops it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from personatune.settings import Action, AlarmsConfig

Row = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm that sounded.

    Attributes:
        update: after which it did.
        name: "length", "repetition", "copying", "entropy" or "divergence".
        value, limit: the figure and what it should not have passed.
        action: what was done: "warn", "cool" or "stop".
        why: in words.
    """

    update: int
    name: str
    value: float
    limit: float
    action: Action
    why: str

    def __str__(self) -> str:
        done = {"warn": "", "cool": "; learning rates halved, KL weight raised", "stop": "; stopped"}[self.action]
        return f"update {self.update}: {self.why}{done}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def listen(
    config: AlarmsConfig, metrics: Sequence[Row], judged: Sequence[Row], earlier: Sequence[Mapping[str, Any]]
) -> list[Alarm]:
    """Return the alarms that sound after the newest update, in no case one twice.

    Args:
        metrics: one row an update, the first of them of the reference's own replies: ``reply_tokens``, ``repetition``,
            ``copy_share``, ``entropy``, ``learned_score``.
        judged: the judge's looks: ``update`` and ``judge``; the one of update 0 is of the reference.
        earlier: the alarms that sounded before, as `Alarm.to_json` gave them.
    """
    update = len(metrics)
    cooled = max((int(alarm["update"]) for alarm in earlier if alarm["action"] == "cool"), default=0)
    found = []
    for name, value, limit, why in _breaches(config, metrics, judged, since=max(1, cooled)):
        action: Action = getattr(config, name).action
        if action == "cool" and 0 < cooled < update:
            action = "stop"
        before = [alarm for alarm in earlier if alarm["name"] == name]
        heard = any(alarm["update"] == update for alarm in before)  # asked again after the judge's look
        if action == "off" or heard or (action == "warn" and any(alarm["action"] == "warn" for alarm in before)):
            continue
        found.append(Alarm(update, name, value, limit, action, why))
    return found


def _breaches(
    config: AlarmsConfig, metrics: Sequence[Row], judged: Sequence[Row], since: int
) -> Iterator[tuple[str, float, float, str]]:
    """Yield name, value, limit and words of every figure beyond its limit.

    A window of updates counts when all of it lies after the first update and after the last cooling (``since``).
    """
    if len(metrics) - since >= config.window:
        yield from _text_breaches(config, metrics[0], metrics[-config.window :])
    looked = judged and int(judged[-1]["update"]) == len(metrics)
    if looked and len(metrics) > 1 and len(judged) > 1:
        yield from _divergence(config, metrics, judged)


def _text_breaches(
    config: AlarmsConfig, reference: Row, recent: Sequence[Row]
) -> Iterator[tuple[str, float, float, str]]:
    span = f"over the last {len(recent)} updates"
    tokens, own_tokens = _mean(recent, "reply_tokens"), reference["reply_tokens"]
    low, high = config.length.low * own_tokens, config.length.high * own_tokens
    if not low <= tokens <= high:
        limit = low if tokens < low else high
        yield "length", tokens, limit, f"replies have {tokens:.1f} tokens {span}, the reference's {own_tokens:.1f}"
    for name, metric, words in (
        ("repetition", "repetition", "of the word triples were said before"),
        ("copying", "copy_share", "of the replies copy a persona sentence"),
    ):
        share, limit = _mean(recent, metric), reference[metric] + getattr(config, name).rise
        if share > limit:
            yield (
                name,
                share,
                limit,
                (f"{100 * share:.0f} % {words} {span}, {100 * reference[metric]:.0f} % in the reference's"),
            )
    entropy, floor = _mean(recent, "entropy"), config.entropy.floor * reference["entropy"]
    if entropy < floor:
        why = f"entropy fell to {entropy:.2f} nats a token {span}, it began at {reference['entropy']:.2f}"
        yield "entropy", entropy, floor, why


def _divergence(
    config: AlarmsConfig, metrics: Sequence[Row], judged: Sequence[Row]
) -> Iterator[tuple[str, float, float, str]]:
    """The learned reward rises while the independent judge's figure falls."""
    fallen = judged[0]["judge"] - judged[-1]["judge"]
    half = len(metrics) // 2
    risen = _mean(metrics[half:], "learned_score") - _mean(metrics[:half], "learned_score")
    if fallen > config.divergence.fall and risen > 0:
        why = f"the learned reward rose by {risen:.2f} while the independent judge fell by {100 * fallen:.0f} points"
        yield "divergence", fallen, config.divergence.fall, why


def _mean(rows: Sequence[Row], name: str) -> float:
    return math.fsum(row[name] for row in rows) / len(rows)
