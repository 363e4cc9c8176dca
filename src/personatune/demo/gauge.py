"""How consistent a conversation is so far: the figures, and a small plot of them.

A reply is consistent when it contradicts neither a persona sentence nor an earlier reply: 1 - `contradicting_lines` of
docs/measures.md. Drift is that share in the second half of the replies minus that in the first half.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from personatune.demo.reading import ReplyReading

FEWEST_FOR_DRIFT = 4
"""Replies from which halves are compared; fewer would compare one reply with another."""

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 320.0, 92.0, 30.0, 10.0, 8.0, 14.0


@dataclass(frozen=True, slots=True)
class Gauge:
    """Figures of a conversation; shares from 0 to 1.

    Attributes:
        running: the consistent share after each reply.
        drift: from -1 to 1; None where there are too few replies.
    """

    replies: int
    consistent: int
    expressing: int
    running: tuple[float, ...]
    drift: float | None

    @property
    def share(self) -> float | None:
        return self.running[-1] if self.running else None


def gauge(readings: Sequence[ReplyReading]) -> Gauge:
    """Count the replies of a conversation."""
    good = [not reading.contradicts for reading in readings]
    running = tuple(total / number for number, total in enumerate(itertools.accumulate(map(int, good)), start=1))
    half = len(good) // 2
    drift = (sum(good[-half:]) - sum(good[:half])) / half if len(good) >= FEWEST_FOR_DRIFT else None
    return Gauge(len(good), sum(good), sum(reading.expresses for reading in readings), running, drift)


def in_words(found: Gauge) -> str:
    """Return the figures as one line."""
    if not found.replies:
        return "No reply yet."
    told = f"{found.consistent} of {found.replies} replies contradict nothing; {found.expressing} express the persona"
    if found.drift is None:
        return f"{told}. Drift: from {FEWEST_FOR_DRIFT} replies on."
    return f"{told}. Drift {_points(found.drift)} points (second half against first half)."


def _points(drift: float) -> str:
    return f"{100 * drift:+.0f}".replace("-", "−") if round(100 * drift) else "0"


def gauge_html(readings: Sequence[ReplyReading], judge: str) -> str:
    """Return plot, meter and figures as HTML that holds no text but our own and the judge's name, escaped."""
    found = gauge(readings)
    share = "–" if found.share is None else f"{100 * found.share:.0f} %"
    return (
        '<section class="pt-gauge" aria-label="Consistency of this conversation">'
        f'<div class="pt-figures"><div><b>{share}</b><span>consistent so far</span></div>{_meter(found.drift)}</div>'
        f"{_plot(readings, found)}<p>{escape(in_words(found))}</p>"
        f'<p class="pt-judge">Judge: {escape(judge)}</p></section>'
    )


def _meter(drift: float | None) -> str:
    """Draw the drift meter: a scale from -100 to +100 points, its needle at the drift."""
    place = 50 + 50 * (drift or 0.0)
    kind = "none" if drift is None else "bad" if drift < 0 else "good"
    told = "–" if drift is None else _points(drift)
    low, width = min(50.0, place), abs(place - 50.0)
    return (
        f'<div class="pt-drift pt-{kind}"><b>{told}</b><span>drift, points</span>'
        f'<div class="pt-scale"><i style="left:{low:.1f}%;width:{width:.1f}%"></i>'
        f'<em style="left:{place:.1f}%"></em></div></div>'
    )


def _plot(readings: Sequence[ReplyReading], found: Gauge) -> str:
    """Draw the running share as a line, and each reply as a dot on it."""
    if not readings:
        return ""
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(readings) - 1)
    points = [(_LEFT + step * place, _y(share)) for place, share in enumerate(found.running)]
    grid = "".join(
        f'<line class="pt-grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(level)}" y2="{_y(level)}"/>'
        f'<text x="{_LEFT - 4}" y="{_y(level) + 3}" text-anchor="end">{100 * level:.0f}</text>'
        for level in (0.0, 0.5, 1.0)
    )
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle class="pt-dot-{_kind(reading)}" cx="{x:.1f}" cy="{y:.1f}" r="3.6">'
        f"<title>reply {number}: {_kind(reading)}, {100 * share:.0f} % so far</title></circle>"
        for number, (reading, share, (x, y)) in enumerate(zip(readings, found.running, points, strict=True), start=1)
    )
    return (
        f'<svg class="pt-plot" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" '
        f'aria-label="Share of consistent replies after each reply, in percent">{grid}'
        f'<polyline points="{line}"/>{dots}'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 2}" text-anchor="end">replies</text></svg>'
    )


def _kind(reading: ReplyReading) -> str:
    return "contradicting" if reading.contradicts else "expressing" if reading.expresses else "neutral"


def _y(share: float) -> float:
    return round(_TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM), 1)
